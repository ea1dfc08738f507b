"""Supervised contrastive loss."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_modules.losses.similarity import SimilarityLoss, cosine_matrix, off_diagonal, same_class


class SupervisedContrastiveLoss(SimilarityLoss):
    """Cross-entropy of picking an item's class mates out of the batch, L_out of Khosla et al. (2020), eq. (2).

    Args:
        temperature: What cosines are divided by.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, embeddings: Float[Tensor, "batch feature"], labels: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Return the mean over items that have a class mate in the batch; zero if none has."""
        others = off_diagonal(len(labels), labels.device)
        logits = (cosine_matrix(embeddings) / self.temperature).masked_fill(~others, -torch.inf)
        log_prob = logits - logits.logsumexp(dim=1, keepdim=True)
        mates = same_class(labels) & others
        num_mates = mates.sum(dim=1)
        per_item = -log_prob.masked_fill(~mates, 0).sum(dim=1) / num_mates.clamp(min=1)
        return per_item.sum() / (num_mates > 0).sum().clamp(min=1)
