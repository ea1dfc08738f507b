"""Diagonal Gaussians against torch.distributions, then signs, gradients and precision."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from lightning_modules.losses import gaussian_log_density, kl_from_standard_normal
from tests.draws import draw_double as draw

# the code computes in single precision, the oracles in double
RTOL, ATOL = 1e-5, 1e-5


def slopes(function: Callable[[Tensor], Tensor], point: Tensor, step: float = 1e-2) -> Tensor:
    """Tabulate central differences, one coordinate at a time."""
    units = step * torch.eye(point.numel(), dtype=point.dtype).reshape(-1, *point.shape)
    rises = [float(function(point + unit) - function(point - unit)) for unit in units]
    return torch.tensor(rises, dtype=point.dtype).reshape(point.shape) / (2 * step)


def gradient(function: Callable[[Tensor], Tensor], point: Tensor) -> Tensor:
    leaf = point.clone().requires_grad_()
    return torch.autograd.grad(function(leaf), leaf)[0]


def test_standard_normal_at_its_mean_is_the_hand_worked_number() -> None:
    zero = torch.zeros(1, 1)
    assert float(gaussian_log_density(zero, zero, zero)) == pytest.approx(-0.9189385, abs=1e-6)
    zeros = torch.zeros(2, 3, 4)
    assert gaussian_log_density(zeros, zeros, zeros).tolist() == pytest.approx([-6 * math.log(2 * math.pi)] * 2)
    # a standard deviation away, of a deviation of two: -0.9189385 - log 2 - 1/2
    log_variance = torch.full((1, 1), math.log(4.0))
    assert float(gaussian_log_density(zero + 3, zero + 1, log_variance)) == pytest.approx(-2.1120857, abs=1e-6)


@pytest.mark.parametrize("shape", [(5, 1), (5, 3), (1, 3), (5, 3, 4), (5, 2, 3, 4), (5, 0)], ids=str)
def test_log_density_is_that_of_independent_normals(shape: tuple[int, ...]) -> None:
    value, mean, log_variance = draw(*shape), draw(*shape, seed=1), draw(*shape, seed=2)
    normal = Independent(Normal(mean, (0.5 * log_variance).exp()), len(shape) - 1)
    density = gaussian_log_density(value, mean, log_variance)
    torch.testing.assert_close(density, normal.log_prob(value).float(), rtol=RTOL, atol=ATOL)


def test_log_density_of_numbers_is_one_each() -> None:
    value, mean, log_variance = draw(5), draw(5, seed=1), draw(5, seed=2)
    expected = Normal(mean, (0.5 * log_variance).exp()).log_prob(value).float()
    torch.testing.assert_close(gaussian_log_density(value, mean, log_variance), expected, rtol=RTOL, atol=ATOL)


def test_an_empty_batch_has_no_densities() -> None:
    empty = torch.zeros(0, 3)
    assert gaussian_log_density(empty, empty, empty).shape == (0,)
    assert kl_from_standard_normal(empty, empty).shape == (0, 3)


def test_the_best_variance_is_the_squared_error() -> None:
    # without the log-variance in the density there is no maximum
    errors, candidates = torch.tensor([[0.3], [1.0], [4.0]]), torch.linspace(-4, 4, 801)
    densities = torch.stack(
        [gaussian_log_density(errors, torch.zeros(3, 1), candidate.expand(3, 1)) for candidate in candidates]
    )
    best = candidates[densities.argmax(dim=0)]
    torch.testing.assert_close(best, 2 * errors[:, 0].log(), rtol=0, atol=0.005 + 1e-6)


def test_divergence_is_torchs_in_each_dimension() -> None:
    mean, log_variance = 3 * draw(200, 4), 2 * draw(200, 4, seed=1)
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(torch.zeros(()).double(), 1.0))
    torch.testing.assert_close(kl_from_standard_normal(mean, log_variance), expected.float(), rtol=RTOL, atol=ATOL)


def test_divergence_of_the_standard_normal_is_zero() -> None:
    assert torch.equal(kl_from_standard_normal(torch.zeros(3, 2), torch.zeros(3, 2)), torch.zeros(3, 2))


@pytest.mark.parametrize("scale", [1e-8, 1e-4, 0.1, 6.0])
def test_divergence_is_never_negative(scale: float) -> None:
    # near log-variance 0 both sides of exp(l) - 1 - l all but cancel
    log_variance = scale * torch.linspace(-1, 1, 2001)[:, None]
    assert float(kl_from_standard_normal(torch.zeros(2001, 1), log_variance).min()) >= 0


@pytest.mark.parametrize(
    ("function", "num_arguments", "argument"),
    [
        *[(gaussian_log_density, 3, argument) for argument in range(3)],
        *[(kl_from_standard_normal, 2, argument) for argument in range(2)],
    ],
)
def test_gradients_are_slopes(function: Callable[..., Tensor], num_arguments: int, argument: int) -> None:
    arguments = [draw(2, 3, seed=seed) for seed in range(num_arguments)]

    def summed(varied: Tensor) -> Tensor:
        return function(*arguments[:argument], varied, *arguments[argument + 1 :]).sum()

    point = arguments[argument]
    torch.testing.assert_close(gradient(summed, point), slopes(summed, point), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_results_are_in_single_precision(dtype: torch.dtype) -> None:
    value, mean, log_variance = (draw(4, 300, seed=seed).to(dtype) for seed in range(3))
    density, divergence = gaussian_log_density(value, mean, log_variance), kl_from_standard_normal(mean, log_variance)
    assert density.dtype == divergence.dtype == torch.float32
    # of the rounded arguments, not a rounded result
    exact = gaussian_log_density(value.double(), mean.double(), log_variance.double())
    torch.testing.assert_close(density, exact, rtol=RTOL, atol=ATOL)
    exact = kl_from_standard_normal(mean.double(), log_variance.double())
    torch.testing.assert_close(divergence, exact, rtol=RTOL, atol=ATOL)
