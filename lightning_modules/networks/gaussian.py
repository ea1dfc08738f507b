"""What a probabilistic network puts out: a Gaussian with diagonal covariance."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class Gaussian:
    """A batch of Gaussians.

    Attributes:
        mean: mu.
        log_variance: log sigma^2, within the bound of the head that made it.
    """

    mean: Float[Tensor, "batch *shape"]
    log_variance: Float[Tensor, "batch *shape"]

    def sample(self, generator: torch.Generator | None = None) -> Float[Tensor, "batch *shape"]:
        """Draw mu + sigma * epsilon, eq. (2.68) of Pedersen (2024); gradients reach mean and log-variance."""
        return self.at(
            torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        )

    def at(self, noise: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
        """Return mu + sigma * epsilon for a given epsilon; gradients reach mean and log-variance."""
        return self.mean + (0.5 * self.log_variance).exp() * noise


def bound_log_variance(raw: Float[Tensor, "*shape"], limit: float) -> Float[Tensor, "*shape"]:
    """Squash log-variances smoothly into (-limit, limit): limit * tanh(raw / limit).

    Near 0 nothing changes. A variance can so neither vanish, where one exact pixel would make the likelihood infinite
    (a spectrogram has many equal ones), nor overflow; e^6 is 403, e^-6 is 0.0025.
    """
    return limit * torch.tanh(raw / limit)


class GaussianHead(nn.Module):
    """Two dense layers, for mean and log-variance; the result is in full precision.

    Args:
        input_dim: Size of what comes in.
        output_dim: Size of the Gaussian.
        log_variance_limit: Bound of the log-variance on either side.
    """

    def __init__(self, input_dim: int, output_dim: int, log_variance_limit: float = 6.0) -> None:
        super().__init__()
        self.mean = nn.Linear(input_dim, output_dim)
        self.log_variance = nn.Linear(input_dim, output_dim)
        self.log_variance_limit = log_variance_limit

    def forward(self, hidden: Float[Tensor, "batch hidden"]) -> Gaussian:
        """Return the Gaussian."""
        return Gaussian(
            self.mean(hidden).float(), bound_log_variance(self.log_variance(hidden).float(), self.log_variance_limit)
        )
