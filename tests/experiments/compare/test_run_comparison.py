"""Rows, columns and metrics of a comparison, by hand."""

import statistics
from dataclasses import replace

import pytest

from experiments.compare.comparison import ComparisonError, ComparisonOptions
from experiments.compare.run_comparison import compare_runs
from experiments.compare.run_records import LeftOut, RunRecord
from experiments.compare.tables import comparison_table
from tests.experiments.run_makers import record


def grid() -> list[RunRecord]:
    """Two configs at two lengths with three seeds; the learning rate goes with the config."""
    return [
        record(
            0.1 * len(config) + 0.01 * bits + 0.001 * seed, None, seed, 1, config, num_bits=str(bits), lr=config[0],
        )
        for config in ("dqn", "pq") for bits in (8, 16) for seed in (0, 1, 2)
    ]  # fmt: skip


def test_rows_are_what_differs_beside_seeds_and_folders() -> None:
    comparison = compare_runs(grid(), [])
    assert comparison.columns == ("config", "model.num_bits")
    assert [row.values for row in comparison.rows] == [("dqn", "8"), ("dqn", "16"), ("pq", "8"), ("pq", "16")]
    assert comparison.implied == {"model.lr": {"dqn": "d", "pq": "p"}}
    values = [0.3 + 0.08 + 0.001 * seed for seed in range(3)]
    spread = comparison.rows[0].metrics["test/mAP"]
    assert (spread.mean, spread.std) == pytest.approx((statistics.mean(values), statistics.stdev(values)))
    assert (spread.num_runs, comparison.rows[0].num_seeds, comparison.rows[0].num_folds) == (3, 3, 1)
    assert comparison.metrics == ("test/mAP",)  # an end of an interval is not shown


def test_the_order_of_runs_changes_nothing() -> None:
    first, second = compare_runs(grid(), []), compare_runs(grid()[::-1], [])
    assert [row.values for row in first.rows] == [row.values for row in second.rows]
    for one, other in zip(first.rows, second.rows, strict=True):
        assert one.metrics["test/mAP"].mean == pytest.approx(other.metrics["test/mAP"].mean)


def test_one_run_has_no_deviation() -> None:
    (row,) = compare_runs([record()], []).rows
    assert row.values == ()
    assert row.metrics["test/mAP"].std is None


def test_rows_can_be_asked_for() -> None:
    comparison = compare_runs(grid(), [], ComparisonOptions(group_by=("model.num_bits",)))
    assert comparison.columns == ("model.num_bits",)
    assert [len(row.runs) for row in comparison.rows] == [6, 6]
    assert not comparison.left_out  # another config is no repetition
    assert any("Rows mix runs" in note for note in comparison_table(comparison).notes)
    assert not any("Rows mix runs" in note for note in comparison_table(compare_runs(grid(), [])).notes)
    with pytest.raises(ComparisonError, match=r"No run has the option data.num_bits. There are model.num_bits"):
        compare_runs(grid(), [], ComparisonOptions(group_by=("data.num_bits",)))


def test_of_repeated_runs_the_last_counts() -> None:
    early, late = record(0.1, started="2026-01-01"), record(0.9, started="2026-01-02")
    comparison = compare_runs([late, early, record(0.5, seed=1)], [])
    (row,) = comparison.rows
    assert sorted(run.metrics["test/mAP"] for run in row.runs) == [0.5, 0.9]
    (left_out,) = comparison.left_out
    assert left_out.name == early.name
    assert "later run with the same options and seeds" in left_out.reason


def test_other_data_are_another_row() -> None:
    comparison = compare_runs([record(), record(data_name="other")], [])
    assert comparison.columns == ("data",)
    assert [row.values for row in comparison.rows] == [("made up",), ("other",)]


def metrics_of(*names: str) -> RunRecord:
    return replace(record(), metrics=dict.fromkeys(names, 0.5))


def test_metrics_of_tests_are_chosen_one_a_kind() -> None:
    names = ["train/loss", "val/mAP", "test/hit@1", "test/hit@10", "test/mAP@1", "test/mAP", "test/mAP_high", "epoch"]
    assert compare_runs([metrics_of(*names)], []).metrics == ("test/mAP", "test/hit@10", "test/mAP@1")
    assert compare_runs([metrics_of("train/loss", "val/mAP")], []).metrics == ("val/mAP",)
    assert compare_runs([metrics_of("train/reward")], []).metrics == ("train/reward",)


def test_runs_of_another_kind_have_their_own_metric() -> None:
    common = [replace(metrics_of(*(f"test/m{k}" for k in range(9))), config="dqn") for _ in range(2)]
    other = replace(metrics_of("test/top1", "test/track"), config="fingerprinter")
    comparison = compare_runs([*common, other], [])
    assert len(comparison.metrics) == 6
    assert comparison.metrics[-1] == "test/top1"


def test_metrics_can_be_named_by_pattern() -> None:
    run = metrics_of("test/mAP", "test/mAP@1", "test/hit@1")
    assert compare_runs([run], [], ComparisonOptions(metrics=("test/hit@1", "test/mAP*"))).metrics == (
        "test/hit@1", "test/mAP", "test/mAP@1",
    )  # fmt: skip
    with pytest.raises(ComparisonError, match=r"No run has the metric test/map\. There are test/mAP, test/mAP@1"):
        compare_runs([run], [], ComparisonOptions(metrics=("test/map",)))


def test_runs_without_the_metric_are_left_out() -> None:
    comparison = compare_runs([record(), replace(record(seed=1), metrics={"loss": 1.0})], [])
    assert [each.reason for each in comparison.left_out] == ["it has none of test/mAP"]


def test_sorting_is_by_metric_or_column() -> None:
    by_metric = compare_runs(grid(), [], ComparisonOptions(sort="test/mAP"))
    means = [row.metrics["test/mAP"].mean for row in by_metric.rows]
    assert means == sorted(means, reverse=True)
    by_column = compare_runs(grid(), [], ComparisonOptions(sort="model.num_bits"))
    assert [row.values[1] for row in by_column.rows] == ["8", "8", "16", "16"]
    with pytest.raises(ComparisonError, match=r"Expected to sort by one of config, model\.num_bits, test/mAP; got mAP"):
        compare_runs(grid(), [], ComparisonOptions(sort="mAP"))


def test_a_baseline_is_the_row_that_agrees_in_the_rest() -> None:
    comparison = compare_runs(grid(), [], ComparisonOptions(baseline="pq"))
    assert [row.is_baseline for row in comparison.rows] == [False, False, True, True]
    differences = [row.test.difference for row in comparison.rows if row.test is not None]
    assert differences == pytest.approx([0.1, 0.1])  # at the same length
    by_option = compare_runs(grid(), [], ComparisonOptions(baseline="model.num_bits=8"))
    assert [row.test.difference for row in by_option.rows if row.test is not None] == pytest.approx([0.08, 0.08])


def test_a_single_baseline_serves_all_rows() -> None:
    single = [run for run in grid() if run.config == "dqn" or run.options["model.num_bits"] == "16"]
    comparison = compare_runs(single, [], ComparisonOptions(baseline="pq"))
    assert [row.test is not None for row in comparison.rows] == [True, True, False]


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        ("model.lr=d", "names no column: the runs differ in config, model.num_bits"),
        ("model.num_bits=12", "There are model.num_bits=8, model.num_bits=16"),
        ("vae", "No row is told apart by the baseline vae. There are config=dqn, config=pq"),
    ],
)
def test_a_baseline_that_is_not_there_is_refused(baseline: str, message: str) -> None:
    with pytest.raises(ComparisonError, match=message):
        compare_runs(grid(), [], ComparisonOptions(baseline=baseline))


def test_without_a_finished_run_the_reasons_are_given() -> None:
    with pytest.raises(ComparisonError, match=r"all 1 found are left out\. there: it was killed"):
        compare_runs([], [LeftOut("there", "it was killed")])
