"""Triplet loss against the mean of the negatives."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def mean_negative_triplet_loss(
    projection: Float[Tensor, "pair bit"], other: Float[Tensor, "pair bit"]
) -> Float[Tensor, ""]:
    """Return the hinge on Euclidean distances to partner and mean negative, eq. (2) of FlowHash (2024).

    max(0, ||y - y+|| - ||y - mean(y-)||), where the mean is inside the norm and over the 2M - 2 projections of the
    other pairs; the mean over all 2M projections y, each partner's being taken in turn. It is zero for one pair, which
    has no negatives.

    Args:
        projection: y of R^K.
        other: y+, position by position.
    """
    num_pairs = len(projection)
    samples = torch.cat([projection, other]).float()
    partners = samples.roll(num_pairs, dims=0)
    if num_pairs == 1:
        return samples.sum() * 0.0
    mean_negative = (samples.sum(dim=0) - samples - partners) / (2 * num_pairs - 2)
    return F.relu(_length(samples - partners) - _length(samples - mean_negative)).mean()


def _length(difference: Float[Tensor, "sample bit"]) -> Float[Tensor, " sample"]:
    """Return Euclidean lengths whose gradient at zero is zero, not NaN."""
    squared = difference.square().sum(dim=1)
    is_zero = squared == 0
    return squared.masked_fill(is_zero, 1.0).sqrt().masked_fill(is_zero, 0.0)
