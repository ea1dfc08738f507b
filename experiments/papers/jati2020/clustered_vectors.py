"""Vectors to measure searches on: in clusters, as embeddings are."""

import torch
from jaxtyping import Float
from torch import Tensor

_CHUNK_VECTORS = 10_000


def clustered_vectors(
    num_vectors: int, dim: int, num_clusters: int = 1000, seed: int = 0, center_seed: int = 0
) -> Float[Tensor, "item feature"]:
    """Draw vectors around random centres, with a variance that falls along the dimensions, as embeddings have it.

    Args:
        num_vectors: Vectors to draw.
        dim: Their size.
        num_clusters: Centres.
        seed: Seed of the vectors.
        center_seed: Seed of the centres; what shares it is drawn from one distribution.
    """
    center_generator = torch.Generator().manual_seed(center_seed)
    scale = torch.arange(1, dim + 1).float() ** -0.5
    centers = torch.randn(num_clusters, dim, generator=center_generator) * scale
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(num_vectors, dim, generator=generator).mul_(0.6 * scale)
    clusters = torch.randint(num_clusters, (num_vectors,), generator=generator)
    for chunk, of_chunk in zip(vectors.split(_CHUNK_VECTORS), clusters.split(_CHUNK_VECTORS), strict=True):
        chunk.add_(centers[of_chunk])  # in parts: the centres of all take as much memory as the vectors
    return vectors
