"""The contract of losses that draw embeddings of one class together."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class SimilarityLoss(nn.Module, ABC):
    """Loss on the embeddings and classes of one batch."""

    def build(self, embedding_dim: int, num_classes: int) -> None:
        """Create the parameters whose shape depends on the model; called once, before the optimizer is made."""

    @abstractmethod
    def forward(self, embeddings: Float[Tensor, "batch feature"], labels: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Return the mean loss of the batch.

        Args:
            embeddings: Any length; losses that speak of angles normalise.
            labels: Class of each embedding.
        """


def cosine_matrix(embeddings: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch batch"]:
    """Return the cosine of every pair of a batch."""
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    return unit @ unit.T


def same_class(labels: Int[Tensor, " batch"]) -> Bool[Tensor, "batch batch"]:
    """Return which pairs share a class, the diagonal included."""
    return labels[:, None] == labels[None, :]


def off_diagonal(size: int, device: torch.device) -> Bool[Tensor, "batch batch"]:
    """Return a mask of the pairs of different items."""
    return ~torch.eye(size, dtype=torch.bool, device=device)
