"""Vectors that stand in for fingerprints: of unit length, in clusters, and queries that are some of them with noise."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from experiments.papers.jati2020.clustered_vectors import clustered_vectors

_NUM_CLUSTERS = 2000
_NOISE = 0.33


def draw_unit(num_vectors: int, dim: int, seed: int) -> Float[Tensor, "item feature"]:
    """Draw clustered unit vectors; other seeds have other clusters."""
    return torch.nn.functional.normalize(clustered_vectors(num_vectors, dim, _NUM_CLUSTERS, seed=seed), dim=1)


def add_noise(vectors: Float[Tensor, "item feature"], seed: int) -> Float[Tensor, "item feature"]:
    """Add noise of a third of the vectors' length, and bring the sum to unit length."""
    noise = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors + noise * (_NOISE / math.sqrt(vectors.shape[1])), dim=1)


def clustered_queries(num_items: int, num_queries: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw clustered unit vectors, and queries that are some of them with noise."""
    vectors = draw_unit(num_items, dim, seed)
    chosen = torch.randint(num_items, (num_queries,), generator=torch.Generator().manual_seed(seed + 1))
    return vectors, add_noise(vectors[chosen], seed + 2)
