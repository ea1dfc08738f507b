"""Tables of a report on a model that compares pairs: rows for files, and tables for a terminal."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table

from callbacks.reports.presence_baselines import FirstStageScores, commonest_situation_shares
from retrieval.metrics import QUERY_SUBSETS, LevelScores
from retrieval.outputs import PresenceOutputs

_SHORT_CUTOFF = 10


@dataclass(frozen=True)
class LevelRow:
    """mAP_s@K of one method over one subset of the queries, in [0, 1].

    Attributes:
        data_name: What it was measured on.
        method: What ranked the items.
        subset: One of `QUERY_SUBSETS`.
        s: Categories in which a hit agrees with the query.
        k: Items retrieved.
        mean: mAP_s@K.
        low: Lower end of its 95 % interval over queries.
        high: Upper end.
        num_queries: Queries in the subset.
    """

    data_name: str
    method: str
    subset: str
    s: int
    k: int
    mean: float
    low: float
    high: float
    num_queries: int


@dataclass(frozen=True)
class AccuracyRow:
    """How often the likeliest situation of a category is the true one.

    Attributes:
        category: Name.
        accuracy: Share of the pairs.
        commonest_situation: Share of the pairs in the commonest situation: what the same answer for all would reach.
    """

    category: str
    accuracy: float
    commonest_situation: float


def level_rows(scores: Mapping[str, LevelScores], data_name: str) -> list[LevelRow]:
    """Return a row for each subset that has queries, each s, K and method."""
    rows = []
    for subset in QUERY_SUBSETS:
        for method, of_method in scores.items():
            num_queries = int(of_method.in_subset(subset).sum())
            for s, k in of_method.average_precision if num_queries else ():
                interval = of_method.interval(s, k, subset)
                rows.append(
                    LevelRow(data_name, method, subset, s, k, interval.mean, interval.low, interval.high, num_queries)
                )
    return rows


def accuracy_rows(outputs: PresenceOutputs, class_names: Sequence[str]) -> list[AccuracyRow]:
    """Return a row for each category."""
    shares = commonest_situation_shares(outputs).tolist()
    return [AccuracyRow(*row) for row in zip(class_names, outputs.situation_accuracy.tolist(), shares, strict=True)]


def first_stage_rows(stages: Sequence[FirstStageScores]) -> list[dict[str, float]]:
    """Return a row for each share of the database, with mAP_s@K over all queries."""
    return [
        {"share": stage.share, "num_compared": stage.num_compared, "saved": stage.saved}
        | {f"mAP_{s}@{k}": value for (s, k), value in stage.scores.mean_ap().items()}
        for stage in stages
    ]


def level_table(rows: Sequence[LevelRow], threshold: int, num_categories: int) -> Table:
    """Lay out mAP_s@K of one s in %, a block for each subset of the queries."""
    chosen = [row for row in rows if row.s == threshold]
    cutoffs = list(dict.fromkeys(row.k for row in chosen))
    bounded = choose_cutoff(cutoffs)
    table = Table(
        title=f"{chosen[0].data_name}: mAP_{threshold}@K in %; hits agree in {threshold} of {num_categories} "
        f"categories{' or more' if threshold < num_categories else ''}",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("queries, method")
    for name in (*(f"@{k}" for k in cutoffs), f"95 % of @{bounded}"):
        table.add_column(name, justify="right", no_wrap=True)
    for subset, method in dict.fromkeys((row.subset, row.method) for row in chosen):
        of_method = {row.k: row for row in chosen if (row.subset, row.method) == (subset, method)}
        if method == chosen[0].method:
            table.add_section()
            table.add_row(f"[bold]{subset}, {of_method[bounded].num_queries}[/bold]")
        interval = f"{100 * of_method[bounded].low:.1f}-{100 * of_method[bounded].high:.1f}"
        table.add_row(f" {method}", *(f"{100 * of_method[k].mean:.1f}" for k in cutoffs), interval)
    return table


def accuracy_table(rows: Sequence[AccuracyRow]) -> Table:
    """Lay out how often the situation of a pair is told, in %."""
    table = Table(title="Situation (both, neither, one) told right, % of pairs", box=SIMPLE_HEAD)
    table.add_column("category")
    for name in ("accuracy", "commonest situation"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.category, f"{100 * row.accuracy:.1f}", f"{100 * row.commonest_situation:.1f}")
    means = [sum(getattr(row, name) for row in rows) / len(rows) for name in ("accuracy", "commonest_situation")]
    table.add_section()
    table.add_row("mean", *(f"{100 * mean:.1f}" for mean in means))
    return table


def first_stage_table(stages: Sequence[FirstStageScores]) -> Table:
    """Lay out what it costs to compare only what embeddings choose, in %."""
    table = Table(title="First stage: cosine of embeddings; mAP_s@K in %", box=SIMPLE_HEAD)
    for name in ("compared", "saved", *(f"{s}@{k}" for s, k in stages[0].scores.average_precision)):
        table.add_column(name, justify="right", no_wrap=True)
    for stage in stages:
        values = [stage.saved, *stage.scores.mean_ap().values()]
        table.add_row(f"{100 * stage.share:g} %", *(f"{100 * value:.1f}" for value in values))
    return table


def choose_cutoff(cutoffs: Sequence[int]) -> int:
    """Return the K of which there is room to say more: 10, or else the last."""
    return _SHORT_CUTOFF if _SHORT_CUTOFF in cutoffs else cutoffs[-1]


def to_dicts(rows: Sequence[LevelRow | AccuracyRow]) -> list[dict[str, object]]:
    """Return rows as files take them."""
    return [dataclasses.asdict(row) for row in rows]
