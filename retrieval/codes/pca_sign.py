"""Signs of principal components: the plainest learned hash, which ITQ starts from.

Gong and Lazebnik, Iterative quantization (2011, section 2): W holds the top eigenvectors of the covariance matrix.
"""

from jaxtyping import Float
from torch import Tensor

from retrieval.codes.linear import LinearHash, check_bits_fit_dim, principal_directions_exactly, to_host


class PcaSignHash(LinearHash):
    """One bit a principal component: its sign.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code; at most `dim`.

    Raises:
        ValueError: If `num_bits` exceeds `dim`.
    """

    def __init__(self, dim: int, num_bits: int) -> None:
        super().__init__(dim, num_bits)
        check_bits_fit_dim(dim, num_bits)

    @property
    def min_vectors(self) -> int:
        """One more than directions."""
        return self.num_bits + 1

    def _fit(self, vectors: Float[Tensor, "item feature"]) -> None:
        found = principal_directions_exactly(to_host(vectors), self.num_bits)
        self._set_hyperplanes(found.directions, found.mean @ found.directions)
