"""Density-sensitive hashing (Jin, Li, Lin and Cai, 2014)."""

import numpy as np
from jaxtyping import Float
from sklearn.metrics import pairwise_distances_argmin
from sklearn.neighbors import kneighbors_graph
from torch import Tensor

from retrieval.codes.kmeans import kmeans_centroids
from retrieval.codes.linear import LinearHash, to_host


class DensitySensitiveHash(LinearHash):
    """Cut between neighbouring clusters, where few vectors lie.

    k-means makes round(`groups_per_bit` x `num_bits`) groups; the mid-perpendicular planes between each and its
    `num_neighbours` nearest, w = mu_1 - mu_2 and t = (mu_1 + mu_2) w / 2 of eq. (8), are ranked by how evenly they
    split the vectors, counted at their centroids (the entropy of eq. (12) orders as the ratio of the smaller to the
    larger side does), and the first `num_bits` are kept.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code; may exceed `dim`.
        groups_per_bit: alpha.
        num_iterations: k-means iterations; few suffice, and more make the groups denser but not the cuts better.
        num_neighbours: r.
        seed: Seed of k-means.

    Raises:
        ValueError: If `groups_per_bit`, `num_iterations` or `num_neighbours` is not positive.
    """

    def __init__(
        self,
        dim: int,
        num_bits: int,
        groups_per_bit: float = 1.5,
        num_iterations: int = 3,
        num_neighbours: int = 3,
        seed: int = 0,
    ) -> None:
        super().__init__(dim, num_bits)
        if min(groups_per_bit, num_iterations, num_neighbours) <= 0:
            raise ValueError(
                "groups_per_bit, num_iterations and num_neighbours must be positive; got "
                f"{groups_per_bit}, {num_iterations} and {num_neighbours}."
            )
        self.groups_per_bit = groups_per_bit
        self.num_iterations = num_iterations
        self.num_neighbours = num_neighbours
        self.seed = seed

    @property
    def num_groups(self) -> int:
        """Clusters; one more than neighbours at least."""
        return max(round(self.groups_per_bit * self.num_bits), self.num_neighbours + 1)

    @property
    def min_vectors(self) -> int:
        """One a group."""
        return self.num_groups

    def _fit(self, vectors: Float[Tensor, "item feature"]) -> None:
        host = to_host(vectors)
        means = kmeans_centroids(host, self.num_groups, self.num_iterations, self.seed)
        nearest = pairwise_distances_argmin(host, means)
        sizes = np.bincount(nearest, minlength=len(means))
        means, sizes = means[sizes > 0], sizes[sizes > 0]
        pairs = _neighbours(means, self.num_neighbours)
        weight = (means[pairs[:, 0]] - means[pairs[:, 1]]).T
        threshold = ((means[pairs[:, 0]] + means[pairs[:, 1]]) / 2 * weight.T).sum(axis=1)
        if len(pairs) < self.num_bits:
            raise ValueError(
                f"Expected at least {self.num_bits} pairs of neighbouring groups; the vectors form {len(means)} groups "
                f"with {len(pairs)} pairs. Raise groups_per_bit or num_neighbours, or use fewer bits."
            )
        above = sizes @ (means @ weight > threshold)
        smaller = np.minimum(above, sizes.sum() - above)
        chosen = np.argsort(-smaller, kind="stable")[: self.num_bits]
        self._set_hyperplanes(weight[:, chosen], threshold[chosen])


def _neighbours(means: np.ndarray, num_neighbours: int) -> np.ndarray:
    """Return the pairs [pair, 2] of which one is among the other's nearest, each pair once."""
    graph = kneighbors_graph(means, min(num_neighbours, len(means) - 1))
    return np.argwhere(np.triu((graph + graph.T).toarray() > 0))
