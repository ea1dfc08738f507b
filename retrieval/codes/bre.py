"""Binary reconstructive embedding (Kulis and Darrell, 2009)."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from retrieval.codes.kmeans import ONE_VECTOR_MANY_TIMES
from retrieval.codes.linear import LinearHash, to_host

_BLOCK = 50
_DISTANCE_FLOOR = 1e-12
# Flips closer to each other than this share are one, rounded.
_RELATIVE_GAP = 1e-12


class BinaryReconstructiveEmbedding(LinearHash):
    """Choose hyperplanes so that Hamming distances reconstruct the distances of a sample.

    On vectors of unit length, bit b is the sign of sum_q W_bq x_bq.x over `num_anchors` sample vectors of its own
    (linear kernel, eq. 1). The objective is the sum over pairs of (d_ij - 1/B sum_b [h_b(x_i) != h_b(x_j)])^2, eq. (2),
    with d = ||x_i - x_j||^2 / 2 divided by its largest value in the sample: for non-negative vectors that is about one
    and changes nothing, for others the normalised Hamming distance, which ends at one, could not follow. One W_bq after
    the other is set to its exact optimum, all others held: the sample flips one by one as it grows.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code; may exceed `dim`.
        num_samples: Vectors whose distances are reconstructed, drawn; all if there are fewer.
        num_anchors: Sample vectors a bit is spanned by.
        num_sweeps: Times that every weight is set at most; it stops earlier when a sweep changes nothing.
        seed: Seed of sample, anchors and first weights.

    Raises:
        ValueError: If `num_samples`, `num_anchors` or `num_sweeps` is not positive.
    """

    largest_distance: Tensor

    def __init__(
        self,
        dim: int,
        num_bits: int,
        num_samples: int = 1000,
        num_anchors: int = 20,
        num_sweeps: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__(dim, num_bits)
        if min(num_samples, num_anchors, num_sweeps) < 1 or num_anchors > num_samples:
            raise ValueError(
                f"Expected some samples, at most as many anchors, and some sweeps; got {num_samples}, {num_anchors} "
                f"and {num_sweeps}."
            )
        self.num_samples = num_samples
        self.num_anchors = num_anchors
        self.num_sweeps = num_sweeps
        self.seed = seed
        self.register_buffer("largest_distance", torch.ones(()))

    @property
    def min_vectors(self) -> int:
        """One an anchor, and two to have a distance."""
        return max(2, self.num_anchors)

    @property
    def _advice_on_few(self) -> str:
        return f"Use fewer anchors than {self.num_anchors}, or fit on more vectors."

    def _margins(self, vectors: Float[Tensor, "item feature"]) -> Float[Tensor, "item bit"]:
        """Return the side of each hyperplane, of vectors of unit length."""
        return super()._margins(torch.nn.functional.normalize(vectors.to(self.weight), dim=1))

    def reconstruction_error(self, vectors: Float[Tensor, "item feature"]) -> float:
        """Return the mean over all pairs of `vectors` of the squared difference of both distances, eq. (2)."""
        unit = torch.nn.functional.normalize(vectors.to(self.weight), dim=1).double()
        signs = torch.where(self.project(vectors) > 0, 1.0, -1.0).double()
        hamming = (1 - signs @ signs.T / self.num_bits) / 2
        return float(((1 - unit @ unit.T) / float(self.largest_distance) - hamming).square().mean())

    def _fit(self, vectors: Float[Tensor, "item feature"]) -> None:
        host = to_host(vectors)
        generator = np.random.default_rng(self.seed)
        sample = host[generator.permutation(len(host))[: self.num_samples]]
        lengths = np.linalg.norm(sample, axis=1, keepdims=True)
        unit = np.divide(sample, lengths, out=np.zeros_like(sample), where=lengths > 0)
        kernel = unit @ unit.T
        largest = float((1 - kernel).max())
        if largest < _DISTANCE_FLOOR or not lengths.any():
            raise ValueError(ONE_VECTOR_MANY_TIMES)
        anchors = np.stack([generator.permutation(len(unit))[: self.num_anchors] for _ in range(self.num_bits)])
        weights = 1e-3 * generator.standard_normal(anchors.shape)
        _descend(kernel, (1 - kernel) / largest, anchors, weights, self.num_sweeps)
        self.largest_distance.fill_(largest)
        self._set_hyperplanes(np.einsum("baf,ba->fb", unit[anchors], weights), np.zeros(self.num_bits))


def _descend(
    kernel: np.ndarray, distances: np.ndarray, anchors: np.ndarray, weights: np.ndarray, num_sweeps: int
) -> None:
    """Improve `weights` [bit, anchor] in place."""
    num_bits = len(weights)
    margins = np.stack([kernel[:, chosen] @ weight for chosen, weight in zip(anchors, weights, strict=True)])
    signs = np.where(margins > 0, 1.0, -1.0)
    # With y the signs of one bit and the others fixed, the objective is a constant plus y'Ty / B, where
    # T = d - 1/2 + (sum of y_b y_b' over the other bits) / 2B.
    for _ in range(num_sweeps):
        before = signs.copy()
        for bit in range(num_bits):
            others = np.delete(signs, bit, axis=0)
            coupling = (distances - 0.5 + others.T @ others / (2 * num_bits)).astype(np.float32)
            for slot, anchor in enumerate(anchors[bit]):
                rest = margins[bit] - kernel[:, anchor] * weights[bit, slot]
                weights[bit, slot] = _best_weight(rest, kernel[:, anchor], coupling, weights[bit, slot])
                margins[bit] = rest + kernel[:, anchor] * weights[bit, slot]
            signs[bit] = np.where(margins[bit] > 0, 1.0, -1.0)
        if np.array_equal(before, signs):
            return


def _best_weight(rest: np.ndarray, slope: np.ndarray, coupling: np.ndarray, present: float) -> float:
    """Return the w that makes y'Ty least for y = sign(rest + slope w); the present one if none is better.

    As w grows from minus infinity, items flip in the order of -rest / slope. After the first j have flipped, y'Ty is
    that of the start minus four times the cut between the flipped and the others.
    """
    moving = np.flatnonzero(slope)
    flips_at = -rest[moving] / slope[moving]
    order = np.argsort(flips_at, kind="stable")
    flips_at, moving = flips_at[order], moving[order]
    start = np.where(rest > 0, 1.0, -1.0).astype(np.float32)
    start[moving] = -np.sign(slope[moving])
    rows = coupling @ start
    earlier = _sums_over_earlier(coupling, moving, start)
    steps = start[moving] * (rows[moving] - 2 * earlier) - coupling[moving, moving]
    cuts = np.concatenate([[0.0], np.cumsum(steps, dtype=np.float64)])
    # equal vectors flip together: there is no weight between them
    reachable = np.ones(len(cuts), bool)
    reachable[1:-1] = np.diff(flips_at) > _RELATIVE_GAP * np.abs(flips_at[1:])
    position = int(np.where(reachable, cuts, -np.inf).argmax())
    present_position = int(np.searchsorted(flips_at, present))
    if cuts[position] <= cuts[present_position] + 1e-6 * max(1.0, abs(cuts[present_position])):
        return present
    if position == 0:
        return float(flips_at[0] - 1)
    if position == len(flips_at):
        return float(flips_at[-1] + 1)
    return float((flips_at[position - 1] + flips_at[position]) / 2)


def _sums_over_earlier(coupling: np.ndarray, order: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return, for each position j of `order`, the sum over the items l before it of values_l coupling_lj.

    Block by block, since a whole reordered copy of the matrix would cost ten times as much.
    """
    sums = np.empty(len(order), coupling.dtype)
    before = np.zeros(len(coupling), coupling.dtype)
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        rows = coupling[block]
        sums[start : start + _BLOCK] = before[block] + values[block] @ np.triu(rows[:, block], 1)
        before += values[block] @ rows
    return sums
