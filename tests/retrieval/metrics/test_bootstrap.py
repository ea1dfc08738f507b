"""Bootstrap intervals against the normal approximation."""

import pytest
import torch

from retrieval.metrics import bootstrap_mean
from tests.draws import draw_double as draw


@pytest.mark.parametrize(("confidence", "quantile"), [(0.95, 1.960), (0.8, 1.282)])
def test_interval_is_near_the_normal_one(confidence: float, quantile: float) -> None:
    values = draw(800) * 2 + 5
    interval = bootstrap_mean(values, confidence, num_resamples=4000)
    half = quantile * float(values.std()) / 800**0.5
    assert interval.mean == pytest.approx(float(values.mean()), abs=1e-12)
    # quantiles of 4000 resamples vary by a few percent
    assert interval.low == pytest.approx(interval.mean - half, abs=0.08 * half)
    assert interval.high == pytest.approx(interval.mean + half, abs=0.08 * half)
    assert interval.confidence == confidence


def test_intervals_cover_the_true_mean_about_as_often_as_they_say() -> None:
    intervals = [bootstrap_mean(row, 0.9, num_resamples=300) for row in draw(200, 60)]
    covered = sum(interval.low <= 0 <= interval.high for interval in intervals)
    # binomial of 200 at 0.9 has a deviation of 4.2; the percentile method is a little narrow
    assert 165 <= covered <= 195


def test_interval_moves_and_scales_with_the_values() -> None:
    values = draw(50)
    plain, moved = bootstrap_mean(values), bootstrap_mean(values * 3 + 7)
    assert (moved.low, moved.mean, moved.high) == pytest.approx(
        (plain.low * 3 + 7, plain.mean * 3 + 7, plain.high * 3 + 7), abs=1e-9
    )


def test_interval_depends_on_the_seed_alone() -> None:
    values = draw(50)
    torch.manual_seed(1)
    first = bootstrap_mean(values, seed=3)
    torch.manual_seed(2)
    assert bootstrap_mean(values, seed=3) == first
    other = bootstrap_mean(values, seed=4)
    assert other.mean == first.mean
    assert (other.low, other.high) != (first.low, first.high)


@pytest.mark.parametrize("count", [1, 20])
def test_constant_values_have_no_width(count: int) -> None:
    interval = bootstrap_mean(torch.full((count,), 0.25))
    assert (interval.low, interval.mean, interval.high) == (0.25, 0.25, 0.25)
