"""Triplet loss of deep triplet quantization."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_modules.losses.similarity import SimilarityLoss, cosine_matrix, off_diagonal, same_class


class TripletLoss(SimilarityLoss):
    """Hinge on cosine distance over every valid triplet of the batch.

    Deep triplet quantization (Liu et al., 2018): mean over the triplets that still violate of
    max(0, margin + cos(a, n) - cos(a, p)).

    Args:
        margin: Cosine by which a positive has to be nearer than a negative.
    """

    def __init__(self, margin: float = 0.3) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, embeddings: Float[Tensor, "batch feature"], labels: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Return the mean over violating triplets; zero if there is none."""
        cosine = cosine_matrix(embeddings)
        alike = same_class(labels)
        anchor, positive = (alike & off_diagonal(len(labels), labels.device)).nonzero(as_tuple=True)
        violation = (self.margin + cosine[anchor] - cosine[anchor, positive][:, None]).clamp(min=0) * ~alike[anchor]
        return violation.sum() / torch.count_nonzero(violation).clamp(min=1)
