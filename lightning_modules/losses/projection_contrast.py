"""Contrastive losses of projections to R^K."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def distance_contrast_loss(
    vectors: Float[Tensor, "pair bit"],
    other: Float[Tensor, "pair bit"],
    temperature: float | Float[Tensor, ""] = 1.0,
) -> Float[Tensor, ""]:
    """Return the cross-entropy of finding each vector's partner by squared Euclidean distance.

    Eq. (1) of FlowHash (2024) with -||z - z+||^2 in place of the inner product, in both directions.

    Args:
        vectors: z.
        other: z+, position by position.
        temperature: What squared distances are divided by.
    """
    logits = -torch.cdist(other, vectors, compute_mode="use_mm_for_euclid_dist").square() / temperature
    own = torch.arange(len(vectors), device=vectors.device)
    return 0.5 * (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own))


def bit_agreement_loss(
    vectors: Float[Tensor, "pair bit"], other: Float[Tensor, "pair bit"], slope: float = 2.0
) -> Float[Tensor, ""]:
    """Return the mean of 1 - tanh(slope z) tanh(slope z+): from 0 where all bits agree surely, to 2.

    Alone it is least where each bit is the same for all: it needs `variance_loss` and `covariance_loss`.

    Args:
        vectors: z, centred.
        other: z+, position by position.
        slope: How soon a coordinate counts as sure.
    """
    return (1 - torch.tanh(slope * vectors) * torch.tanh(slope * other)).mean()


def probing_loss(
    items: Float[Tensor, "item bit"],
    queries: Float[Tensor, "query bit"],
    scale: float | Float[Tensor, ""] = 1.0,
    slope: float = 2.0,
) -> Float[Tensor, ""]:
    """Return the cross-entropy of finding each query's item by the order in which buckets are probed.

    Best-first probing visits the bucket c in the order of the cost sum_k |q_k| [c_k differs from the sign of q_k],
    which is, but for what is the same in all buckets, -sum_k q_k c_k / 2 with bits c_k = +-1; c_k = tanh(slope z_k)
    lets gradients through. The items visited before the right one are those that score higher, which the loss makes
    few; it is least for bits that are balanced and independent.

    Args:
        items: z of clean fingerprints, centred.
        queries: z+ of their distorted counterparts, position by position.
        scale: What scores are multiplied by.
        slope: How soon a coordinate of an item counts as a sure bit.
    """
    logits = scale * queries @ torch.tanh(slope * items).T
    return F.cross_entropy(logits, torch.arange(len(items), device=items.device))
