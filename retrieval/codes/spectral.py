"""Spectral hashing (Weiss, Torralba and Fergus, 2008)."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from retrieval.codes.base import BinaryHash
from retrieval.codes.linear import principal_directions, to_host


class SpectralHash(BinaryHash):
    """Threshold the smoothest eigenfunctions of a box around the principal components.

    A bit is the sign of sin(pi/2 + k pi / (b - a) (x - a)) along one principal direction with range [a, b], section 4;
    the `num_bits` pairs of direction and k with the smallest eigenvalue, that is with the lowest frequency
    k pi / (b - a), are taken. Ranges are from the smallest to the largest value, as in the authors' code.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code; may exceed `dim`, since a direction can carry several frequencies.
    """

    weight: Tensor
    low: Tensor
    frequency: Tensor

    def __init__(self, dim: int, num_bits: int) -> None:
        super().__init__(dim, num_bits)
        self.register_buffer("weight", torch.zeros(dim, num_bits))
        self.register_buffer("low", torch.zeros(num_bits))
        self.register_buffer("frequency", torch.zeros(num_bits))

    @property
    def min_vectors(self) -> int:
        """Two, so that there is a range."""
        return 2

    def _margins(self, vectors: Float[Tensor, "item feature"]) -> Float[Tensor, "item bit"]:
        """Evaluate each bit's eigenfunction, in [-1, 1]."""
        return torch.cos((vectors.to(self.weight) @ self.weight - self.low) * self.frequency)

    def _fit(self, vectors: Float[Tensor, "item feature"]) -> None:
        host = to_host(vectors)
        directions = principal_directions(host, min(self.num_bits, self.dim)).directions
        components = host @ directions
        low = components.min(axis=0)
        base = math.pi / (components.max(axis=0) - low)
        # num_bits multiples of every direction's lowest frequency hold the num_bits lowest of all
        frequencies = base[:, None] * np.arange(1, self.num_bits + 1)
        chosen = np.argsort(frequencies, axis=None, kind="stable")[: self.num_bits]
        direction = chosen // self.num_bits
        self.weight.copy_(torch.from_numpy(directions[:, direction]))
        self.low.copy_(torch.from_numpy(low[direction]))
        self.frequency.copy_(torch.from_numpy(frequencies.ravel()[chosen]))
