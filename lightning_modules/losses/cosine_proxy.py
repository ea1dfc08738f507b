"""Cosine softmax against one learned proxy a class."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lightning_modules.losses.similarity import SimilarityLoss


class CosineProxyLoss(SimilarityLoss):
    """Cross-entropy over scaled cosines to class proxies, with an additive margin.

    CosFace (Wang et al., 2018), eq. (4): -log softmax_y(scale * (cos(e, p_c) - margin * [c = y])).

    Args:
        scale: What cosines are multiplied by; an inverse temperature.
        margin: Cosine subtracted from the right class.
    """

    proxies: nn.Parameter

    def __init__(self, scale: float = 16.0, margin: float = 0.2) -> None:
        super().__init__()
        self.scale = scale
        self.margin = margin

    def build(self, embedding_dim: int, num_classes: int) -> None:
        """Draw the proxies, one a class, on no particular sphere: only their direction counts."""
        self.proxies = nn.Parameter(torch.randn(num_classes, embedding_dim) / embedding_dim**0.5)

    def forward(self, embeddings: Float[Tensor, "batch feature"], labels: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Return the mean over the batch."""
        unit = torch.nn.functional.normalize(embeddings, dim=1)
        cosine = unit @ torch.nn.functional.normalize(self.proxies, dim=1).T
        margin = self.margin * torch.nn.functional.one_hot(labels, cosine.shape[1]).to(cosine)
        return torch.nn.functional.cross_entropy(self.scale * (cosine - margin), labels)
