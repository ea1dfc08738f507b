"""Hashing with anchor graphs (Liu, Wang, Kumar and Chang, 2011)."""

from typing import Literal

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor

from retrieval.codes.base import BinaryHash
from retrieval.codes.kmeans import kmeans_centroids
from retrieval.codes.linear import to_host

# Eigenvalues of the anchor graph that are used; the upper end is the authors'. With it bits don't go to parts of the
# graph that are cut off from the rest, which on real embeddings costs half of the precision at few bits.
_EIGENVALUE_RANGE = (1e-8, 1 - 1e-3)


class AnchorGraphHash(BinaryHash):
    """Threshold the smoothest eigenvectors of a neighbourhood graph that runs through anchors.

    Z holds each vector's affinities exp(-d^2 / sigma^2) to its `num_nearest` anchors, rows summing to one (eq. 3). The
    graph is Z L^-1 Z', L = diag(1'Z); its eigenvectors come from the small matrix M = L^-1/2 Z'Z L^-1/2, and extend to
    any vector as z(x) W with W = L^-1/2 V S^-1/2 (eqs. 5, 7). Eigenvectors of eigenvalue one, which are constant over
    each connected part of the graph, are left out as in the authors' code. One layer takes the signs of `num_bits`
    eigenvectors. Two layers (section 4) take half as many, and cut each side of the sign once more, where that cuts the
    graph least while halving the vectors.

    sigma is the mean distance to the farthest of a vector's nearest anchors.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code; fewer than `num_anchors`.
        num_anchors: k-means centroids, 300 in the paper.
        num_nearest: Anchors a vector is tied to, s.
        num_layers: 1 or 2.
        num_iterations: k-means iterations.
        seed: Seed of k-means.

    Raises:
        ValueError: If `num_bits` is not below `num_anchors`, or another argument is out of range.
    """

    anchors: Tensor
    bandwidth: Tensor
    weight: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self,
        dim: int,
        num_bits: int,
        num_anchors: int = 300,
        num_nearest: int = 2,
        num_layers: Literal[1, 2] = 1,
        num_iterations: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__(dim, num_bits)
        if num_layers not in (1, 2):
            raise ValueError(f"num_layers must be 1 or 2; got {num_layers}.")
        if not 1 < num_nearest <= num_anchors or num_iterations < 1:
            raise ValueError(
                f"Expected 2 to num_anchors nearest anchors and some iterations; got {num_nearest} of {num_anchors} "
                f"and {num_iterations}."
            )
        num_directions = -(-num_bits // num_layers)
        if num_directions >= num_anchors:
            raise ValueError(
                f"{num_directions} eigenvectors need more anchors than that; got {num_anchors}. Use more anchors or "
                "fewer bits."
            )
        self.num_anchors = num_anchors
        self.num_nearest = num_nearest
        self.num_layers = num_layers
        self.num_iterations = num_iterations
        self.seed = seed
        self.register_buffer("anchors", torch.zeros(num_anchors, dim))
        self.register_buffer("bandwidth", torch.ones(()))
        self.register_buffer("weight", torch.zeros(num_anchors, num_directions))
        self.register_buffer("low", torch.zeros(num_directions))
        self.register_buffer("high", torch.zeros(num_directions))

    @property
    def min_vectors(self) -> int:
        """One an anchor."""
        return self.num_anchors

    @property
    def _advice_on_few(self) -> str:
        return f"Use fewer anchors than {self.num_anchors}, or fit on more vectors."

    def _margins(self, vectors: Float[Tensor, "item feature"]) -> Float[Tensor, "item bit"]:
        """Return the eigenvectors' values; with two layers, each followed by its second cut."""
        smooth = _affinities(vectors.to(self.anchors), self.anchors, self.bandwidth, self.num_nearest) @ self.weight
        if self.num_layers == 1:
            return smooth
        second = torch.where(smooth > 0, smooth - self.high, self.low - smooth)
        return torch.stack([smooth, second], dim=2).flatten(1)[:, : self.num_bits]

    def _fit(self, vectors: Float[Tensor, "item feature"]) -> None:
        host = to_host(vectors)
        centroids = kmeans_centroids(host, self.num_anchors, self.num_iterations, self.seed)
        anchors, on_device = torch.from_numpy(centroids).to(self.anchors), vectors.to(self.anchors)
        bandwidth = torch.cdist(on_device, anchors).topk(self.num_nearest, dim=1, largest=False).values[:, -1].mean()
        if float(bandwidth) == 0:
            raise ValueError(f"Expected at least {self.num_anchors} different vectors; found fewer. Use fewer anchors.")
        affinities = to_host(_affinities(on_device, anchors, bandwidth, self.num_nearest))
        degrees = affinities.sum(axis=0)
        # an anchor that no vector is near has no part in the graph
        inverse_root = np.divide(1, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
        weight = self._eigenvector_weights(affinities, inverse_root)
        # nothing is refused from here on
        self.anchors.copy_(anchors)
        self.bandwidth.copy_(bandwidth)
        self.weight.copy_(torch.from_numpy(weight))
        if self.num_layers == 2:
            smooth = affinities @ weight
            cuts = [_second_cuts(column, affinities * inverse_root) for column in smooth.T]
            self.high.copy_(torch.tensor([high for high, _ in cuts], dtype=torch.float64))
            self.low.copy_(torch.tensor([low for _, low in cuts], dtype=torch.float64))

    def _eigenvector_weights(self, affinities: np.ndarray, inverse_root: np.ndarray) -> np.ndarray:
        """Return W, [anchor, direction]."""
        values, vectors = scipy.linalg.eigh(inverse_root[:, None] * (affinities.T @ affinities) * inverse_root)
        num_directions = self.weight.shape[1]
        usable = np.flatnonzero((values > _EIGENVALUE_RANGE[0]) & (values < _EIGENVALUE_RANGE[1]))
        if len(usable) < num_directions:
            raise ValueError(
                f"Expected {num_directions} eigenvectors of the anchor graph, found {len(usable)}: the vectors are too "
                "alike, or fall into parts that share no anchor. Use fewer bits, more anchors or more nearest anchors."
            )
        largest = usable[::-1][:num_directions]
        values, vectors = values[largest], vectors[:, largest]
        vectors *= np.where(vectors[np.abs(vectors).argmax(axis=0), range(num_directions)] < 0, -1, 1)
        return np.asarray(np.sqrt(len(affinities)) * inverse_root[:, None] * vectors / np.sqrt(values))


def _affinities(
    vectors: Float[Tensor, "item feature"],
    anchors: Float[Tensor, "anchor feature"],
    bandwidth: Float[Tensor, ""],
    num_nearest: int,
) -> Float[Tensor, "item anchor"]:
    """Return Z of eq. (3), zero but for each item's nearest anchors."""
    nearest = torch.cdist(vectors, anchors).topk(num_nearest, dim=1, largest=False)
    affinities = torch.softmax(-(nearest.values / bandwidth).square(), dim=1)
    return vectors.new_zeros(len(vectors), len(anchors)).scatter_(1, nearest.indices, affinities)


def _second_cuts(smooth: np.ndarray, root_affinities: np.ndarray) -> tuple[float, float]:
    """Find the thresholds (b+, b-) of the second layer for one eigenvector.

    With v = y - b+ where y > 0 and v = b- - y elsewhere, the cut v'(I - Z L^-1 Z')v is least under 1'v = 0, eqs. (9)
    and (10): a quadratic in two unknowns with one linear constraint, solved by its stationarity conditions.

    Args:
        smooth: y, [item].
        root_affinities: Z L^-1/2, [item, anchor].
    """
    above = smooth > 0
    start = np.where(above, smooth, -smooth)
    moves = np.stack([-above.astype(float), (~above).astype(float)], axis=1)

    def graph(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return np.asarray(left.T @ right - (root_affinities.T @ left).T @ (root_affinities.T @ right))

    balance = moves.sum(axis=0)
    system = np.zeros((3, 3))
    system[:2, :2] = graph(moves, moves)
    system[:2, 2] = system[2, :2] = balance
    right = -np.append(graph(moves, start), start.sum())
    high, low, _ = np.linalg.lstsq(system, right, rcond=None)[0]
    return float(high), float(low)
