"""Priors against torch.distributions; the sampled divergence against the exact one."""

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from lightning_modules.losses import GaussianMixturePrior, Prior, StandardNormalPrior, kl_from_standard_normal
from tests.draws import draw, seeded

NUM_SAMPLES = 200_000


def mixture(latent_dim: int = 3, num_components: int = 4) -> GaussianMixturePrior:
    """Make a mixture whose weights and variances differ."""
    prior = GaussianMixturePrior(latent_dim, num_components)
    with torch.no_grad():
        prior.raw_log_variances.copy_(draw(num_components, latent_dim, seed=1))
        prior.logits.copy_(draw(num_components, seed=2))
    return prior


def standard_mixture(latent_dim: int = 3) -> GaussianMixturePrior:
    """Make a mixture of one component, the standard normal."""
    prior = GaussianMixturePrior(latent_dim, num_components=1)
    with torch.no_grad():
        prior.means.zero_()
    return prior


def torch_mixture(prior: GaussianMixturePrior) -> MixtureSameFamily:
    deviations = (0.5 * prior.log_variances.detach().double()).exp()
    components = Independent(Normal(prior.means.detach().double(), deviations), 1)
    return MixtureSameFamily(Categorical(logits=prior.logits.detach().double()), components)


@pytest.mark.parametrize("num_components", [1, 2, 7])
def test_log_density_is_torchs(num_components: int) -> None:
    prior, value = mixture(num_components=num_components), 3 * draw(50, 3, seed=5)
    expected = torch_mixture(prior).log_prob(value.double()).float()
    torch.testing.assert_close(prior.log_density(value), expected, rtol=1e-5, atol=1e-5)


def test_log_density_is_finite_where_every_component_underflows() -> None:
    density = mixture().log_density(torch.tensor([[1e3, -1e3, 1e3]]))
    assert bool(torch.isfinite(density).all())


def test_order_of_components_is_irrelevant() -> None:
    prior, value = mixture(), draw(9, 3, seed=5)
    before = prior.log_density(value)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.copy_(parameter.flip(0))
    torch.testing.assert_close(prior.log_density(value), before, rtol=1e-6, atol=1e-6)


def test_one_component_at_standard_values_is_the_standard_normal() -> None:
    value = 2 * draw(50, 3)
    expected = Independent(Normal(torch.zeros(3), torch.ones(3)), 1).log_prob(value)
    torch.testing.assert_close(standard_mixture().log_density(value), expected, rtol=1e-6, atol=1e-5)


def test_mean_of_the_sampled_divergence_is_the_exact_one() -> None:
    mean, log_variance = torch.tensor([[0.5, -1.0, 0.2]]), torch.tensor([[-1.0, 0.3, -2.0]])
    means, log_variances = mean.expand(NUM_SAMPLES, 3), log_variance.expand(NUM_SAMPLES, 3)
    samples = means + (0.5 * log_variances).exp() * draw(NUM_SAMPLES, 3)
    estimates = standard_mixture().divergence(means, log_variances, samples).detach()
    assert estimates.shape == (NUM_SAMPLES, 1)
    exact = float(kl_from_standard_normal(mean, log_variance).sum())
    standard_error = float(estimates.std()) / NUM_SAMPLES**0.5
    assert standard_error < 0.005
    assert float(estimates.mean()) == pytest.approx(exact, abs=4 * standard_error)


def test_divergence_of_a_mixture_from_its_own_component_is_bounded_by_the_weight() -> None:
    # KL(q_k || sum_j w_j q_j) <= -log w_k
    prior = mixture()
    means, log_variances = (table[2].detach().expand(20_000, 3) for table in (prior.means, prior.log_variances))
    samples = means + (0.5 * log_variances).exp() * draw(20_000, 3)
    bound = -float(prior.logits.detach().log_softmax(dim=0)[2])
    assert 0 < float(prior.divergence(means, log_variances, samples).detach().mean()) < bound


def test_standard_divergence_is_exact_and_ignores_the_sample() -> None:
    prior, mean, log_variance = StandardNormalPrior(3), draw(7, 3), draw(7, 3, seed=1)
    divergence = prior.divergence(mean, log_variance, draw(7, 3, seed=2))
    assert torch.equal(divergence, kl_from_standard_normal(mean, log_variance))
    assert torch.equal(divergence, prior.divergence(mean, log_variance, torch.zeros(7, 3)))


@pytest.mark.parametrize("make", [StandardNormalPrior, mixture], ids=["standard", "mixture"])
def test_samples_have_the_mean_and_variance_of_the_prior(make: type[Prior]) -> None:
    prior = make(latent_dim=3)
    samples = prior.sample(NUM_SAMPLES, seeded(0))
    assert samples.shape == (NUM_SAMPLES, 3)
    oracle = torch_mixture(prior) if isinstance(prior, GaussianMixturePrior) else Normal(torch.zeros(3), torch.ones(3))
    # four standard errors of a mean, about; the variances here are at most 3
    torch.testing.assert_close(samples.mean(dim=0), oracle.mean.float(), rtol=0, atol=0.02)
    torch.testing.assert_close(samples.var(dim=0), oracle.variance.float(), rtol=0.03, atol=0)


def test_components_are_drawn_by_their_weights() -> None:
    prior = GaussianMixturePrior(1, num_components=2)
    with torch.no_grad():
        prior.means.copy_(torch.tensor([[-50.0], [50.0]]))
        prior.logits.copy_(torch.tensor([0.2, 0.8]).log())
    share = (prior.sample(20_000, seeded(0)) > 0).float().mean()
    assert float(share) == pytest.approx(0.8, abs=0.015)


@pytest.mark.parametrize("make", [StandardNormalPrior, mixture], ids=["standard", "mixture"])
def test_a_generator_makes_samples_repeat(make: type[Prior]) -> None:
    prior = make(latent_dim=3)
    first, again, other = (prior.sample(10, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not first.requires_grad
    assert prior.sample(10).shape == (10, 3)


def test_initial_means_follow_from_the_seed() -> None:
    first, again, other = (GaussianMixturePrior(3, seed=seed).means for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (50, 3)


def test_gradients_reach_all_of_the_mixture_and_the_posterior() -> None:
    prior = mixture()
    mean, log_variance = draw(8, 3).requires_grad_(), draw(8, 3, seed=1).requires_grad_()
    sample = mean + (0.5 * log_variance).exp() * draw(8, 3, seed=2)
    prior.divergence(mean, log_variance, sample).sum().backward()
    leaves = [*prior.named_parameters(), ("mean", mean), ("log_variance", log_variance)]
    assert {name for name, _ in leaves} == {"means", "raw_log_variances", "logits", "mean", "log_variance"}
    for name, leaf in leaves:
        assert leaf.grad is not None, name
        assert bool(torch.isfinite(leaf.grad).all()), name
        assert float(leaf.grad.abs().min()) > 0, name


@pytest.mark.parametrize("num_components", [0, -1])
def test_a_mixture_of_nothing_is_refused(num_components: int) -> None:
    with pytest.raises(ValueError, match=rf"at least 1; got {num_components}\."):
        GaussianMixturePrior(3, num_components)


def test_log_variances_are_bounded() -> None:
    prior = GaussianMixturePrior(2, num_components=3, log_variance_limit=2.0)
    raw = torch.tensor([[1e6, -1e6], [0.01, -0.01], [2.0, -2.0]])
    with torch.no_grad():
        prior.raw_log_variances.copy_(raw)
    bounded = prior.log_variances.detach()
    assert float(bounded.abs().max()) <= 2
    torch.testing.assert_close(bounded[1], raw[1], rtol=0, atol=1e-6)
    assert bool(torch.isfinite(prior.log_density(draw(5, 2))).all())


def test_a_checkpoint_restores_the_density() -> None:
    prior, restored, value = mixture(), GaussianMixturePrior(3, 4, seed=9), draw(5, 3)
    restored.load_state_dict(prior.state_dict())
    assert torch.equal(restored.log_density(value), prior.log_density(value))
    assert StandardNormalPrior(3).state_dict() == {}
