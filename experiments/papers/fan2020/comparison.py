"""The comparison of Fan et al. (2020), `reproduce.py sonyc`: train, rank, score, report figure 3 and its table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from callbacks.reports.presence_figures import draw_level_curves
from callbacks.reports.presence_tables import LevelRow, level_rows
from datamodules import SonycUst
from experiments.command.parser import make_datamodule, make_preprocessing
from experiments.compare.study_report import Report, write_report
from experiments.compare.study_table import Quantity, StudyTable, p_text, percent
from experiments.grids.cell import CellResult, GridRunner
from experiments.grids.grid import run_grid
from experiments.papers.fan2020.runs import GIVEN, METHODS, PairStudy
from lightning_modules.preprocessing import Preprocessing
from retrieval.metrics import LevelScores, compare_paired, holm_adjust, label_levels, score_levels

_FRONTEND = "lightning_modules.frontends.YamNet"  # of rankings that nothing is trained for
_SHOWN_CUTOFFS = (1, 10, 100)
_STAGE_KEYS = ("8@1", "8@10", "8@100", "7@10", "7@100")
# What differences are tested against, and at which s and K.
_REFERENCE = "classifier"
_TESTED = (8, 10)


@dataclass(frozen=True)
class PairStudyResult:
    """What a study found.

    Attributes:
        data_name: What the numbers are to be called.
        class_names: Categories.
        scores: By method, then seed; a ranking that nothing is trained for has seed 0 alone.
        results: Of the runs, likewise.
        failures: Runs that failed, each with its command.
    """

    data_name: str
    class_names: Sequence[str]
    scores: Mapping[str, Mapping[int, LevelScores]]
    results: Mapping[str, Mapping[int, CellResult]]
    failures: Sequence[str]


def run_pair_study(study: PairStudy, folder: Path, run_cells: GridRunner = run_grid) -> PairStudyResult:
    """Run a study; runs that were finished before are read back.

    Args:
        study: What to compare.
        folder: Where runs are kept.
        run_cells: Runs them; the default on this machine, one a GPU or one a core at a time.

    Raises:
        DatasetError: If the corpus is missing or damaged.
        WeightsError: If a pretrained network is missing.
        TypeError: If the clips of the corpus have one label each.
    """
    data = make_datamodule(study.data_config, list(study.arguments))
    if not isinstance(data, SonycUst):
        raise TypeError(f"Expected a corpus of clips with several labels; {study.data_config} is none.")
    preprocessing = make_preprocessing(_FRONTEND, study.arguments)
    data.embed_with(preprocessing.frontend)
    data.prepare_data()
    data.setup()
    preprocessing.fit(data)
    cells = study.cells()
    finished = run_cells(list(cells.values()), folder)
    results: dict[str, dict[int, CellResult]] = {}
    for (method, seed), cell in cells.items():
        if cell in finished.results:
            results.setdefault(method, {})[seed] = finished.results[cell]
    queries = data.role_dataset("query")
    label_count = queries.__getitems__(range(len(queries)))["label"].sum(dim=1)
    scores: dict[str, dict[int, LevelScores]] = {}
    for method in study.methods:
        if method in GIVEN:
            scores[method] = {0: _score_given(method, data, preprocessing)}
        elif method in results:
            scores[method] = {seed: _scores_of(own, label_count) for seed, own in results[method].items()}
    return PairStudyResult(data.data_name, data.class_names, scores, results, finished.told_failures)


def report_pair_study(result: PairStudyResult, folder: Path) -> Report:
    """Write every table, figure 3, and a page with all of them."""
    if not result.scores:
        return Report(folder, result.data_name, failures=result.failures)
    means = {METHODS[method]: _mean_over_seeds(by_seed) for method, by_seed in result.scores.items()}
    rows = level_rows(means, result.data_name)
    tables = [_overview_table(result), *_tables_of_runs(result), _full_table(rows, result.data_name)]
    title = f"Retrieval of sounds with several labels, {result.data_name}"
    pictures = write_report(folder, title, tables, {"fig3": draw_level_curves(rows)}, num_files_only=1)
    return Report(folder, result.data_name, tables, pictures, failures=result.failures)


def _score_given(method: str, data: SonycUst, preprocessing: Preprocessing) -> LevelScores:
    """Score a ranking that nothing is trained for."""
    means, labels = [], []
    for loader in data.test_dataloader():
        parts = [(_clip_means(batch, preprocessing), batch["label"]) for batch in loader]
        means.append(torch.cat([mean for mean, _ in parts]))
        labels.append(torch.cat([label for _, label in parts]))
    queries, items = (normalize(mean, dim=1) for mean in means)
    distances = 1 - queries @ items.T
    if method == "random":
        distances = torch.zeros_like(distances)  # ties count in expectation
    return score_levels(distances, label_levels(labels[0], labels[1]), labels[0])


def _clip_means(batch: Mapping[str, Tensor], preprocessing: Preprocessing) -> Tensor:
    """Return the mean over the frames that are a clip's own, [batch, feature]."""
    feature: Tensor = preprocessing(batch["feature"], batch["num_frames"]).double()
    return feature.sum(dim=1) / batch["num_frames"][:, None] if feature.ndim == 3 else feature  # padding is 0


def _scores_of(result: CellResult, label_count: Tensor) -> LevelScores:
    """Return the scores that a run left."""
    scores = {
        (int(s), int(k)): torch.tensor(own, dtype=torch.float64)
        for name, own in result.average_precision_at.items()
        for s, k in [name.split("@")]
    }
    return LevelScores(scores, label_count, result.num_items)


def _mean_over_seeds(by_seed: Mapping[int, LevelScores]) -> LevelScores:
    """Return each query's average precision as its mean over seeds."""
    first = next(iter(by_seed.values()))
    means = {
        key: torch.stack([own.average_precision[key] for own in by_seed.values()]).mean(dim=0)
        for key in first.average_precision
    }
    return LevelScores(means, first.label_count, first.num_items)


def _overview_table(result: PairStudyResult) -> StudyTable:
    """Lay out mAP_s@K of all queries, a line a method."""
    keys = [
        key for key in next(iter(next(iter(result.scores.values())).values())).mean_ap() if key[1] in _SHOWN_CUTOFFS
    ]
    p_values = _p_values(result)
    lines = []
    for method, by_seed in result.scores.items():
        own = [scores.mean_ap() for scores in by_seed.values()]
        cells = [_spread([100 * each[key] for each in own]) for key in keys]
        p_value = p_values.get(method)
        lines.append([METHODS[method], *cells, "" if p_value is None else p_text(p_value)])
    num_queries = len(next(iter(next(iter(result.scores.values())).values())).label_count)
    notes = [
        f"{result.data_name}, {num_queries} queries; mAP_s@K in %, mean ± standard deviation over "
        f"{max(len(by_seed) for by_seed in result.scores.values())} seeds.",
        f"p: of the difference to the {METHODS[_REFERENCE]} at {_TESTED[0]}@{_TESTED[1]}, paired permutation test over "
        "queries, seeds meaned first, Holm's correction.",
        "The paper gives its figures as a plot alone (fig. 3).",
    ]
    headers = ["method", *(f"{s}@{k}" for s, k in keys), "p"]
    return StudyTable("overview", "mAP_s@K of all queries", headers, lines, notes)


def _p_values(result: PairStudyResult) -> dict[str, float]:
    """Compare each method with the classifier, Holm-adjusted; nothing where that was not run."""
    if _REFERENCE not in result.scores:
        return {}
    means = {method: _mean_over_seeds(by_seed).average_precision for method, by_seed in result.scores.items()}
    reference = means.pop(_REFERENCE)
    key = _TESTED if _TESTED in reference else next(iter(reference))
    if not means:
        return {}
    p_values = torch.tensor([compare_paired(own[key], reference[key]).p_value for own in means.values()])
    return dict(zip(means, holm_adjust(p_values).tolist(), strict=True))


def _tables_of_runs(result: PairStudyResult) -> list[StudyTable]:
    """Lay out what runs leave beside rankings: accuracy of categories, cost, what a first stage loses."""
    if not result.results:
        return []
    accuracy, cost, stages = [], [], []
    for method, by_seed in result.results.items():
        names = {name for own in by_seed.values() for name in own.measures}
        measures = {name: [own.measures.get(name) for own in by_seed.values()] for name in names}
        seconds = [own.seconds for own in by_seed.values()]
        own_accuracy = [_mean(measures[f"situation_accuracy/{name}"]) for name in result.class_names]
        accuracy.append([METHODS[method], *(percent(value) for value in own_accuracy)])
        cost.append(
            [METHODS[method], _number(seconds, 0), _number(measures["pairs_per_second"], 0),
             _number(measures.get("chosen_epochs", []), 1), _number(measures["test/swap_level_change"], 3)]
        )  # fmt: skip
        for share in sorted({name.partition("/")[0] for name in measures if name.startswith("compared_")}, key=_share):
            shown = [percent(_mean(measures[f"{share}/{key}"])) for key in _STAGE_KEYS if f"{share}/{key}" in measures]
            stages.append([METHODS[method], percent(_share(share)), *shown])
    return [
        StudyTable(
            "accuracy", "Situations told right, % of the pairs of query and item",
            ["method", *result.class_names], accuracy,
        ),
        StudyTable(
            "cost", "Cost of a run, and what swapping the pair changes",
            ["method", "seconds", "pairs/s in the test", "epochs chosen", "change of level"], cost,
            ["Seconds of one process, with reading the corpus and scoring; change of level: mean over pairs."],
        ),
        StudyTable(
            "first_stage", "Comparing only the items of nearest embedding",
            ["method", "compared", *_STAGE_KEYS], stages,
            ["Items that are not compared follow in the order of the cosine of embeddings; mAP_s@K in %."],
        ),
    ]  # fmt: skip


def _full_table(rows: Sequence[LevelRow], data_name: str) -> StudyTable:
    """List every mAP_s@K with its interval, by subset of the queries."""
    lines = [
        [row.method, row.subset, str(row.num_queries), str(row.s), str(row.k), percent(row.mean), percent(row.low),
         percent(row.high)]
        for row in rows
    ]  # fmt: skip
    notes = [f"{data_name}; 95 % intervals by the bootstrap over queries, each query's mean over seeds."]
    return StudyTable(
        "all", "Every mAP_s@K", ["method", "queries", "number", "s", "K", "mAP_s@K", "low", "high"], lines, notes
    )


def _share(name: str) -> float:
    return float(name.removeprefix("compared_"))


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def _number(values: Sequence[float | None], digits: int) -> str:
    """Show the mean."""
    value = _mean(values)
    return "" if value is None else Quantity(f"{value:,.{digits}f}", value)


def _spread(values: Sequence[float]) -> str:
    deviation = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return Quantity(f"{np.mean(values):.1f}{deviation}", float(np.mean(values)))
