"""Cells of a grid -> rows of a table: means over folds and seeds, and which differences are significant."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.cell import Cell, CellResult
from retrieval.metrics import compare_paired_folds, holm_decisions, mean_over_runs

RowKey = tuple[str, str, int, float | None]


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
        low: Lower end of the mean's 95 % t interval over folds (over seeds where there is one fold); None for one run.
        high: Upper end.
        num_folds: Folds in it.
        num_seeds: Seeds in it.
        map_at: mAP@R by R, meaned likewise.
        p_value: Holm-adjusted p of the difference to the reference; None where there is none.
        is_below_reference: Whether the reference is significantly better.
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
    map_at: dict[int, float]
    p_value: float | None = None
    is_below_reference: bool = False


def summarize(results: Mapping[Cell, CellResult], reference: str | None, level: float = 0.05) -> list[Row]:
    """Summarise a grid.

    Each row is compared with the reference method's of the same embedding and code length: paired permutation test over
    all queries, seeds meaned first; Holm's correction over all comparisons of the grid. Methods without a code are
    compared at every length of the reference.

    Args:
        results: Finished cells.
        reference: Method that the others are compared with; None compares nothing.
        level: Significance level.
    """
    cells: dict[RowKey, list[Cell]] = defaultdict(list)
    for cell in results:
        cells[cell.embedding, cell.method, cell.num_bits, cell.label_fraction].append(cell)
    p_values = {}
    is_worse = {}
    for key in cells:
        against = (key[0], reference or "", key[2], None)
        if against not in cells or key[1] == reference or key[3] is not None:
            continue
        pair = [_precisions(cells[each], results) for each in (against, key)]
        common = sorted(set(pair[0]) & set(pair[1]))
        if common:
            comparison = compare_paired_folds([pair[0][fold] for fold in common], [pair[1][fold] for fold in common])
            p_values[key] = comparison.p_value
            is_worse[key] = comparison.difference > 0
    decisions = holm_decisions(p_values, level) if p_values else {}
    return [
        _row(
            key, group, results,
            decisions[key].adjusted_p_value if key in decisions else None,
            key in decisions and decisions[key].is_significant and is_worse[key],
        )
        for key, group in cells.items()
    ]  # fmt: skip


def _precisions(cells: Sequence[Cell], results: Mapping[Cell, CellResult]) -> dict[int, Tensor]:
    """Return AP by fold, [seed, query]."""
    folds: dict[int, list[list[float]]] = defaultdict(list)
    for cell in sorted(cells, key=lambda cell: (cell.fold, cell.seed)):
        folds[cell.fold].append(results[cell].average_precision)
    return {fold: torch.tensor(rows, dtype=torch.float64) for fold, rows in folds.items()}


def _row(
    key: RowKey, cells: Sequence[Cell], results: Mapping[Cell, CellResult], p_value: float | None, is_below: bool
) -> Row:
    embedding, method, num_bits, fraction = key
    folds = sorted({cell.fold for cell in cells})
    seeds = sorted({cell.seed for cell in cells})
    values = torch.tensor([results[cell].mean_ap for cell in cells], dtype=torch.float64)
    first = results[cells[0]]
    interval = None
    if len(values) == len(folds) * len(seeds) > 1:
        ordered = sorted(cells, key=lambda cell: (cell.fold, cell.seed))
        scores = torch.tensor([results[cell].mean_ap for cell in ordered]).reshape(len(folds), len(seeds))
        interval = mean_over_runs(scores, unit="fold" if len(folds) > 1 else "seed")
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
        map_at={
            int(cutoff): sum(results[cell].map_at[cutoff] for cell in cells) / len(cells) for cutoff in first.map_at
        }
        | {first.num_items: float(values.mean())},
        p_value=p_value,
        is_below_reference=is_below,
    )
