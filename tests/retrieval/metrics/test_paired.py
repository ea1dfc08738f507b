"""Paired comparisons against normal theory, their null distribution and laws of symmetry."""

import tracemalloc
from dataclasses import replace

import pytest
import scipy.stats
import torch

from retrieval.metrics import bootstrap_mean, compare_paired, compare_paired_folds, sign_flip_p_value
from tests.retrieval.metrics.makers import draw_uniform as draw


def test_large_samples_agree_with_the_t_test() -> None:
    scores_a, scores_b = draw(600) + 0.03, draw(600, seed=1)
    comparison = compare_paired(scores_a, scores_b, confidence=0.9, num_resamples=20_000)
    expected = scipy.stats.ttest_rel(scores_a.numpy(), scores_b.numpy())
    assert 0.005 < expected.pvalue < 0.5
    # Monte Carlo deviation below 0.0035
    assert comparison.p_value == pytest.approx(float(expected.pvalue), abs=0.012)
    assert comparison.bootstrap_p_value == pytest.approx(float(expected.pvalue), abs=0.012)
    assert comparison.difference == pytest.approx(float((scores_a - scores_b).mean()))
    bounds = expected.confidence_interval(0.9)
    half = float(bounds.high - bounds.low) / 2
    assert comparison.low == pytest.approx(float(bounds.low), abs=0.05 * half)
    assert comparison.high == pytest.approx(float(bounds.high), abs=0.05 * half)
    assert (comparison.confidence, comparison.num_queries, comparison.num_resamples) == (0.9, 600, 20_000)


def test_parts_are_those_of_the_single_functions() -> None:
    scores_a, scores_b = draw(50), draw(50, seed=1)
    comparison = compare_paired(scores_a, scores_b, num_resamples=500, seed=4)
    interval = bootstrap_mean(scores_a - scores_b, num_resamples=500, seed=4)
    assert (comparison.low, comparison.high) == pytest.approx((interval.low, interval.high))
    assert comparison.p_value == sign_flip_p_value(scores_a - scores_b, 500, seed=4)


@pytest.mark.parametrize("count", [6, 60])
def test_swapping_methods_turns_the_comparison_around(count: int) -> None:
    scores_a, scores_b = draw(count), draw(count, seed=1)
    forward, backward = compare_paired(scores_a, scores_b), compare_paired(scores_b, scores_a)
    assert backward.difference == -forward.difference
    assert (backward.low, backward.high) == pytest.approx((-forward.high, -forward.low), abs=1e-12)
    assert (backward.p_value, backward.bootstrap_p_value) == (forward.p_value, forward.bootstrap_p_value)


def test_what_queries_have_in_common_does_not_matter() -> None:
    scores_a, scores_b, difficulty = draw(60), draw(60, seed=1), 10 * draw(60, seed=2)
    plain, harder = compare_paired(scores_a, scores_b), compare_paired(scores_a + difficulty, scores_b + difficulty)
    assert (harder.p_value, harder.bootstrap_p_value) == (plain.p_value, plain.bootstrap_p_value)
    assert (harder.low, harder.high) == pytest.approx((plain.low, plain.high), abs=1e-9)


def test_p_values_of_equal_methods_are_uniform() -> None:
    pairs = draw(400, 2, 80)
    comparisons = [compare_paired(pair[0], pair[1], num_resamples=499, seed=seed) for seed, pair in enumerate(pairs)]
    # the distance of 400 uniform values exceeds 1.63 / 20 once in a hundred times
    for name in ("p_value", "bootstrap_p_value"):
        assert scipy.stats.kstest([getattr(one, name) for one in comparisons], "uniform").statistic < 1.63 / 20
    covered = sum(one.low <= 0 <= one.high for one in comparisons)
    # binomial of 400 at 0.95 has a deviation of 4.4; the percentile method is a little narrow
    assert 362 <= covered <= 394


def test_a_planted_difference_is_found_by_pairing() -> None:
    difficulty = draw(100)
    comparison = compare_paired(difficulty + 0.02 + 0.05 * draw(100, seed=1), difficulty + 0.05 * draw(100, seed=2))
    assert comparison.p_value == comparison.bootstrap_p_value == 1 / 10_001
    assert 0 < comparison.low < 0.02 < comparison.high
    unpaired = scipy.stats.ttest_ind((difficulty + 0.02).numpy(), difficulty.numpy())
    assert unpaired.pvalue > 0.3


def test_depends_on_the_seed_alone() -> None:
    scores_a, scores_b = draw(50), draw(50, seed=1)
    first = compare_paired(scores_a, scores_b, seed=3)
    torch.manual_seed(2)
    assert compare_paired(scores_a, scores_b, seed=3) == first
    assert compare_paired(scores_a, scores_b, seed=4) != first


def test_equal_scores_are_no_evidence() -> None:
    scores = draw(30)
    comparison = compare_paired(scores, scores)
    assert (comparison.difference, comparison.low, comparison.high) == (0, 0, 0)
    assert comparison.p_value == comparison.bootstrap_p_value == 1


def test_a_constant_difference_has_no_width() -> None:
    comparison = compare_paired(torch.full((4,), 0.75), torch.full((4,), 0.5))
    assert (comparison.difference, comparison.low, comparison.high) == (0.25, 0.25, 0.25)
    assert comparison.p_value == 2 / 16


def test_seeds_are_averaged_and_folds_pooled() -> None:
    folds_a, folds_b = [draw(3, 20), draw(2, 11, seed=1)], [draw(1, 20, seed=2), draw(4, 11, seed=3)]
    pooled_a = torch.cat([folds_a[0].mean(dim=0), folds_a[1].mean(dim=0)])
    pooled_b = torch.cat([folds_b[0].mean(dim=0), folds_b[1].mean(dim=0)])
    assert compare_paired_folds(folds_a, folds_b, 0.9, 800, seed=1) == compare_paired(pooled_a, pooled_b, 0.9, 800, 1)


def test_repeated_seeds_are_no_new_evidence() -> None:
    scores_a, scores_b = draw(1, 40), draw(1, 40, seed=1)
    once = compare_paired_folds([scores_a], [scores_b])
    often = compare_paired_folds([scores_a.expand(8, 40)], [scores_b.expand(8, 40)])
    assert replace(often, difference=0.0, low=0.0, high=0.0) == replace(once, difference=0.0, low=0.0, high=0.0)
    assert (often.difference, often.low, often.high) == pytest.approx((once.difference, once.low, once.high))


def test_ten_thousand_queries_need_little_memory() -> None:
    scores_a, scores_b = draw(10_000), draw(10_000, seed=1)
    tracemalloc.start()
    compare_paired(scores_a, scores_b, num_resamples=2000)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # all resamples at once take 160 MB
    assert peak_bytes < 40e6
