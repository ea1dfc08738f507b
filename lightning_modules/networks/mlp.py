"""The multi-layer perceptron of Jati et al. (2020), section 3.2.2."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_modules.networks.global_batch_norm import GlobalBatchNorm


class EmbeddingMlp(nn.Module):
    """Map features to embeddings, eq. (1): dense layers with ReLU, the last one linear.

    With no more than its positional arguments and `batch_norm=False, dropout=0, normalize_output=False` it is the
    paper's network to the letter.

    Args:
        input_dim: Size of a feature.
        output_dim: Size of an embedding.
        hidden_dims: Sizes of the hidden layers.
        dropout: Probability of dropping a hidden unit.
        batch_norm: Whether hidden layers are batch-normalised.
        normalize_input: `none` leaves features as they are; `l2` scales each to length sqrt(input_dim), which
            drops how strong it is and costs YAMNet's features some points of mAP.
        normalize_output: Whether embeddings have unit length, so that Euclidean distance orders as the cosine does.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        hidden_dims: Sequence[int] = (512, 256),
        dropout: float = 0.2,
        batch_norm: bool = True,
        normalize_input: Literal["none", "l2"] = "none",
        normalize_output: bool = True,
    ) -> None:
        super().__init__()
        self.normalize_input = normalize_input
        self.normalize_output = normalize_output
        layers: list[nn.Module] = []
        size = input_dim
        for hidden_dim in hidden_dims:
            layers.append(nn.Linear(size, hidden_dim))
            if batch_norm:
                layers.append(GlobalBatchNorm(hidden_dim))
            layers += [nn.ReLU(), nn.Dropout(dropout)]
            size = hidden_dim
        self.layers = nn.Sequential(*layers, nn.Linear(size, output_dim))

    def forward(self, feature: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch embedding"]:
        """Embed a batch of features."""
        if self.normalize_input == "l2":
            feature = torch.nn.functional.normalize(feature, dim=1) * feature.shape[1] ** 0.5
        embedding: Tensor = self.layers(feature)
        return torch.nn.functional.normalize(embedding, dim=1) if self.normalize_output else embedding
