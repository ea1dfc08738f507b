"""Product quantization (Jegou, Douze and Schmid, 2011), with codebooks that can be refitted while a model learns."""

import math

import faiss
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.codes.kmeans import new_kmeans
from retrieval.codes.quantizer import Quantizer

# Under this many samples a codeword, faiss warns that k-means is poorly determined; reported, not enforced.
SAMPLES_PER_CODEWORD_FLOOR = 39


class ProductQuantizer(Quantizer):
    """Cut a vector into `num_books` slices and replace each by the nearest of `num_codewords` codewords.

    The codebooks are zero until fitted. A dimension that `num_books` does not divide is filled up with zeros, which
    cost nothing and never differ.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code, B = M log2 K*.
        num_codewords: Codewords a book, K*; a power of two.
        num_iterations: k-means iterations of a first fit.
        num_refit_iterations: k-means iterations of a fit that starts from the codebooks there are.
        seed: Seed of k-means' first centroids.

    Raises:
        ValueError: If a size or a number of iterations is not positive, there are more books than dimensions,
            `num_codewords` is not a power of two, or `num_bits` not a multiple of its logarithm.
    """

    def __init__(
        self,
        dim: int,
        num_bits: int,
        num_codewords: int = 256,
        num_iterations: int = 25,
        num_refit_iterations: int = 5,
        seed: int = 0,
    ) -> None:
        super().__init__(dim, num_bits, num_codewords)
        if self.num_books > dim:
            raise ValueError(
                f"A book needs at least one dimension; got {self.num_books} books ({num_bits} bits) for {dim} "
                "dimensions. Use fewer bits, or more codewords a book."
            )
        if min(num_iterations, num_refit_iterations) < 1:
            raise ValueError(
                f"k-means needs at least one iteration; got {num_iterations} and {num_refit_iterations} for a refit."
            )
        self.num_iterations = num_iterations
        self.num_refit_iterations = num_refit_iterations
        self.seed = seed
        self.sub_dim = math.ceil(dim / self.num_books)
        self._register_codebooks(torch.zeros(self.num_books, num_codewords, self.sub_dim))

    def _register_codebooks(self, codebooks: Float[Tensor, "book word sub"]) -> None:
        self.register_buffer("codebooks", codebooks)

    def _fit(self, vectors: Float[Tensor, "item feature"]) -> None:
        """Fit each codebook by k-means, starting from the present codebooks if there are any.

        Codewords that end up without a vector are placed on the vectors worst represented, so that distortion
        falls and none is wasted. A refit never raises the distortion on the vectors given.
        """
        # k-means runs where faiss does, on the host; codebooks return to the device they were on.
        slices = self.cut(vectors).float().cpu().transpose(0, 1).contiguous().numpy()
        start = self.codebooks.detach().float().cpu().numpy() if self.is_fitted else [None] * self.num_books
        fitted = np.stack([self._fit_book(book, first) for book, first in zip(slices, start, strict=True)])
        with torch.no_grad():
            self.codebooks.copy_(torch.from_numpy(fitted))

    def encode(self, vectors: Float[Tensor, "item feature"]) -> Int[Tensor, "item book"]:
        """Assign each slice to its nearest codeword; of equally near ones, to the first.

        Raises:
            RuntimeError: If the codebooks are not fitted.
            ValueError: If the vectors have another size than `dim`, or one is not finite.
        """
        self.check_is_fitted()
        self.check_vectors(vectors)
        return self.lookup_distances(vectors).argmin(dim=2)

    def decode(self, codes: Int[Tensor, "item book"]) -> Float[Tensor, "item feature"]:
        """Concatenate the codewords that a code names, C h of eq. (11)."""
        return self._concatenate(self._codewords(codes))

    def lookup_distances(self, queries: Float[Tensor, "query feature"]) -> Float[Tensor, "query book word"]:
        """Tabulate squared distances between query slices and codewords.

        Summing one entry a book gives the asymmetric quantizer distance of eq. (13),
        ||e - C h||^2 = sum_m ||e_m - C_m h_m||^2.

        Returns:
            Squared distances, never negative; smaller is closer.

        Raises:
            RuntimeError: If the codebooks are not fitted.
        """
        self.check_is_fitted()
        slices = self.cut(queries)
        # ||x||^2 - 2 x.c + ||c||^2 as one batched product; the clamp undoes rounding below zero.
        cross = torch.einsum("qbs,bws->qbw", slices, self.codebooks)
        squares = slices.square().sum(dim=2, keepdim=True) + self.codebooks.square().sum(dim=2)
        return (squares - 2 * cross).clamp(min=0)

    def cut(self, vectors: Float[Tensor, "item feature"]) -> Float[Tensor, "item book sub"]:
        """Cut vectors into slices in the codebooks' precision, filling the last up with zeros.

        Raises:
            ValueError: If the vectors have another size than `dim`.
        """
        if vectors.shape[1] != self.dim:
            raise ValueError(f"Expected vectors of {self.dim} dimensions; got {vectors.shape[1]}.")
        filled = torch.nn.functional.pad(vectors.to(self.codebooks), (0, self.num_books * self.sub_dim - self.dim))
        return filled.reshape(len(filled), self.num_books, self.sub_dim)

    def _codewords(self, codes: Int[Tensor, "item book"]) -> Float[Tensor, "item book sub"]:
        return self.codebooks[torch.arange(self.num_books, device=codes.device), codes]

    def _concatenate(self, slices: Float[Tensor, "item book sub"]) -> Float[Tensor, "item feature"]:
        return slices.flatten(1)[:, : self.dim]

    def _fit_book(self, vectors: np.ndarray, start: np.ndarray | None) -> np.ndarray:
        num_iterations = self.num_iterations if start is None else self.num_refit_iterations
        kmeans = new_kmeans(vectors, self.num_codewords, num_iterations, self.seed)
        kmeans.train(vectors, init_centroids=start)
        candidate, distortion = _repair_empty(np.asarray(kmeans.centroids), vectors)
        # faiss's first objective is that of the start; splitting an empty cluster can end above it
        return start if start is not None and distortion > float(np.asarray(kmeans.obj)[0]) else candidate


def _nearest(codebook: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    index = faiss.IndexFlatL2(codebook.shape[1])
    index.add(codebook)
    words = index.search(vectors, 1)[1][:, 0]
    # faiss expands the square, which leaves a vector that lies on its codeword a distance off zero
    return np.square(vectors - codebook[words]).sum(axis=1), words


def _repair_empty(codebook: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Move codewords that no vector is nearest to onto the vectors farthest from their codeword.

    Returns:
        The codebook, and the sum of squared distances to it.
    """
    repaired = codebook.copy()
    distances = np.empty(0)
    for _ in range(len(codebook)):  # a moved codeword may take the only vector of another
        distances, words = _nearest(repaired, vectors)
        empty = np.flatnonzero(np.bincount(words, minlength=len(codebook)) == 0)
        if len(empty) == 0 or distances.max() == 0:  # fewer distinct vectors than codewords: the rest stays empty
            break
        for word in empty:
            repaired[word] = vectors[distances.argmax()]
            distances = np.minimum(distances, np.square(vectors - repaired[word]).sum(axis=1))
    return repaired, float(distances.sum(dtype=np.float64))
