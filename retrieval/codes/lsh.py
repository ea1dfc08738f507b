"""Locality-sensitive hashing by random hyperplanes.

Charikar, Similarity estimation techniques from rounding algorithms (2002): h(x) = sign(r.x) with r Gaussian, so that
P[h(x) = h(y)] = 1 - angle(x, y) / pi.
"""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from retrieval.codes.linear import LinearHash, to_host


class RandomHyperplaneHash(LinearHash):
    """Cut space by random hyperplanes through the mean of the vectors, or through the origin.

    Of the vectors only the mean is used: they need not vary.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code; may exceed `dim`.
        center: Whether hyperplanes go through the mean. Through the origin, non-negative vectors give unbalanced bits.
        seed: Seed of the hyperplanes.
    """

    def __init__(self, dim: int, num_bits: int, center: bool = True, seed: int = 0) -> None:
        super().__init__(dim, num_bits)
        self.center = center
        self.seed = seed

    def _fit(self, vectors: Float[Tensor, "item feature"]) -> None:
        weight = np.random.default_rng(self.seed).standard_normal((self.dim, self.num_bits))
        mean = to_host(vectors).mean(axis=0) if self.center else np.zeros(self.dim)
        self._set_hyperplanes(weight, mean @ weight)
