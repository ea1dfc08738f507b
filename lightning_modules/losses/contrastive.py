"""Contrastive loss of pairs of fingerprints."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def contrastive_loss(
    fingerprint: Float[Tensor, "pair feature"],
    other: Float[Tensor, "pair feature"],
    temperature: float = 0.1,
    extra_negatives: Float[Tensor, "negative feature"] | None = None,
) -> Float[Tensor, ""]:
    """Return the cross-entropy of finding each fingerprint's partner, eq. (1) of FlowHash (2024).

    With M pairs, each of the 2M fingerprints looks for its partner among the 2M - 1 others, the 2M - 2 of other pairs
    being its negatives; the mean over all 2M (NT-Xent, Chen et al., 2020). Under data-parallel training, gather the
    fingerprints of all processes first.

    Args:
        fingerprint: Of unit length.
        other: Partners, position by position, of unit length.
        temperature: tau, what inner products are divided by.
        extra_negatives: Fingerprints without a partner, negatives of all.

    Raises:
        ValueError: If the temperature is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0; got {temperature}. The paper has 0.1.")
    num_pairs = len(fingerprint)
    samples = torch.cat([fingerprint, other]).float()
    logits = samples @ samples.T / temperature
    logits = logits.masked_fill(torch.eye(2 * num_pairs, dtype=torch.bool, device=logits.device), -torch.inf)
    if extra_negatives is not None:
        logits = torch.cat([logits, samples @ extra_negatives.float().T / temperature], dim=1)
    return F.cross_entropy(logits, torch.arange(2 * num_pairs, device=logits.device).roll(num_pairs))


def partner_accuracy(
    fingerprint: Float[Tensor, "pair feature"], other: Float[Tensor, "pair feature"]
) -> Float[Tensor, ""]:
    """Return the share of `other` whose nearest `fingerprint` is its partner, by inner product."""
    nearest = (other @ fingerprint.T).argmax(dim=1)
    return (nearest == torch.arange(len(other), device=other.device)).float().mean()
