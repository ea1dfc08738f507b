"""Cells of a grid -> rows of a table: means over folds and seeds, and which differences are significant."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from experiments.grids.cell import Cell, CellResult
from retrieval.metrics import RunMean, compare_paired_folds, holm_decisions, mean_over_runs

RowKey = tuple[str, str, int, float | None]
Verdict = Literal["worse", "alike", "better"]
_FEWEST_RESAMPLES = 10_000
# Holm multiplies the least p by the number of comparisons; so many resamples for each keep it below a percent.
_RESAMPLES_PER_COMPARISON = 200


@dataclass(frozen=True)
class Row:
    """One method at one code length.

    Attributes:
        method: Name of the method.
        embedding: Name of the front end.
        num_bits: Length of the code.
        label_fraction: Labelled share; None is the data config's.
        mean_ap: Mean of mAP over folds and seeds.
        std: Deviation over folds and seeds; 0 for a single run.
        low: Lower end of the mean's 95 % t interval over folds (over seeds where there is one fold); None for one run,
            or if runs are missing.
        high: Upper end.
        num_folds: Folds in it.
        num_seeds: Seeds in it.
        num_runs: Runs in it; fewer than folds times seeds if some are missing.
        map_at: mAP@R by R, meaned likewise; the last is the whole list.
        p_value: Holm-adjusted p of the difference to the reference; None where there is none.
        verdict: Whether it is significantly worse or better than the reference; None where there is none.
    """

    method: str
    embedding: str
    num_bits: int
    label_fraction: float | None
    mean_ap: float
    std: float
    low: float | None
    high: float | None
    num_folds: int
    num_seeds: int
    num_runs: int
    map_at: dict[int, float]
    p_value: float | None = None
    verdict: Verdict | None = None


def summarize(results: Mapping[Cell, CellResult], reference: str | None, level: float = 0.05) -> list[Row]:
    """Summarise a grid.

    Each row is compared with the reference method's of the same embedding, code length and labelled share (for methods
    that use no labels, the data config's): paired permutation test over the queries of all folds, seeds meaned first;
    Holm's correction over all comparisons of the grid.

    Args:
        results: Finished cells.
        reference: Method that the others are compared with; None compares nothing.
        level: Significance level.

    Raises:
        ValueError: If two cells of one fold were scored on different queries.
    """
    groups: dict[RowKey, list[Cell]] = defaultdict(list)
    for cell in results:
        groups[cell.embedding, cell.method, cell.num_bits, cell.label_fraction].append(cell)
    pairs = {
        key: against
        for key in groups
        if (against := (key[0], reference or "", key[2], key[3])) in groups and key[1] != reference
    }
    num_resamples = max(_FEWEST_RESAMPLES, _RESAMPLES_PER_COMPARISON * len(pairs))
    p_values: dict[RowKey, float] = {}
    is_better: dict[RowKey, bool] = {}
    for key, against in pairs.items():
        precisions, references = (_precisions(groups[each], results) for each in (key, against))
        folds = sorted(set(precisions) & set(references))
        if folds:
            comparison = compare_paired_folds(
                [precisions[fold] for fold in folds],
                [references[fold] for fold in folds],
                num_resamples=num_resamples,
            )
            p_values[key] = comparison.p_value
            is_better[key] = comparison.difference > 0
    decisions = holm_decisions(p_values, level) if p_values else {}
    rows = []
    for key, cells in groups.items():
        decision = decisions.get(key)
        verdict: Verdict | None = None
        if decision is not None:
            verdict = "alike" if not decision.is_significant else ("better" if is_better[key] else "worse")
        rows.append(_row(key, cells, results, decision.adjusted_p_value if decision else None, verdict))
    return rows


def _precisions(cells: Sequence[Cell], results: Mapping[Cell, CellResult]) -> dict[int, Tensor]:
    """Return AP by fold, [seed, query], queries in the order of their position in the corpus."""
    folds: dict[int, list[list[float]]] = defaultdict(list)
    queries: dict[int, list[int]] = {}
    for cell in sorted(cells, key=lambda cell: (cell.fold, cell.seed)):
        result = results[cell]
        index, precision = zip(*sorted(zip(result.query_index, result.average_precision, strict=True)), strict=True)
        if queries.setdefault(cell.fold, list(index)) != list(index):
            raise ValueError(
                f"Expected one set of queries a fold; {cell.command} was scored on others. The corpus has changed: "
                "choose another --output, and run again."
            )
        folds[cell.fold].append(list(precision))
    return {fold: torch.tensor(rows, dtype=torch.float64) for fold, rows in folds.items()}


def _row(
    key: RowKey,
    cells: Sequence[Cell],
    results: Mapping[Cell, CellResult],
    p_value: float | None,
    verdict: Verdict | None,
) -> Row:
    embedding, method, num_bits, fraction = key
    ordered = sorted(cells, key=lambda cell: (cell.fold, cell.seed))
    folds, seeds = ({getattr(cell, name) for cell in cells} for name in ("fold", "seed"))
    values = torch.tensor([results[cell].mean_ap for cell in ordered], dtype=torch.float64)
    interval: RunMean | None = None
    if len(values) == len(folds) * len(seeds) > 1:
        interval = mean_over_runs(values.reshape(len(folds), len(seeds)), unit="fold" if len(folds) > 1 else "seed")
    found = [results[cell] for cell in ordered]
    shared = set.intersection(*(set(result.map_at) for result in found))
    map_at = {
        int(cutoff): sum(result.map_at[cutoff] for result in found) / len(found) for cutoff in sorted(shared, key=int)
    }
    return Row(
        method=method,
        embedding=embedding,
        num_bits=num_bits,
        label_fraction=fraction,
        mean_ap=float(values.mean()),
        std=float(values.std()) if len(values) > 1 else 0.0,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        num_folds=len(folds),
        num_seeds=len(seeds),
        num_runs=len(values),
        map_at=map_at | {max(result.num_items for result in found): float(values.mean())},
        p_value=p_value,
        verdict=verdict,
    )
