"""The base distribution against torch's own mixture, and the mass it holds."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal

from lightning_modules.networks import BimodalGaussian


def draw(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("mean", "deviation"), [(2.0, 1.0), (0.75, 0.25)])
def test_log_prob_is_that_of_torchs_mixture(mean: float, deviation: float) -> None:
    z = draw(50, 5)
    parts = Normal(torch.tensor([-mean, mean]).double(), torch.tensor(deviation).double())
    oracle = MixtureSameFamily(Categorical(torch.tensor([0.5, 0.5]).double()), parts)
    found = BimodalGaussian(5, mean, deviation).double().log_prob(z)
    torch.testing.assert_close(found, oracle.log_prob(z).sum(dim=1), rtol=1e-12, atol=1e-12)


def test_mode_log_densities_are_those_of_each_gaussian() -> None:
    z = draw(20, 3)
    found = BimodalGaussian(3).double().mode_log_densities(z)
    for mode, mean in enumerate((-2.0, 2.0)):
        torch.testing.assert_close(found[..., mode], Normal(mean, 1.0).log_prob(z), rtol=1e-12, atol=1e-12)


def test_mass_is_one() -> None:
    axis = torch.linspace(-9, 9, 400, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    cell = float(axis[1] - axis[0]) ** 2
    mass = float(BimodalGaussian(2).double().log_prob(grid).exp().sum()) * cell
    assert mass == pytest.approx(1, abs=1e-9)


def test_every_mode_is_equally_likely() -> None:
    base = BimodalGaussian(3)
    modes = torch.cartesian_prod(*[base.modes] * 3)
    log_prob = base.log_prob(modes)
    torch.testing.assert_close(log_prob, log_prob[:1].expand(8))
    assert float(base.log_prob(torch.zeros(1, 3))) < float(log_prob[0])


def test_samples_fill_the_modes_evenly() -> None:
    torch.manual_seed(0)
    samples = BimodalGaussian(2).sample(20_000)
    assert samples.shape == (20_000, 2)
    counts = ((samples > 0).long() @ torch.tensor([1, 2])).bincount(minlength=4)
    assert int((counts - 5000).abs().max()) < 5 * math.sqrt(5000)
    torch.testing.assert_close(samples.abs().mean(dim=0), torch.full((2,), 2.017), rtol=0, atol=0.03)
    torch.testing.assert_close(samples.var(dim=0), torch.full((2,), 5.0), rtol=0, atol=0.15)


@pytest.mark.parametrize("options", [(0, 2.0, 1.0), (3, 0.0, 1.0), (3, 2.0, -1.0)])
def test_what_is_no_mixture_is_refused(options: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="must be positive; got"):
        BimodalGaussian(*options)
