"""A network of one's own: dense layers with a way around each."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ResidualMlp(nn.Module):
    """Map features to embeddings of unit length.

    `input_dim` and `output_dim` come first and are given by the model; the rest are options of the config.

    Args:
        input_dim: Size of a feature.
        output_dim: Size of an embedding.
        hidden_dim: Size that all blocks work at.
        num_blocks: Blocks of normalisation, dense layer and ReLU.
    """

    def __init__(self, input_dim: int, output_dim: int, hidden_dim: int = 256, num_blocks: int = 2) -> None:
        super().__init__()
        self.first = nn.Linear(input_dim, hidden_dim)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden_dim), nn.Linear(hidden_dim, hidden_dim), nn.ReLU())
            for _ in range(num_blocks)
        )
        self.last = nn.Linear(hidden_dim, output_dim)

    def forward(self, feature: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch embedding"]:
        """Embed a batch of features."""
        hidden: Tensor = self.first(feature)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return torch.nn.functional.normalize(self.last(hidden), dim=1)
