"""The contrastive loss against loops over its formula, and what gathering leaves unchanged."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from lightning_modules.losses import contrastive_loss, partner_accuracy
from tests.gradients import gradient_of


def unit(*shape: int, seed: int = 0) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=1)


def oracle(first: Tensor, second: Tensor, temperature: float, extra: Tensor | None = None) -> float:
    num_pairs, samples = len(first), [*first, *second]
    total = 0.0
    for i, sample in enumerate(samples):
        partner = (i + num_pairs) % (2 * num_pairs)
        negatives = [samples[j] for j in range(2 * num_pairs) if j not in (i, partner)]
        assert len(negatives) == 2 * num_pairs - 2
        negatives += [] if extra is None else list(extra)
        numerator = math.exp(float(sample @ samples[partner]) / temperature)
        total -= math.log(numerator / (numerator + sum(math.exp(float(sample @ n) / temperature) for n in negatives)))
    return total / len(samples)


@pytest.mark.parametrize("num_pairs", [1, 2, 5])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_it_is_equation_1_for_both_of_each_pair(num_pairs: int, temperature: float) -> None:
    first, second = unit(num_pairs, 4), unit(num_pairs, 4, seed=1)
    found = contrastive_loss(first, second, temperature)
    assert float(found) == pytest.approx(oracle(first, second, temperature), rel=1e-4, abs=1e-6)
    extra = unit(3, 4, seed=2)
    found = contrastive_loss(first, second, temperature, extra)
    assert float(found) == pytest.approx(oracle(first, second, temperature, extra), rel=1e-4)


def test_a_pair_alone_costs_nothing_and_opposites_cost_most() -> None:
    assert float(contrastive_loss(unit(1, 4), unit(1, 4, seed=1))) == 0
    first = unit(6, 4)
    assert float(contrastive_loss(first, first)) < float(contrastive_loss(first, first.roll(1, dims=0)))


def test_by_hand() -> None:
    # e = (1, 0), (0, 1), partners the same: each has a cosine of 1 to its partner, 0 to two negatives
    axes = torch.eye(2)
    assert float(contrastive_loss(axes, axes, 0.5)) == pytest.approx(-math.log(math.e**2 / (math.e**2 + 2)))


def test_order_and_roles_of_pairs_are_irrelevant() -> None:
    first, second = unit(5, 4), unit(5, 4, seed=1)
    expected = contrastive_loss(first, second)
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(contrastive_loss(first[order], second[order]), expected)
    torch.testing.assert_close(contrastive_loss(second, first), expected)


def test_gradients_are_finite_and_reach_all() -> None:
    raw = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    first, second = normalize(raw, dim=1).chunk(2)
    contrastive_loss(first, second, 0.01, unit(2, 4, seed=3)).backward()
    assert bool((gradient_of(raw).abs().sum(dim=1) > 0).all())


def test_bfloat16_is_compared_in_float32() -> None:
    first = unit(4, 8).bfloat16()
    assert contrastive_loss(first, first).dtype == torch.float32


def test_partners_are_counted() -> None:
    axes = torch.eye(4)
    assert float(partner_accuracy(axes, axes)) == 1
    assert float(partner_accuracy(axes, axes[[1, 0, 2, 3]])) == 0.5


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"temperature must be above 0; got 0\.0"):
        contrastive_loss(unit(2, 4), unit(2, 4), 0.0)
