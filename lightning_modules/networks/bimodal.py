"""The distribution that balanced codes have: two modes in every dimension, independent of the others.

FlowHash (2024), eq. (7): p(z) = prod_k (N(z_k | -2, 1) + N(z_k | 2, 1)) / 2. Its 2^K modes are equally likely, one a
bucket.
"""

import math

import torch
from jaxtyping import Float
from nflows.distributions import Distribution
from torch import Tensor


class BimodalGaussian(Distribution):  # type: ignore[misc]  # nflows ships no types
    """Product of equal mixtures of two Gaussians.

    Args:
        num_bits: Dimensions, K.
        mean: Distance of each mode from 0.
        deviation: Standard deviation of each mode.

    Raises:
        ValueError: If a number is not positive.
    """

    def __init__(self, num_bits: int, mean: float = 2.0, deviation: float = 1.0) -> None:
        super().__init__()
        if num_bits < 1 or min(mean, deviation) <= 0:
            raise ValueError(
                f"num_bits, mean and deviation must be positive; got {num_bits}, {mean} and {deviation}. The paper has "
                "modes at 2 with deviation 1."
            )
        self.num_bits = num_bits
        self.deviation = deviation
        self.register_buffer("modes", torch.tensor([-mean, mean]), persistent=False)
        self.modes: Tensor

    def mode_log_densities(self, z: Float[Tensor, "batch bit"]) -> Float[Tensor, "batch bit mode"]:
        """Return log N(z_k | -mean, deviation^2) and log N(z_k | mean, deviation^2), p_Z1k and p_Z2k of eq. (10)."""
        scaled = (z[..., None] - self.modes) / self.deviation
        return -0.5 * scaled.square() - math.log(self.deviation) - 0.5 * math.log(2 * math.pi)

    def _log_prob(self, inputs: Float[Tensor, "batch bit"], context: None) -> Float[Tensor, " batch"]:
        densities = torch.logsumexp(self.mode_log_densities(inputs), dim=2) - math.log(2)
        return densities.sum(dim=1)

    def _sample(self, num_samples: int, context: None) -> Float[Tensor, "batch bit"]:
        chosen = torch.randint(2, (num_samples, self.num_bits), device=self.modes.device)
        return self.modes[chosen] + self.deviation * torch.randn(chosen.shape, device=self.modes.device)
