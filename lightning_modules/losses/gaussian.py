"""Densities and divergences of Gaussians with diagonal covariance, given by mean and log-variance.

In full precision whatever the precision of the networks: differences of large sums decide.
"""

import math

from jaxtyping import Float
from torch import Tensor


def gaussian_log_density(
    value: Float[Tensor, "batch *shape"],
    mean: Float[Tensor, "batch *shape"],
    log_variance: Float[Tensor, "batch *shape"],
) -> Float[Tensor, " batch"]:
    """Sum the log-density over all axes but the first, in nats.

    log N(x; mu, sigma^2) = -1/2 sum [log 2 pi + log sigma^2 + (x - mu)^2 / sigma^2]: eq. (2.46) of Pedersen (2024) with
    the logarithm that it leaves out. Without the log-variance, as in its eq. (2.50), the largest variance is always
    best and nothing is learned.

    Returns:
        Nats an item; larger is likelier, and a density may be above 0.
    """
    value, mean, log_variance = value.float(), mean.float(), log_variance.float()
    terms = math.log(2 * math.pi) + log_variance + (value - mean) ** 2 * (-log_variance).exp()
    return -0.5 * terms.reshape(len(terms), math.prod(terms.shape[1:])).sum(dim=1)


def kl_from_standard_normal(
    mean: Float[Tensor, "batch latent"], log_variance: Float[Tensor, "batch latent"]
) -> Float[Tensor, "batch latent"]:
    """Compute KL(N(mu, sigma^2) || N(0, 1)) a dimension in closed form, in nats, never negative.

    Minus eq. (2.40) of Pedersen (2024), which has the sign of a quantity to be maximised.
    """
    mean, log_variance = mean.float(), log_variance.float()
    # exp(l) - 1 would cancel near l = 0, and leave values below 0
    return 0.5 * (mean**2 + (log_variance.expm1() - log_variance))
