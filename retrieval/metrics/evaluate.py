"""Score an index on labelled queries, a few queries at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.index.base import Index
from retrieval.metrics.average_precision import Denominator, Ties, ZeroHit, average_precision, mean_average_precision
from retrieval.metrics.bootstrap import ConfidenceInterval, bootstrap_mean
from retrieval.metrics.cutoff import cutoff_scores

# A chunk of queries holds about this many distances; with the arrays that scoring makes of each, some 1.5 GB.
_CHUNK_DISTANCES = 8_000_000


@dataclass(frozen=True)
class ScoringOptions:
    """What is scored, and by which definition; see `average_precision`.

    Attributes:
        map_cutoffs: Values R of mAP@R; the mean over the full list is always there.
        precision_cutoffs: Values k of precision, recall and hit rate at k.
        denominator: Denominator of average precision.
        zero_hit: What a query without a hit counts.
        ties: Order of equally distant items.
    """

    map_cutoffs: list[int] = field(default_factory=lambda: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000])
    precision_cutoffs: list[int] = field(default_factory=lambda: [1, 5, 10])
    denominator: Denominator = "min_r_relevant"
    zero_hit: ZeroHit = "zero"
    ties: Ties = "expected"


@dataclass(frozen=True)
class RetrievalScores:
    """Scores of one index on one set of queries.

    Attributes:
        mean_ap: mAP over the full list.
        map_interval: Its bootstrap interval over queries.
        map_at: mAP@R for the cut-offs that the list is long enough for.
        precision_at: Mean precision at k.
        recall_at: Mean recall at k.
        hit_at: Share of queries with a hit among the first k.
        average_precision: AP of each query over the full list, in the order of the queries.
        nearest_ids: Ids of the first items of each query.
        num_items: Items ranked.
    """

    mean_ap: float
    map_interval: ConfidenceInterval
    map_at: dict[int, float]
    precision_at: dict[int, float]
    recall_at: dict[int, float]
    hit_at: dict[int, float]
    average_precision: Float[Tensor, " query"]
    nearest_ids: Int[Tensor, "query rank"]
    num_items: int

    def summary(self) -> dict[str, float]:
        """Flatten the means to `mAP`, `mAP@10`, `precision@5` and so on."""
        flat = {"mAP": self.mean_ap, "mAP_low": self.map_interval.low, "mAP_high": self.map_interval.high}
        groups = (
            ("mAP", self.map_at),
            ("precision", self.precision_at),
            ("recall", self.recall_at),
            ("hit", self.hit_at),
        )
        return flat | {f"{name}@{cutoff}": value for name, group in groups for cutoff, value in group.items()}


def evaluate_retrieval(
    index: Index,
    queries: Float[Tensor, "query feature"],
    query_labels: Int[Tensor, " query"],
    item_labels: Int[Tensor, " item"],
    options: ScoringOptions | None = None,
    query_ids: Int[Tensor, " query"] | None = None,
    num_nearest: int = 5,
) -> RetrievalScores:
    """Search with every query and score the rankings; an item is relevant if it has the query's label.

    Queries are taken in chunks, so that the memory needed is that of some millions of distances however many queries
    there are; a million items take about 1.5 GB.

    Args:
        index: Holds the database.
        queries: Vectors as the index takes them.
        query_labels: Class of each query.
        item_labels: Class of each item, in the order of `index.item_ids`.
        options: Definitions; the defaults are this project's.
        query_ids: The queries' own ids; an item with the query's id is left out of its list.
        num_nearest: First items to keep the ids of.

    Raises:
        ValueError: If there is no query or no item, or labels differ from either in number.
    """
    options = options or ScoringOptions()
    if len(queries) == 0 or len(queries) != len(query_labels):
        raise ValueError(
            f"Expected one label a query and at least one query; got {len(queries)} and {len(query_labels)}."
        )
    if len(index) == 0 or len(item_labels) != len(index):
        raise ValueError(
            f"Expected one label an item and at least one item; got {len(item_labels)} labels for {len(index)} items."
        )
    map_cutoffs = [cutoff for cutoff in options.map_cutoffs if cutoff < len(index)]
    chunk = max(1, _CHUNK_DISTANCES // len(index))
    parts = [
        _score_chunk(index, queries[start : start + chunk], query_labels[start : start + chunk], item_labels, options,
                     map_cutoffs, None if query_ids is None else query_ids[start : start + chunk], num_nearest)
        for start in range(0, len(queries), chunk)
    ]  # fmt: skip
    precisions, hit_probs, cutoffs, nearest = (torch.cat(columns) for columns in zip(*parts, strict=True))
    means = [
        mean_average_precision(precisions[:, column], hit_probs[:, column], options.zero_hit)
        for column in range(precisions.shape[1])
    ]
    scored = precisions[:, -1] if options.zero_hit == "zero" else precisions[hit_probs[:, -1] > 0, -1]
    at_cutoff = cutoffs.mean(dim=0).tolist()
    return RetrievalScores(
        mean_ap=means[-1],
        map_interval=bootstrap_mean(scored if len(scored) else precisions[:, -1]),
        map_at=dict(zip(map_cutoffs, means, strict=False)),
        precision_at=dict(zip(options.precision_cutoffs, (row[0] for row in at_cutoff), strict=True)),
        recall_at=dict(zip(options.precision_cutoffs, (row[1] for row in at_cutoff), strict=True)),
        hit_at=dict(zip(options.precision_cutoffs, (row[2] for row in at_cutoff), strict=True)),
        average_precision=precisions[:, -1],
        nearest_ids=nearest,
        num_items=len(index),
    )


def _score_chunk(
    index: Index,
    queries: Tensor,
    query_labels: Tensor,
    item_labels: Tensor,
    options: ScoringOptions,
    map_cutoffs: Sequence[int],
    query_ids: Tensor | None,
    num_nearest: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return AP and hit probability [query, cutoff + 1], cut-off scores [query, cutoff, 3], nearest ids."""
    distances = index.distances(queries)
    if query_ids is not None:
        distances = distances.masked_fill(index.item_ids.to(query_ids.device) == query_ids[:, None], torch.inf)
    distances, order = torch.sort(distances, dim=1, stable=True)
    relevance = item_labels[order] == query_labels[:, None]
    precisions, hit_probs = average_precision(
        distances, relevance, [*map_cutoffs, None], options.denominator, options.ties
    )
    columns = distances.new_empty(len(queries), len(options.precision_cutoffs), 3, dtype=torch.float64)
    for column, cutoff in enumerate(options.precision_cutoffs):
        at = cutoff_scores(distances, relevance, cutoff)
        columns[:, column] = torch.stack([at.precision, at.recall, at.hit], dim=1)
    nearest = index.item_ids.to(order.device)[order[:, :num_nearest]]
    return precisions, hit_probs, columns, nearest
