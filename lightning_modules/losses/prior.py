"""Priors over the latent variables of a VAE, each with the divergence of a posterior from it."""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_modules.losses.gaussian import gaussian_log_density, kl_from_standard_normal


class Prior(nn.Module, ABC):
    """A distribution of latent vectors.

    Args:
        latent_dim: Size of a latent vector.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    @abstractmethod
    def divergence(
        self,
        mean: Float[Tensor, "batch latent"],
        log_variance: Float[Tensor, "batch latent"],
        sample: Float[Tensor, "batch latent"],
    ) -> Float[Tensor, "batch term"]:
        """Compute or estimate KL(posterior || prior), in nats.

        Args:
            mean: Of the posterior.
            log_variance: Of the posterior.
            sample: Drawn from the posterior; only an estimate needs it.

        Returns:
            Terms that sum to the divergence of an item: one a dimension where they are independent, else one.
        """

    @abstractmethod
    def sample(self, num_samples: int, generator: torch.Generator | None = None) -> Float[Tensor, "item latent"]:
        """Draw latent vectors, on the generator's device, or where the prior's weights are."""


class StandardNormalPrior(Prior):
    """N(0, I), as in Pedersen (2024), section 2.5.1; the divergence is exact.

    Args:
        latent_dim: Size of a latent vector.
    """

    _zero: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        self.register_buffer("_zero", torch.zeros(()), persistent=False)

    def divergence(
        self,
        mean: Float[Tensor, "batch latent"],
        log_variance: Float[Tensor, "batch latent"],
        sample: Float[Tensor, "batch latent"],
    ) -> Float[Tensor, "batch latent"]:
        """Compute the divergence of each dimension in closed form."""
        return kl_from_standard_normal(mean, log_variance)

    def sample(self, num_samples: int, generator: torch.Generator | None = None) -> Float[Tensor, "item latent"]:
        """Draw latent vectors."""
        device = generator.device if generator is not None else self._zero.device
        return torch.randn(num_samples, self.latent_dim, generator=generator, device=device)


class GaussianMixturePrior(Prior):
    """A learned mixture of Gaussians with diagonal covariance, the richer prior of Pedersen (2024), section 5.8.

    Args:
        latent_dim: Size of a latent vector.
        num_components: Gaussians; 1 is a single learned Gaussian.
        seed: Of the initial means, which are drawn from N(0, I).
        log_variance_limit: Bound of the log-variances on either side.

    Raises:
        ValueError: If there is no component.
    """

    def __init__(
        self, latent_dim: int, num_components: int = 50, seed: int = 0, log_variance_limit: float = 6.0
    ) -> None:
        super().__init__(latent_dim)
        if num_components < 1:
            raise ValueError(f"num_components must be at least 1; got {num_components}. 50 is the default.")
        self.log_variance_limit = log_variance_limit
        generator = torch.Generator().manual_seed(seed)
        self.means = nn.Parameter(torch.randn(num_components, latent_dim, generator=generator))
        self.raw_log_variances = nn.Parameter(torch.zeros(num_components, latent_dim))
        self.logits = nn.Parameter(torch.zeros(num_components))

    @property
    def log_variances(self) -> Float[Tensor, "component latent"]:
        """Log-variances of the components, within the bound."""
        return self.log_variance_limit * torch.tanh(self.raw_log_variances / self.log_variance_limit)

    def log_density(self, value: Float[Tensor, "batch latent"]) -> Float[Tensor, " batch"]:
        """Compute log sum_k w_k N(z; mu_k, sigma_k^2), in nats."""
        value = value.float()
        log_variances = self.log_variances
        distances = ((value[:, None] - self.means) ** 2 * (-log_variances).exp()).sum(dim=2)
        log_norms = -0.5 * (log_variances.sum(dim=1) + self.latent_dim * math.log(2 * math.pi))
        return torch.logsumexp(torch.log_softmax(self.logits, dim=0) + log_norms - 0.5 * distances, dim=1)

    def divergence(
        self,
        mean: Float[Tensor, "batch latent"],
        log_variance: Float[Tensor, "batch latent"],
        sample: Float[Tensor, "batch latent"],
    ) -> Float[Tensor, "batch 1"]:
        """Estimate the divergence from one sample: log q(z) - log p(z). It is unbiased, and may be negative."""
        return (gaussian_log_density(sample, mean, log_variance) - self.log_density(sample))[:, None]

    def sample(self, num_samples: int, generator: torch.Generator | None = None) -> Float[Tensor, "item latent"]:
        """Draw a component, then a vector of it."""
        device = generator.device if generator is not None else self.means.device
        weights = self.logits.detach().softmax(dim=0).to(device)
        chosen = torch.multinomial(weights, num_samples, replacement=True, generator=generator)
        noise = torch.randn(num_samples, self.latent_dim, generator=generator, device=device)
        deviations = (0.5 * self.log_variances.detach()).exp().to(device)
        return self.means.detach().to(device)[chosen] + deviations[chosen] * noise
