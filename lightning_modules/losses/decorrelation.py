"""What keeps bits balanced and independent while something else pulls pairs together.

Bardes et al., VICReg (2022), section 4.1: a hinge on the deviation of each dimension, and squared covariances.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_EPSILON = 1e-4  # under the root, as in VICReg


def variance_loss(vectors: Float[Tensor, "batch bit"], deviation: float = 1.0) -> Float[Tensor, ""]:
    """Return the mean over dimensions of max(0, deviation - std), eq. (1) of VICReg.

    Args:
        vectors: At least two.
        deviation: What no dimension may fall below.
    """
    found = (vectors.var(dim=0) + _EPSILON).sqrt()
    return torch.relu(deviation - found).mean()


def covariance_loss(vectors: Float[Tensor, "batch bit"]) -> Float[Tensor, ""]:
    """Return the sum of the squared covariances of different dimensions, by their number, eqs. (3) and (4) of VICReg.

    Args:
        vectors: At least two.
    """
    centered = vectors - vectors.mean(dim=0)
    covariance = centered.T @ centered / (len(vectors) - 1)
    off_diagonal = covariance.square().sum() - covariance.diagonal().square().sum()
    return off_diagonal / vectors.shape[1]
