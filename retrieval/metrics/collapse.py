"""Signs that embeddings collapse onto a point or a few directions."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class EmbeddingSpread:
    """How embeddings fill their space.

    Attributes:
        mean_cosine: Mean cosine of different items; near 1 when all point the same way.
        effective_rank: Exponential of the entropy of the normalised singular values of the centred embeddings (Roy and
            Vetterli, 2007); near 1 when they lie on a line, at most the embedding's size.
        mean_std: Standard deviation of a dimension, mean over dimensions; 0 when all are one point.
    """

    mean_cosine: float
    effective_rank: float
    mean_std: float


def embedding_spread(embeddings: Float[Tensor, "item embedding"]) -> EmbeddingSpread:
    """Measure the spread of a set of embeddings.

    Raises:
        ValueError: If there are fewer than two.
    """
    num_items = len(embeddings)
    if num_items < 2:
        raise ValueError(f"Spread needs at least two embeddings; got {num_items}.")
    values = embeddings.double()
    unit = torch.nn.functional.normalize(values, dim=1)
    # sum of all cosines is the squared length of the sum; no N x N matrix is needed
    own = unit.square().sum()
    mean_cosine = (unit.sum(dim=0).square().sum() - own) / (num_items * (num_items - 1))
    centred = values - values.mean(dim=0)
    eigenvalues = torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0)
    singular = eigenvalues.sqrt()
    total = singular.sum()
    rank = torch.special.entr(singular / total).sum().exp() if total > 0 else torch.tensor(0.0)
    return EmbeddingSpread(float(mean_cosine), float(rank), float(values.std(dim=0).mean()))
