"""The triplet loss against loops over its formula."""

import pytest
import torch
from torch import Tensor

from lightning_modules.losses import mean_negative_triplet_loss
from tests.draws import draw
from tests.gradients import gradient_of


def oracle(first: Tensor, second: Tensor) -> float:
    num_pairs, samples = len(first), [*first, *second]
    total = 0.0
    for i, sample in enumerate(samples):
        partner = (i + num_pairs) % (2 * num_pairs)
        negatives = [samples[j] for j in range(2 * num_pairs) if j not in (i, partner)]
        mean = torch.stack(negatives).mean(dim=0)
        total += max(0.0, float((sample - samples[partner]).norm() - (sample - mean).norm()))
    return total / len(samples)


@pytest.mark.parametrize("num_pairs", [2, 3, 7])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_equation_2_with_the_mean_inside_the_norm(num_pairs: int, seed: int) -> None:
    first, second = draw(num_pairs, 4, seed=seed), draw(num_pairs, 4, seed=seed + 10)
    assert oracle(first, second) > 0
    assert float(mean_negative_triplet_loss(first, second)) == pytest.approx(oracle(first, second), rel=1e-5)


def test_by_hand() -> None:
    # y = 0, y+ = 3; the others, 1 and 1, have a mean of 1: 3 - 1 and 3 - 2 for this pair; 0 - 0.5 twice for the other
    first, second = torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [1.0]])
    assert float(mean_negative_triplet_loss(first, second)) == pytest.approx((2 + 1 + 0 + 0) / 4)


def test_partners_that_agree_cost_nothing() -> None:
    first = draw(5, 4)
    assert float(mean_negative_triplet_loss(first, first)) == 0


def test_a_pair_alone_has_no_negatives() -> None:
    first = draw(1, 4).requires_grad_()
    loss = mean_negative_triplet_loss(first, draw(1, 4, seed=1))
    assert float(loss.detach()) == 0
    loss.backward()
    assert not bool(gradient_of(first).any())


def test_gradients_at_distance_zero_are_finite() -> None:
    first = draw(4, 3).requires_grad_()
    second = torch.cat([first.detach()[:2], draw(2, 3, seed=1) * 9])
    mean_negative_triplet_loss(first, second).backward()
    assert float(gradient_of(first).abs().max()) > 0
    collapsed = torch.zeros(4, 3, requires_grad=True)
    mean_negative_triplet_loss(collapsed, collapsed).backward()
    assert not bool(gradient_of(collapsed).any())
