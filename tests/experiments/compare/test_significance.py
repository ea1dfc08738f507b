"""Tests between settings: by hand where few pairs are enumerated, by law where queries are drawn."""

import numpy as np
import pytest

from experiments.compare.run_records import RunRecord
from experiments.compare.significance import compare_settings, holm_tests
from tests.experiments.run_makers import record


def runs(shift: float, num_seeds: int, num_queries: int = 60, fold: int = 1) -> list[RunRecord]:
    rng = np.random.default_rng(7)  # queries are as hard for every setting
    difficulty = rng.uniform(0.2, 0.6, num_queries)
    return [
        record(0.0, (difficulty + shift + rng.normal(0, 0.02, num_queries)).tolist(), seed, fold)
        for seed in range(num_seeds)
    ]


def without_queries(values: list[float], seeds: list[int] | None = None) -> list[RunRecord]:
    return [record(value, seed=seed) for seed, value in zip(seeds or range(len(values)), values, strict=True)]


def test_queries_are_paired_where_they_were_kept() -> None:
    test = compare_settings(runs(0.05, 3), runs(0.0, 2), "test/mAP", 0.05)
    assert (test.unit, test.num_pairs, test.num_seeds) == ("queries", 60, (3, 2))
    assert test.difference == pytest.approx(0.05, abs=0.01)
    assert test.p_value is not None
    assert test.p_value < 0.001
    decided = holm_tests({"a": test}, 0.05)["a"]
    assert decided.verdict == "higher"
    back = holm_tests({"a": compare_settings(runs(0.0, 2), runs(0.05, 3), "test/mAP", 0.05)}, 0.05)["a"]
    assert back.verdict == "lower"
    assert back.difference == pytest.approx(-test.difference)


def test_queries_of_all_folds_count_and_only_of_folds_in_common() -> None:
    ours = [*runs(0.02, 2, fold=1), *runs(0.02, 2, fold=2), *runs(0.02, 1, fold=3)]
    theirs = [*runs(0.0, 1, fold=2), *runs(0.0, 1, fold=1)]
    assert compare_settings(ours, theirs, "test/mAP", 0.05).num_pairs == 120


def test_no_difference_is_not_significant() -> None:
    test = holm_tests({"a": compare_settings(runs(0.0, 2), runs(0.0, 2), "test/mAP", 0.05)}, 0.05)["a"]
    assert test.p_value == 1
    assert test.verdict == "alike"


def test_few_seeds_are_never_significant_and_it_is_said() -> None:
    ours, theirs = without_queries([0.9, 0.91, 0.92]), without_queries([0.1, 0.11, 0.12])
    test = compare_settings(ours, theirs, "test/mAP", 0.05)
    assert (test.unit, test.num_pairs) == ("seeds", 3)
    assert test.p_value == pytest.approx(2 / 8)
    assert test.reason == "3 seeds can't be significant: p is 0.25 at least"
    assert holm_tests({"a": test}, 0.05)["a"].verdict == "alike"


def test_runs_of_one_seed_are_one_pair() -> None:
    ours = without_queries([0.5, 0.7, 0.6], [0, 0, 1])
    test = compare_settings(ours, without_queries([0.4, 0.4]), "test/mAP", 0.05)
    assert (test.unit, test.num_pairs) == ("seeds", 2)
    assert test.difference == pytest.approx(0.2)


def test_six_seeds_can_be() -> None:
    ours, theirs = without_queries([0.5 + 0.01 * k for k in range(6)]), without_queries([0.4] * 6)
    test = holm_tests({"a": compare_settings(ours, theirs, "test/mAP", 0.05)}, 0.05)["a"]
    assert test.p_value == pytest.approx(2 / 64)
    assert test.verdict == "higher"
    assert not test.reason


def test_folds_are_the_pairs_where_there_are_several() -> None:
    ours = [record(0.5 + 0.1 * fold + 0.2 * seed, seed=seed, fold=fold) for fold in (1, 2) for seed in (0, 1)]
    theirs = [record(0.4 + 0.1 * fold, fold=fold) for fold in (1, 2)]
    test = compare_settings(ours, theirs, "test/mAP", 0.05)
    assert (test.unit, test.num_pairs) == ("folds", 2)
    assert test.difference == pytest.approx(0.2)
    assert test.p_value == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("ours", "theirs", "reason"),
    [
        ([record(0.5)], [record(0.4)], "1 seeds in common"),
        (without_queries([0.5, 0.6]), without_queries([0.4, 0.4], [2, 3]), "no seeds in common"),
        ([record(0.5, fold=1)], [record(0.4, fold=2)], "they share no fold"),
        ([record(queries=[0.1, 0.2])], [record(queries=[0.1, 0.2, 0.3])], "they were asked different queries"),
        ([record(0.5)], [record(0.4, data_name="other")], "they were measured on different data"),
    ],
)
def test_what_cannot_be_tested_is_not(ours: list[RunRecord], theirs: list[RunRecord], reason: str) -> None:
    test = compare_settings(ours, theirs, "test/mAP", 0.05)
    assert test.verdict == "untested"
    assert test.p_value is None
    assert test.reason.startswith(reason)
    assert holm_tests({"a": test}, 0.05)["a"] == test


def test_many_tests_are_corrected_for() -> None:
    ours, theirs = without_queries([0.5 + 0.01 * k for k in range(6)]), without_queries([0.4] * 6)
    test = compare_settings(ours, theirs, "test/mAP", 0.05)
    corrected = holm_tests({name: test for name in "ab"}, 0.05)
    assert [each.p_value for each in corrected.values()] == pytest.approx([4 / 64, 4 / 64])
    assert {each.verdict for each in corrected.values()} == {"alike"}
