"""Means over folds and seeds, and comparisons with the reference."""

import pytest
import torch

from experiments.grids.cell import Cell, CellResult
from experiments.grids.summary import summarize
from retrieval.metrics import compare_paired_folds


def cell(method: str, num_bits: int = 8, fold: int = 1, seed: int = 0, fraction: float | None = None) -> Cell:
    return Cell(method, "yamnet", num_bits, fold, seed, fraction, (f"--a={method}{num_bits}{fold}{seed}{fraction}",))


def result(precisions: torch.Tensor) -> CellResult:
    mean = float(precisions.mean())
    return CellResult("made up", mean, {"1": mean / 2}, precisions.tolist(), list(range(len(precisions))), 100, 1.0, "")


def draw(low: float, seed: int, num_queries: int = 40) -> torch.Tensor:
    return low + 0.1 * torch.rand(num_queries, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_means_and_deviations_are_over_all_runs_of_a_cell() -> None:
    results = {
        cell("pq", fold=fold, seed=seed): result(draw(0.2 * fold, 10 * fold + seed))
        for fold in (1, 2)
        for seed in (0, 1, 2)
    }
    (row,) = summarize(results, None)
    values = torch.tensor([each.mean_ap for each in results.values()], dtype=torch.float64)
    assert abs(row.mean_ap - float(values.mean())) < 1e-12
    assert abs(row.std - float(values.std())) < 1e-12
    assert (row.num_folds, row.num_seeds) == (2, 3)
    assert row.map_at == {1: row.map_at[1], 100: row.mean_ap}
    assert abs(row.map_at[1] - row.mean_ap / 2) < 1e-12
    assert row.low is not None and row.high is not None
    assert row.low < row.mean_ap < row.high
    assert row.p_value is None


def test_a_single_run_has_no_interval() -> None:
    (row,) = summarize({cell("pq"): result(draw(0.2, 0))}, "dqn")
    assert (row.std, row.low, row.high, row.p_value) == (0.0, None, None, None)


def test_missing_runs_leave_a_mean_without_an_interval() -> None:
    results = {cell("pq", fold=fold, seed=seed): result(draw(0.2, seed)) for fold, seed in ((1, 0), (1, 1), (2, 0))}
    (row,) = summarize(results, None)
    assert row.low is None
    assert (row.num_folds, row.num_seeds, row.num_runs) == (2, 2, 3)


def test_only_clear_differences_to_the_reference_are_marked() -> None:
    results = {}
    for fold in (1, 2):
        for seed in (0, 1):
            results[cell("dqn", fold=fold, seed=seed)] = result(draw(0.5, fold))
            results[cell("worse", fold=fold, seed=seed)] = result(draw(0.2, fold + 5))
            results[cell("better", fold=fold, seed=seed)] = result(draw(0.8, fold + 9))
            results[cell("alike", fold=fold, seed=seed)] = result(draw(0.5, fold) + 1e-9 * (-1) ** seed)
    rows = {row.method: row for row in summarize(results, "dqn")}
    assert {name: row.verdict for name, row in rows.items()} == {
        "dqn": None, "worse": "worse", "better": "better", "alike": "alike",
    }  # fmt: skip
    assert rows["dqn"].p_value is None
    plain = compare_paired_folds(
        [torch.stack([draw(0.2, fold + 5)] * 2) for fold in (1, 2)],
        [torch.stack([draw(0.5, fold)] * 2) for fold in (1, 2)],
    )
    assert rows["worse"].p_value == 3 * plain.p_value  # Holm: the least of three


def test_queries_are_paired_by_their_position_in_the_corpus() -> None:
    values = draw(0.5, 1)
    turned = CellResult("made up", 0.5, {}, values.flip(0).tolist(), list(range(39, -1, -1)), 100, 1.0, "")
    results = {cell("dqn"): result(values), cell("same"): turned}
    rows = {row.method: row for row in summarize(results, "dqn")}
    assert rows["same"].p_value == 1.0


def test_other_queries_in_one_fold_are_refused() -> None:
    other = CellResult("made up", 0.5, {}, draw(0.5, 1).tolist(), list(range(1, 41)), 100, 1.0, "")
    results = {cell("dqn"): result(draw(0.5, 1)), cell("pq"): result(draw(0.5, 2)), cell("pq", seed=1): other}
    with pytest.raises(ValueError, match="Expected one set of queries a fold"):
        summarize(results, "dqn")


def test_enough_is_drawn_for_many_comparisons() -> None:
    results = {cell("dqn", bits): result(draw(0.8, bits)) for bits in range(1, 31)}
    results |= {
        cell(f"m{method}", bits): result(draw(0.1, 100 * method + bits)) for bits in range(1, 31) for method in range(3)
    }
    rows = [row for row in summarize(results, "dqn") if row.method != "dqn"]
    assert len(rows) == 90
    assert all(row.verdict == "worse" for row in rows)


def test_cut_offs_that_one_fold_is_too_small_for_are_left_out() -> None:
    small = CellResult("made up", 0.4, {"1": 0.1}, [0.4], [0], 50, 1.0, "")
    large = CellResult("made up", 0.6, {"1": 0.3, "60": 0.5}, [0.6], [1], 70, 1.0, "")
    (row,) = summarize({cell("pq", fold=1): small, cell("pq", fold=2): large}, None)
    assert row.map_at == pytest.approx({1: 0.2, 70: 0.5})


def test_lengths_are_compared_with_the_same_length_only() -> None:
    results = {cell("dqn", 8): result(draw(0.5, 1)), cell("pq", 16): result(draw(0.1, 2))}
    assert all(row.p_value is None and row.verdict is None for row in summarize(results, "dqn"))
