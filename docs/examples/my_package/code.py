"""A code of one's own: the features that vary most, cut at their medians."""

import torch
from jaxtyping import Float
from torch import Tensor

from retrieval.codes import BinaryHash


class MedianCutHash(BinaryHash):
    """One bit a feature: whether it is above its median.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code; at most `dim`.

    Raises:
        ValueError: If `num_bits` exceeds `dim`.
    """

    chosen: Tensor
    median: Tensor

    def __init__(self, dim: int, num_bits: int) -> None:
        super().__init__(dim, num_bits)
        if num_bits > dim:
            raise ValueError(f"One bit a feature: num_bits can't exceed dim; got {num_bits} and {dim}. Try {dim} bits.")
        self.register_buffer("chosen", torch.zeros(num_bits, dtype=torch.int64))
        self.register_buffer("median", torch.zeros(num_bits))

    @property
    def min_vectors(self) -> int:
        """Two, so that they can differ."""
        return 2

    def _fit(self, vectors: Float[Tensor, "item feature"]) -> None:
        self.chosen.copy_(vectors.var(dim=0).topk(self.num_bits).indices)
        self.median.copy_(vectors[:, self.chosen.to(vectors.device)].median(dim=0).values)

    def _margins(self, vectors: Float[Tensor, "item feature"]) -> Float[Tensor, "item bit"]:
        return vectors.to(self.median)[:, self.chosen] - self.median
