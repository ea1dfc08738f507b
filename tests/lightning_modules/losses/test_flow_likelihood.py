"""Eqs. (8) to (11) against loops that follow the text."""

import math

import pytest
import torch
from torch import Tensor

from lightning_modules.losses import bit_cross_entropy, flow_loss, negative_log_likelihood
from lightning_modules.networks import BimodalGaussian


def draw(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def density(value: float, mean: float) -> float:
    return math.exp(-0.5 * (value - mean) ** 2) / math.sqrt(2 * math.pi)


def cross_entropy(u: float, v: float, normalized: bool) -> float:
    """Compute H(u, v), eq. (10), term by term."""
    first, second = [[density(value, mean) for mean in (-2, 2)] for value in (u, v)]
    if normalized:
        first, second = [[part / sum(parts) for part in parts] for parts in (first, second)]
    return -sum(p * math.log(q) for p, q in zip(first, second, strict=True))


@pytest.mark.parametrize("normalized", [False, True])
def test_bit_cross_entropy_is_eq_9(normalized: bool) -> None:
    z, other = draw(6, 4), draw(6, 4, seed=1)
    base = BimodalGaussian(4).double()
    found = bit_cross_entropy(base.mode_log_densities(z), base.mode_log_densities(other), normalized=normalized)
    for row in range(6):
        expected = 0.0
        for u, v in zip(z[row].tolist(), other[row].tolist(), strict=True):
            expected += cross_entropy(u, v, normalized) + cross_entropy(v, u, normalized)
        assert float(found[row]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("normalized", [False, True])
def test_bit_cross_entropy_is_symmetric(normalized: bool) -> None:
    base = BimodalGaussian(3).double()
    first, second = base.mode_log_densities(draw(5, 3)), base.mode_log_densities(draw(5, 3, seed=1))
    torch.testing.assert_close(
        bit_cross_entropy(first, second, normalized=normalized),
        bit_cross_entropy(second, first, normalized=normalized),
    )


def test_normalized_disagreement_costs_more_than_agreement_wherever_it_is() -> None:
    base = BimodalGaussian(1).double()

    def loss(u: float, v: float, normalized: bool) -> float:
        first, second = (base.mode_log_densities(torch.tensor([[value]]).double()) for value in (u, v))
        return float(bit_cross_entropy(first, second, normalized=normalized))

    for size in (0.5, 2.0, 8.0):
        assert loss(-size, size, True) > loss(size, size, True)
    # as printed, densities vanish far out, and with them what disagreement costs
    assert loss(-8, 8, False) < loss(-2, 2, False) / 100


def test_bit_cross_entropy_stays_finite_far_out() -> None:
    base = BimodalGaussian(2)
    far = torch.tensor([[1e3, -1e3]])
    for normalized in (False, True):
        value = bit_cross_entropy(base.mode_log_densities(far), base.mode_log_densities(-far), normalized=normalized)
        assert bool(torch.isfinite(value).all())


def test_likelihood_of_hand_worked_numbers() -> None:
    # z = 2 y for two dimensions: log |det| = 2 ln 2
    base = BimodalGaussian(2).double()
    z = torch.tensor([[2.0, -2.0]]).double()
    found = negative_log_likelihood(base.log_prob(z), torch.tensor([2 * math.log(2)]).double())
    mixture = 0.5 * (density(2, 2) + density(2, -2))
    assert float(found) == pytest.approx(-(2 * math.log(mixture) + 2 * math.log(2)))


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_total_is_eq_11(weight: float) -> None:
    likelihood, bits = draw(5), draw(5, seed=1)
    expected = sum(a + weight * b for a, b in zip(likelihood.tolist(), bits.tolist(), strict=True)) / 5
    assert float(flow_loss(likelihood, bits, weight)) == pytest.approx(expected)
