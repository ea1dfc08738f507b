"""A value chosen by cross-validation: what runs, and what is chosen from results made by hand."""

import numpy as np
import pytest

from experiments.grids.cell import Cell, CellResult
from experiments.grids.cross_validation import choose, cross_validation_cells
from experiments.grids.cross_validation_report import choice_table, draw_choices
from experiments.grids.sweep import Sweep
from experiments.grids.sweep_study import LAMBDA, LAMBDAS


def cells_of(values: tuple[str, ...], num_folds: int = 2) -> dict[Cell, str]:
    base = Sweep(("dqn.yaml",), {}, (0, 1), (1,), ("--data.label_seed=5",))
    return cross_validation_cells(base, LAMBDA, values, num_folds)


def result(cell: Cell, mean: float, fold: int) -> CellResult:
    queries = list(range(100 * fold, 100 * fold + 20))
    precisions = (mean + 0.1 * np.cos(queries)).tolist()  # clips are as hard for every value
    return CellResult("made up", float(np.mean(precisions)), {}, precisions, queries, 30, 1.0, cell.command)


@pytest.fixture(scope="module")
def value_of() -> dict[Cell, str]:
    """Three values on two folds with two seeds."""
    return cells_of(("1", "0", "0.001"))


def fold_of(cell: Cell) -> int:
    return int(next(each for each in cell.arguments if each.startswith("--data.labelled_fold.fold=")).split("=")[1])


def results(value_of: dict[Cell, str], means: dict[str, float]) -> dict[Cell, CellResult]:
    return {cell: result(cell, means[value], fold_of(cell)) for cell, value in value_of.items()}


def test_every_value_is_run_on_every_fold_of_one_training_set() -> None:
    value_of = cells_of(LAMBDAS[:2], num_folds=3)
    assert len({cell.key for cell in value_of}) == len(value_of) == 2 * 3 * 2
    for cell in value_of:
        labels = [each for each in cell.arguments if each.startswith("--data.label_seed")]
        assert labels == ["--data.label_seed=5"]  # seeds are of weights and codes
        assert "--data.labelled_fold.num_folds=3" in cell.arguments
        assert f"--{LAMBDA}={value_of[cell]}" in cell.arguments
    assert {fold_of(cell) for cell in value_of} == {1, 2, 3}


def test_the_paper_s_range_is_the_default() -> None:
    assert (float(LAMBDAS[0]), float(LAMBDAS[-1])) == (1e-5, 1.0)


def test_the_best_mean_is_chosen(value_of: dict[Cell, str]) -> None:
    choice = choose(LAMBDA, results(value_of, {"0": 0.5, "0.001": 0.7, "1": 0.6}), value_of)
    assert choice.value == "0.001"
    assert [score.value for score in choice.scores] == ["0", "0.001", "1"]
    assert choice.num_queries == 40
    assert [score.num_seeds for score in choice.scores] == [2, 2, 2]
    assert choice.scores[1].p_value is None
    assert all(score.p_value is not None and score.p_value < 0.01 for score in (choice.scores[0], choice.scores[2]))


def test_ties_go_to_the_smaller_value_in_whatever_order_they_come(value_of: dict[Cell, str]) -> None:
    for given in (value_of, dict(reversed(value_of.items()))):
        choice = choose(LAMBDA, results(given, {"0": 0.5, "0.001": 0.7, "1": 0.7}), given)
        assert choice.value == "0.001"
        assert [score.p_value for score in choice.scores][2] == 1  # the other of the tied is no different


def test_nothing_is_chosen_from_a_part_of_the_runs(value_of: dict[Cell, str]) -> None:
    finished = results(value_of, {"0": 0.5, "0.001": 0.5, "1": 0.6})
    lost = next(iter(finished))
    del finished[lost]
    with pytest.raises(ValueError, match=r"Expected 12 finished runs; 1 are missing, first python train\.py fit"):
        choose(LAMBDA, finished, value_of)


@pytest.mark.parametrize(("values", "num_folds"), [(("0.1",), 4), (("0.1", "0.10"), 4), (("0.1", "1"), 1)])
def test_there_has_to_be_a_choice(values: tuple[str, ...], num_folds: int) -> None:
    with pytest.raises(ValueError, match="Expected at least two folds and two values"):
        cells_of(values, num_folds)


def test_the_report_shows_the_curve_and_marks_the_choice(value_of: dict[Cell, str]) -> None:
    choice = choose(LAMBDA, results(value_of, {"0": 0.5, "0.001": 0.7, "1": 0.6999}), value_of)
    table = choice_table({1: choice}, 2)
    assert [line[0] for line in table.lines] == ["0", "0.001", "1"]
    assert [line[1].endswith(" *") for line in table.lines] == [False, True, False]
    assert "40 labelled clips ask in 2 folds" in table.notes[0]
    axes = draw_choices({1: choice}).axes[0]
    assert axes.get_xscale() == "symlog"  # so that 0 has a place
    star = axes.lines[-1]
    assert star.get_label() == "chosen: 0.001"
    assert star.get_xdata()[0] == 0.001  # type: ignore[index]
