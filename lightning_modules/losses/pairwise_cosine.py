"""Pairwise cosine loss of deep quantization networks."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_modules.losses.similarity import SimilarityLoss, cosine_matrix, off_diagonal, same_class


class PairwiseCosineLoss(SimilarityLoss):
    """Squared error between cosine and +1 for pairs of one class, -1 for others.

    Eq. (10) of Jati et al. (2020): L = mean over pairs of (t_ij - cos(e_i, e_j))^2. The paper sums; the mean leaves
    the batch size out of the learning rate. A pair of an item with itself, whose term is always zero, is left out.

    Args:
        class_balanced: Weigh both kinds of pair alike, whatever their numbers. With C even classes, only one pair
            in C shares one.
    """

    def __init__(self, class_balanced: bool = False) -> None:
        super().__init__()
        self.class_balanced = class_balanced

    def forward(self, embeddings: Float[Tensor, "batch feature"], labels: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Return the mean loss of the batch; zero for a batch of one."""
        alike = same_class(labels)
        error = (torch.where(alike, 1.0, -1.0) - cosine_matrix(embeddings)).square()
        pairs = off_diagonal(len(labels), labels.device)
        if not self.class_balanced:
            return (error * pairs).sum() / pairs.sum().clamp(min=1)
        kinds = torch.stack([pairs & alike, pairs & ~alike])
        counts = kinds.sum(dim=(1, 2))
        means = (error * kinds).sum(dim=(1, 2)) / counts.clamp(min=1)
        return means.sum() / (counts > 0).sum().clamp(min=1)
