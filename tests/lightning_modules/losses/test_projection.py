"""Losses of projections against loops, their least values, and what they are configured of."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_modules.losses import (
    ContrastProjectionLoss,
    ProjectionLoss,
    TripletProjectionLoss,
    bit_agreement_loss,
    covariance_loss,
    distance_contrast_loss,
    probing_loss,
    variance_loss,
)
from tests.draws import draw_double as draw
from tests.gradients import gradient_of


def softmax_loss(scores: list[float], own: int) -> float:
    return math.log(sum(math.exp(score - scores[own]) for score in scores))


def test_distance_contrast_compares_squared_distances_both_ways() -> None:
    z, other = draw(6, 3), draw(6, 3, seed=1)
    expected = 0.0
    for first, second in ((z, other), (other, z)):
        for own in range(6):
            scores = [-float((first[own] - second[j]).square().sum()) / 0.7 for j in range(6)]
            expected += softmax_loss(scores, own) / 12
    assert float(distance_contrast_loss(z, other, 0.7)) == pytest.approx(expected, rel=1e-6)


def test_probing_loss_scores_items_by_the_querys_costs() -> None:
    items, queries = draw(5, 4), draw(5, 4, seed=1)
    expected = 0.0
    for own in range(5):
        scores = [
            1.5 * sum(float(queries[own, k]) * math.tanh(2 * float(items[j, k])) for k in range(4)) for j in range(5)
        ]
        expected += softmax_loss(scores, own) / 5
    assert float(probing_loss(items, queries, 1.5)) == pytest.approx(expected)


def test_probing_score_orders_items_as_probing_costs_do() -> None:
    items, query = draw(40, 6).sign(), draw(6, seed=1)
    cost = torch.stack([(query.abs() * ((query > 0) != (item > 0))).sum() for item in items])
    torch.testing.assert_close(cost, (query.abs().sum() - items @ query) / 2)


def test_agreement_of_hand_worked_numbers() -> None:
    z, other = torch.tensor([[10.0, 10.0]]), torch.tensor([[10.0, -10.0]])
    assert float(bit_agreement_loss(z, other)) == pytest.approx(1)
    assert float(bit_agreement_loss(z, z)) == pytest.approx(0)
    assert float(bit_agreement_loss(z, -z)) == pytest.approx(2)
    half = torch.tensor([[0.3, 0.1]])
    expected = 1 - 0.5 * (math.tanh(0.6) ** 2 + math.tanh(0.2) ** 2)
    assert float(bit_agreement_loss(half, half)) == pytest.approx(expected)


def test_variance_loss_asks_for_deviation_no_more() -> None:
    vectors = draw(400, 3) * torch.tensor([0.2, 1.0, 5.0])
    deviations = vectors.std(dim=0).tolist()
    expected = sum(max(0.0, 0.9 - deviation) for deviation in deviations) / 3
    assert float(variance_loss(vectors, 0.9)) == pytest.approx(expected, abs=1e-3)


def test_covariance_loss_sums_squares_off_the_diagonal() -> None:
    vectors = draw(50, 4) @ draw(4, 4, seed=1)
    means = vectors.mean(dim=0)
    expected = 0.0
    for i in range(4):
        for j in range(4):
            if i != j:
                covariance = float(((vectors[:, i] - means[i]) * (vectors[:, j] - means[j])).sum()) / 49
                expected += covariance**2 / 4
    assert float(covariance_loss(vectors)) == pytest.approx(expected)


@pytest.mark.parametrize("loss", [distance_contrast_loss, probing_loss, bit_agreement_loss])
def test_pairs_that_agree_cost_less(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    z = draw(64, 8)
    near, far = loss(z, z + 0.1 * draw(64, 8, seed=1)), loss(z, draw(64, 8, seed=2))
    assert float(near) < float(far)


@pytest.mark.parametrize("loss", [distance_contrast_loss, probing_loss])
def test_contrast_is_worst_where_all_codes_are_one(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    collapsed = torch.ones(32, 6).double()
    assert float(loss(collapsed, collapsed)) == pytest.approx(math.log(32))


def test_a_weighted_sum_of_its_terms() -> None:
    z, other = draw(16, 4), draw(16, 4, seed=1)
    loss = ContrastProjectionLoss(0.5, 2.0, 3.0, 4.0, 5.0, slope=1.5).double()
    with torch.no_grad():
        loss.log_scale.fill_(math.log(2.0))
    both = torch.cat([z, other])
    expected = (
        0.5 * distance_contrast_loss(z, other, 0.5)
        + 2.0 * probing_loss(z, other, 2.0, 1.5)
        + 3.0 * bit_agreement_loss(z, other, 1.5)
        + 4.0 * variance_loss(both)
        + 5.0 * covariance_loss(torch.tanh(1.5 * both))
    )
    torch.testing.assert_close(loss(z, other), expected)


@pytest.mark.parametrize("loss", [ContrastProjectionLoss(), ContrastProjectionLoss(1.0, 0.0), TripletProjectionLoss()])
def test_gradients_reach_pairs_and_parameters(loss: ProjectionLoss) -> None:
    z, other = draw(16, 4).float().requires_grad_(), draw(16, 4, seed=1).float().requires_grad_()
    loss(z, other).backward()
    for tensor in (z, other, *loss.parameters()):
        assert float(gradient_of(tensor).abs().max()) > 0


@pytest.mark.parametrize("options", [{"probing_weight": 0.0}, {"covariance_weight": -1.0}, {"slope": 0.0}])
def test_weights_that_make_no_loss_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Expected a positive slope and weights"):
        ContrastProjectionLoss(**options)
