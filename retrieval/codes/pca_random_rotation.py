"""Signs of randomly rotated principal components.

Gong and Lazebnik, Iterative quantization (2011, section 3, PCA-RR): a rotation spreads the variance over the bits. It
is where ITQ starts.
"""

import numpy as np
import scipy.stats
from jaxtyping import Float
from torch import Tensor

from retrieval.codes.linear import principal_directions_exactly, to_host
from retrieval.codes.pca_sign import PcaSignHash


class RotatedPcaHash(PcaSignHash):
    """The sign of each of the principal components after one random rotation.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code; at most `dim`.
        seed: Seed of the rotation.

    Raises:
        ValueError: If `num_bits` exceeds `dim`.
    """

    def __init__(self, dim: int, num_bits: int, seed: int = 0) -> None:
        super().__init__(dim, num_bits)
        self.seed = seed

    def _fit(self, vectors: Float[Tensor, "item feature"]) -> None:
        found = principal_directions_exactly(to_host(vectors), self.num_bits)
        weight = found.directions @ random_rotation(self.num_bits, self.seed)
        self._set_hyperplanes(weight, found.mean @ weight)


def random_rotation(size: int, seed: int) -> np.ndarray:
    """Draw an orthonormal matrix of `size` rows uniformly."""
    if size == 1:  # scipy wants two dimensions
        return np.ones((1, 1))
    return np.asarray(scipy.stats.ortho_group.rvs(size, random_state=seed))
