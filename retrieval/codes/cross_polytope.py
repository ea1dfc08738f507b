"""Cross-polytope locality-sensitive hashing.

Andoni, Indyk, Laarhoven, Razenshteyn and Schmidt, Practical and optimal LSH for angular distance (2015): rotate a
vector at random and take the vertex of the cross-polytope, that is the signed axis, that is nearest to it.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retrieval.codes.base import BucketHash
from retrieval.codes.best_first import cheapest_combinations
from retrieval.codes.buckets import bucket_bits, bucket_codes
from retrieval.codes.linear import to_host
from retrieval.codes.pca_random_rotation import random_rotation


class CrossPolytopeHash(BucketHash):
    """Concatenate the signed axes that several random rotations bring a vector nearest to.

    A polytope of n axes has 2 n vertices, which log2(2 n) bits number: the axis, then whether it is the negative side.
    As in FALCONN (Razenshteyn and Schmidt), the authors' library, vectors are filled up with zeros to a power of two,
    polytopes span all axes, and the last has as few as complete `num_bits`. FALCONN's rotations are made of random
    signs and Hadamard transforms, which pay off in many dimensions; here they are uniformly random matrices, no slower
    as one product at those of a fingerprint.

    Bits of one axis have no distance between them.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code.
        num_axes: Axes of a polytope, a power of two; None takes all, `dim` rounded up. Fewer make more polytopes of
            fewer vertices.
        center: Whether the mean of the vectors is subtracted, as FALCONN's users do.
        seed: Seed of the rotations.

    Raises:
        ValueError: If `num_axes` is no power of two, or more than `dim` rounded up to one.
    """

    mean: Tensor
    rotation: Tensor

    def __init__(
        self, dim: int, num_bits: int, num_axes: int | None = None, center: bool = True, seed: int = 0
    ) -> None:
        super().__init__(dim, num_bits)
        all_axes = 1 << (dim - 1).bit_length()
        if num_axes is not None and (not 1 <= num_axes <= all_axes or num_axes & (num_axes - 1)):
            raise ValueError(f"num_axes must be a power of two up to {all_axes}; got {num_axes}. Try {all_axes}.")
        self.num_axes = num_axes
        self.center = center
        self.seed = seed
        bits_each = (num_axes or all_axes).bit_length()
        whole, rest = divmod(num_bits, bits_each)
        self._axes = [1 << (bits - 1) for bits in [bits_each] * whole + [rest] * (rest > 0)]
        self._all_axes = all_axes
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("rotation", torch.zeros(dim, sum(self._axes)))

    @property
    def min_vectors(self) -> int:
        """One: of the vectors only the mean is used."""
        return 1

    def encode(self, vectors: Float[Tensor, "item feature"]) -> Bool[Tensor, "item bit"]:
        """Number the nearest vertex of each polytope in bits, the least significant first.

        Raises:
            RuntimeError: If it is not fitted.
            ValueError: If the vectors have another size than `dim`, or one is not finite.
        """
        vertices = [sides.argmax(dim=1) for sides in self._sides(vectors)]
        numbers = [bucket_bits(vertex, axes.bit_length()) for vertex, axes in zip(vertices, self._axes, strict=True)]
        return torch.cat(numbers, dim=1)

    def probe(self, vectors: Float[Tensor, "query feature"], num_probes: int) -> Int[Tensor, "query probe"]:
        """Return the buckets that a query's neighbours are most likely in, best first.

        A vertex costs the difference of its side's coordinate to the largest, as in FALCONN; costs add up over
        polytopes.

        Args:
            vectors: Queries.
            num_probes: Buckets a query; at most 2^K are there.

        Returns:
            Numbers as `bucket_codes` reads them from codes; the first is the query's own.

        Raises:
            RuntimeError: If it is not fitted.
            ValueError: If the vectors have another size than `dim`, one is not finite, there is no probe, or a code has
                more than 62 bits.
        """
        return cheapest_combinations(self._vertex_costs(vectors), num_probes)

    def costs(
        self, vectors: Float[Tensor, "query feature"], codes: Bool[Tensor, "item bit"]
    ) -> Float[Tensor, "query item"]:
        """Return the summed costs of the vertices that codes name.

        Raises:
            RuntimeError: If it is not fitted.
            ValueError: If the vectors have another size than `dim`, or one is not finite.
        """
        parts = codes.split([axes.bit_length() for axes in self._axes], dim=1)
        total = vectors.new_zeros(len(vectors), len(codes), dtype=self.mean.dtype, device=self.mean.device)
        for costs, part in zip(self._vertex_costs(vectors), parts, strict=True):
            total += costs[:, bucket_codes(part)]
        return total

    def _vertex_costs(self, vectors: Float[Tensor, "item feature"]) -> list[Float[Tensor, "item _"]]:
        return [sides.max(dim=1, keepdim=True).values - sides for sides in self._sides(vectors)]

    def _sides(self, vectors: Float[Tensor, "item feature"]) -> list[Float[Tensor, "item _"]]:
        """Return each polytope's coordinates, positive sides before the negative."""
        self.check_is_fitted()
        self.check_vectors(vectors)
        rotated = (vectors.to(self.mean) - self.mean) @ self.rotation
        return [torch.cat([part, -part], dim=1) for part in rotated.split(self._axes, dim=1)]

    def _fit(self, vectors: Float[Tensor, "item feature"]) -> None:
        seeds = np.random.SeedSequence(self.seed).generate_state(len(self._axes))
        # rows of dimensions that are filled up with zeros have no part in the product
        rotations = [
            random_rotation(self._all_axes, int(seed))[: self.dim, :axes]
            for seed, axes in zip(seeds, self._axes, strict=True)
        ]
        self.rotation.copy_(torch.from_numpy(np.concatenate(rotations, axis=1)))
        if self.center:
            self.mean.copy_(torch.from_numpy(to_host(vectors).mean(axis=0)))
