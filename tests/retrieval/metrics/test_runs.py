"""Means over folds and seeds against statsmodels, hand-worked numbers and coverage."""

import pytest
import torch
from statsmodels.stats.weightstats import DescrStatsW

from retrieval.metrics import RunUnit, mean_over_runs
from tests.draws import draw_double as draw


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize(("unit", "averaged_axis"), [("fold", 1), ("seed", 0)])
def test_interval_is_that_of_the_unit_means(confidence: float, unit: RunUnit, averaged_axis: int) -> None:
    scores = draw(5, 3)
    result = mean_over_runs(scores, confidence, unit)
    oracle = DescrStatsW(scores.mean(dim=averaged_axis).numpy())
    assert (result.low, result.high) == pytest.approx(oracle.tconfint_mean(alpha=1 - confidence))
    assert result.mean == pytest.approx(float(scores.mean()))
    assert result.std == pytest.approx(float(scores.flatten().std()))
    assert (result.confidence, result.unit, result.num_folds, result.num_seeds) == (confidence, unit, 5, 3)


def test_hand_worked_numbers() -> None:
    # fold means 0.4, 0.5, 0.6: deviation 0.1, and t of two degrees of freedom is 4.3027 at 97.5 %
    result = mean_over_runs(torch.tensor([[0.3, 0.5], [0.5, 0.5], [0.7, 0.5]], dtype=torch.float64))
    assert result.mean == pytest.approx(0.5)
    assert result.high - result.mean == pytest.approx(4.30265 * 0.1 / 3**0.5, rel=1e-5)
    assert result.mean - result.low == pytest.approx(result.high - result.mean)
    assert result.std == pytest.approx((0.08 / 5) ** 0.5)


def test_repeated_seeds_do_not_narrow_the_interval() -> None:
    folds = draw(5, 1)
    once, often = mean_over_runs(folds), mean_over_runs(folds.expand(5, 20))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_several_seeds_of_one_split() -> None:
    seeds = draw(6)
    result = mean_over_runs(seeds[None], unit="seed")
    assert (result.low, result.high) == pytest.approx(DescrStatsW(seeds.numpy()).tconfint_mean())
    assert result == mean_over_runs(seeds.flip(0)[None], unit="seed")


def test_interval_over_folds_covers_where_one_over_runs_would_not() -> None:
    # folds differ much more than seeds do
    experiments = draw(400, 5, 1) + 0.2 * draw(400, 5, 4, seed=1)
    results = [mean_over_runs(scores, 0.9) for scores in experiments]
    covered = sum(result.low <= 0 <= result.high for result in results)
    # binomial of 400 at 0.9 has a deviation of 6
    assert 342 <= covered <= 378
    over_runs = [mean_over_runs(scores.reshape(20, 1), 0.9) for scores in experiments]
    assert sum(result.low <= 0 <= result.high for result in over_runs) < 280


def test_equal_scores_have_no_width() -> None:
    result = mean_over_runs(torch.full((5, 2), 0.25))
    assert (result.low, result.mean, result.high, result.std) == (0.25, 0.25, 0.25, 0)
