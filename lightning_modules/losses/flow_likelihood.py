"""What trains the flow of FlowHash (2024): likelihood, eqs. (4) and (8), and agreement of bits, eqs. (9) to (11)."""

import torch
from jaxtyping import Float
from torch import Tensor


def negative_log_likelihood(
    base_log_prob: Float[Tensor, " batch"], log_determinant: Float[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Return -log p(y) in nats, eq. (8) with eq. (4).

    Args:
        base_log_prob: log p(z) under the base distribution.
        log_determinant: log |det dz/dy|.
    """
    return -(base_log_prob + log_determinant)


def bit_cross_entropy(
    log_densities: Float[Tensor, "batch bit mode"],
    other_log_densities: Float[Tensor, "batch bit mode"],
    *,
    normalized: bool = False,
) -> Float[Tensor, " batch"]:
    """Compare the modes of z with those of its distorted counterpart, eqs. (9) and (10).

    H(u, v) = -(p1(u) log p1(v) + p2(u) log p2(v)); the loss is sum_k H(z_k, z_k+) + H(z_k+, z_k).

    As printed, p1 and p2 are the densities of the two modes. They don't sum to 1, so that this is no cross-entropy: far
    from both modes it costs nothing to disagree.

    Args:
        log_densities: log p1(z_k) and log p2(z_k), without the mixture's weights.
        other_log_densities: The same of z+.
        normalized: Whether the modes' posteriors p1 / (p1 + p2) and p2 / (p1 + p2) take the place of the densities: a
            cross-entropy indeed, and a departure from the paper.

    Returns:
        The loss of each pair, in nats.
    """
    if normalized:
        log_densities, other_log_densities = log_densities.log_softmax(dim=2), other_log_densities.log_softmax(dim=2)
    there = log_densities.exp() * other_log_densities
    back = other_log_densities.exp() * log_densities
    return -(there + back).sum(dim=(1, 2))


def flow_loss(
    likelihood_loss: Float[Tensor, " batch"], bit_loss: Float[Tensor, " batch"], bit_weight: float | Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Return the mean over the batch of L_NLL + lambda L_BCE, eq. (11).

    Args:
        likelihood_loss: `negative_log_likelihood`.
        bit_loss: `bit_cross_entropy`.
        bit_weight: lambda; the paper has 0.5.
    """
    return torch.mean(likelihood_loss + bit_weight * bit_loss)
