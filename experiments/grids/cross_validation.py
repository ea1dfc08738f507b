"""Choose an option by cross-validation inside the labelled training set, as the paper chooses lambda.

Jati and Emmanouilidou, Supervised deep hashing for efficient audio event retrieval, 2020, footnote 1: "lambda in
[1e-5, 1] is chosen through cross-validation inside training set". The paper does not say with how many folds, over
which values, or what is searched. Here each fold of the labelled clips asks the others, which are trained on; neither
the test queries nor the unlabelled database is looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from experiments.grids.cell import Cell, CellResult
from experiments.grids.sweep import Sweep
from retrieval.metrics import compare_paired_folds, holm_adjust

# Means that differ by less are tied: the last digits of a sum.
_TIE = 1e-9


@dataclass(frozen=True)
class ValueScore:
    """What one value of the option reaches.

    Attributes:
        value: The value, as the command line takes it.
        mean_ap: Mean over folds of the mean over seeds of mAP.
        std: Deviation of a fold's mean, over folds.
        by_fold: mAP of each fold, its mean over seeds.
        num_seeds: Seeds in every fold.
        p_value: Of the difference to the chosen value, paired permutation test over the labelled clips, Holm's
            correction; None for the chosen one.
    """

    value: str
    mean_ap: float
    std: float
    by_fold: tuple[float, ...]
    num_seeds: int
    p_value: float | None = None


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        option: Option.
        value: Value with the best mean; of tied ones the smallest.
        scores: Of every value, in ascending order.
        data_name: What the numbers are to be called.
        num_queries: Labelled clips that asked, each once a seed.
    """

    option: str
    value: str
    scores: list[ValueScore]
    data_name: str
    num_queries: int


def cross_validation_cells(base: Sweep, option: str, values: Sequence[str], num_folds: int) -> dict[Cell, str]:
    """List the runs: every value on every fold of the labelled clips, with every seed.

    Args:
        base: Configs, seeds and further arguments; it varies nothing itself.
        option: Option to choose.
        values: Numbers to choose from.
        num_folds: Parts that the labelled clips are dealt into.

    Returns:
        The value of each cell.

    Raises:
        ConfigNotFound: If there is no such config.
        ValueError: If a value is no number, or an option is refused.
    """
    if num_folds < 2 or len(set(map(float, values))) < 2:
        raise ValueError(
            f"Expected at least two folds and two values to choose from; got {num_folds} and {', '.join(values)}."
        )
    folds = tuple(str(fold) for fold in range(1, num_folds + 1))
    over = {option: tuple(values), "data.labelled_fold.num_folds": (str(num_folds),), "data.labelled_fold.fold": folds}
    # one training set is cut up: seeds are of weights and codes, not of which clips are labelled
    sweep = replace(base, over=over, varies_labels=False)
    return {cell: _given(cell, option) for cell in sweep.cells()}


def choose(option: str, results: Mapping[Cell, CellResult], value_of: Mapping[Cell, str]) -> Choice:
    """Choose the value with the best mean; of tied ones the smallest.

    Args:
        option: Option to choose.
        results: Every run that was asked for.
        value_of: Its value, by run.

    Raises:
        ValueError: If a value lacks a run, or runs of one fold were scored on different clips.
    """
    missing = [cell for cell in value_of if cell not in results]
    if missing:
        raise ValueError(
            f"Expected {len(value_of)} finished runs; {len(missing)} are missing, first {missing[0].command}. "
            "Mend what they say and run the same command again; a value is chosen from all of them only."
        )
    precisions = {
        value: _by_fold([cell for cell in value_of if value_of[cell] == value], results)
        for value in sorted(set(value_of.values()), key=float)
    }
    scores = {value: _score(value, folds) for value, folds in precisions.items()}
    best = max(score.mean_ap for score in scores.values())
    chosen = next(value for value, score in scores.items() if score.mean_ap >= best - _TIE)
    p_values = _p_values(precisions, chosen)
    return Choice(
        option=option,
        value=chosen,
        scores=[ValueScore(**{**vars(score), "p_value": p_values.get(value)}) for value, score in scores.items()],
        data_name=next(iter(results.values())).data_name,
        num_queries=sum(fold.shape[1] for fold in precisions[chosen]),
    )


def _given(cell: Cell, option: str) -> str:
    """Return the value that a cell's command gives an option."""
    given = [each.removeprefix(f"--{option}=") for each in cell.arguments if each.startswith(f"--{option}=")]
    return given[-1]


def _by_fold(cells: Sequence[Cell], results: Mapping[Cell, CellResult]) -> list[Tensor]:
    """Return average precision of each fold, [seed, query]; queries in the order of their position in the corpus."""
    folds: dict[tuple[int, ...], list[list[float]]] = {}
    for cell in cells:
        result = results[cell]
        index, precision = zip(*sorted(zip(result.query_index, result.average_precision, strict=True)), strict=True)
        folds.setdefault(index, []).append(list(precision))
    return [torch.tensor(folds[index], dtype=torch.float64) for index in sorted(folds)]


def _score(value: str, folds: Sequence[Tensor]) -> ValueScore:
    by_fold = torch.stack([fold.mean() for fold in folds])
    return ValueScore(
        value, float(by_fold.mean()), float(by_fold.std()), tuple(by_fold.tolist()), min(len(fold) for fold in folds)
    )


def _p_values(precisions: Mapping[str, Sequence[Tensor]], chosen: str) -> dict[str, float]:
    others = [value for value in precisions if value != chosen]
    p_values = [compare_paired_folds(precisions[value], precisions[chosen]).p_value for value in others]
    return dict(zip(others, holm_adjust(torch.tensor(p_values, dtype=torch.float64)).tolist(), strict=True))
