"""Principal components, each cut where it halves the vectors: the plainest hash whose every bit is balanced."""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from retrieval.codes.linear import principal_directions_exactly, to_host
from retrieval.codes.pca_sign import PcaSignHash

# Values closer than this share of their range are one value, rounded.
_RELATIVE_GAP = 1e-9


class MedianPcaSignHash(PcaSignHash):
    """One bit a principal component: whether it is above the median.

    Bits are balanced one by one, which keeps the entropy of each at its largest; components are uncorrelated, yet not
    independent, so that whole codes need not be.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code; at most `dim`.

    Raises:
        ValueError: If `num_bits` exceeds `dim`.
    """

    def _fit(self, vectors: Float[Tensor, "item feature"]) -> None:
        host = to_host(vectors)
        found = principal_directions_exactly(host, self.num_bits)
        components = (host - found.mean) @ found.directions
        cuts = np.array([halving_cut(column) for column in components.T])
        self._set_hyperplanes(found.directions, found.mean @ found.directions + cuts)


def halving_cut(values: np.ndarray) -> float:
    """Return the middle of the gap that cuts values most nearly in half.

    It is the median of an even number of values. Where values at the median are equal, they stay on one side: between
    two of them rounding alone would decide.

    Args:
        values: [item]; not all the same.
    """
    ordered = np.sort(values)
    gaps = np.flatnonzero(np.diff(ordered) > _RELATIVE_GAP * (ordered[-1] - ordered[0]))
    below = gaps[np.abs(gaps + 1 - len(ordered) / 2).argmin()]
    return float((ordered[below] + ordered[below + 1]) / 2)
