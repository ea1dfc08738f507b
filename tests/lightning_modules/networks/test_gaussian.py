"""Sampling that gradients pass through, and log-variances within their bound."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_modules.networks import Gaussian, GaussianHead
from lightning_modules.networks.gaussian import bound_log_variance
from tests.draws import draw_double as draw

SEED = 7


def seeded(seed: int = SEED) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slopes(function: Callable[[Tensor], Tensor], point: Tensor, step: float = 1e-6) -> Tensor:
    """Tabulate central differences, one coordinate at a time."""
    units = step * torch.eye(point.numel(), dtype=point.dtype).reshape(-1, *point.shape)
    rises = [float(function(point + unit) - function(point - unit)) for unit in units]
    return torch.tensor(rises, dtype=point.dtype).reshape(point.shape) / (2 * step)


@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4), (1, 1)], ids=str)
def test_a_sample_is_mean_plus_deviation_times_noise(shape: tuple[int, ...]) -> None:
    mean, log_variance = draw(*shape), draw(*shape, seed=1)
    noise = torch.randn(shape, generator=seeded(), dtype=torch.float64)
    expected = mean + log_variance.exp().sqrt() * noise
    torch.testing.assert_close(Gaussian(mean, log_variance).sample(seeded()), expected, rtol=1e-12, atol=1e-12)


def test_a_generator_makes_samples_repeat() -> None:
    gaussian = Gaussian(draw(5, 3), draw(5, 3, seed=1))
    assert torch.equal(gaussian.sample(seeded()), gaussian.sample(seeded()))
    assert not torch.equal(gaussian.sample(seeded()), gaussian.sample(seeded(8)))
    assert not torch.equal(gaussian.sample(), gaussian.sample())


@pytest.mark.parametrize("argument", ["mean", "log_variance"])
def test_gradient_of_a_sample_is_its_slope_at_the_same_noise(argument: str) -> None:
    point = {"mean": draw(2, 3), "log_variance": draw(2, 3, seed=1)}

    def loss(varied: Tensor) -> Tensor:
        # one that is not linear, of samples drawn alike: eq. (2.68)
        return Gaussian(**(point | {argument: varied})).sample(seeded()).sin().square().sum()

    leaf = point[argument].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    torch.testing.assert_close(gradient, slopes(loss, point[argument]), rtol=1e-6, atol=1e-8)
    assert float(gradient.abs().min()) > 0


def test_mean_gradient_of_the_square_is_twice_the_mean() -> None:
    # E z^2 = mu^2 + sigma^2; its derivatives by mu and log sigma^2 are 2 mu and sigma^2
    num_samples = 200_000
    mean, log_variance = (torch.tensor([values], dtype=torch.float64) for values in ([0.5, -2.0], [-1.0, 0.4]))
    leaves = [mean.requires_grad_(), log_variance.requires_grad_()]
    samples = Gaussian(mean.expand(num_samples, 2), log_variance.expand(num_samples, 2)).sample(seeded())
    by_mean, by_log_variance = torch.autograd.grad(samples.square().mean(dim=0).sum(), leaves)
    # standard errors are 2 sigma / sqrt(num_samples) = 0.005 and below 0.012
    torch.testing.assert_close(by_mean, 2 * mean.detach(), rtol=0, atol=0.02)
    torch.testing.assert_close(by_log_variance, log_variance.detach().exp(), rtol=0, atol=0.04)


def test_samples_have_mean_and_variance() -> None:
    mean, log_variance = torch.tensor([[1.0, -3.0]]), torch.tensor([[0.0, 2.0]])
    samples = Gaussian(mean.expand(100_000, 2), log_variance.expand(100_000, 2)).sample(seeded())
    torch.testing.assert_close(samples.mean(dim=0), mean[0], rtol=0, atol=0.04)
    torch.testing.assert_close(samples.var(dim=0), log_variance[0].exp(), rtol=0.02, atol=0)


@pytest.mark.parametrize("limit", [1.0, 6.0])
def test_bound_is_the_identity_near_zero(limit: float) -> None:
    raw = torch.linspace(-0.01, 0.01, 21, dtype=torch.float64)
    # limit tanh(raw / limit) = raw - raw^3 / 3 limit^2 + ...
    torch.testing.assert_close(bound_log_variance(raw, limit), raw, rtol=0, atol=4e-7)
    assert float(bound_log_variance(torch.zeros(1), limit)) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_bound_holds_however_large_the_argument(dtype: torch.dtype) -> None:
    raw = torch.tensor([-torch.inf, -1e6, -50, -6, 6, 50, 1e6, torch.inf], dtype=dtype)
    bounded = bound_log_variance(raw, 6.0)
    # rounding meets the limit itself
    assert float(bounded.abs().max()) <= 6
    torch.testing.assert_close(bounded, -bounded.flip(0), rtol=0, atol=0)


def test_bound_is_monotone() -> None:
    rises = bound_log_variance(torch.linspace(-60, 60, 2001, dtype=torch.float64), 6.0).diff()
    assert float(rises.min()) > 0


def test_head_is_two_dense_layers() -> None:
    head, hidden = GaussianHead(4, 3, log_variance_limit=2.0).double(), draw(5, 4)
    gaussian = head(hidden)
    torch.testing.assert_close(gaussian.mean, (hidden @ head.mean.weight.T + head.mean.bias).float())
    raw = hidden @ head.log_variance.weight.T + head.log_variance.bias
    torch.testing.assert_close(gaussian.log_variance, (2 * (raw / 2).tanh()).float())
    assert not torch.equal(head.mean.weight, head.log_variance.weight)


def test_head_bounds_and_is_in_full_precision_under_autocast() -> None:
    head = GaussianHead(4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gaussian = head(1e6 * draw(5, 4).float())
    assert gaussian.mean.dtype == gaussian.log_variance.dtype == gaussian.sample().dtype == torch.float32
    assert float(gaussian.log_variance.detach().abs().max()) <= 6
    assert bool(torch.isfinite(gaussian.sample()).all())


def test_gradients_reach_every_parameter_of_the_head() -> None:
    head = GaussianHead(4, 3)
    head(draw(5, 4).float()).sample(seeded()).square().sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().min()) > 0, name
