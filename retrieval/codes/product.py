"""Product quantization (Jegou, Douze and Schmid, 2011), with codebooks that can be refitted while a model learns."""

import math
from dataclasses import dataclass

import faiss
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

# Under this many samples a codeword, faiss warns that k-means is poorly determined; reported, not enforced.
SAMPLES_PER_CODEWORD_FLOOR = 39


@dataclass(frozen=True)
class CodebookFit:
    """How well codebooks fit the vectors they were fitted on.

    Attributes:
        distortion: Mean squared distance of a vector to its decoding, eq. (7).
        used_fraction: Share of codewords that at least one vector is assigned to.
        perplexity: Exponential of the entropy of the codeword frequencies, mean over books; at most `num_codewords`.
        samples_per_codeword: Vectors fitted on, divided by codewords of a book.
    """

    distortion: float
    used_fraction: float
    perplexity: float
    samples_per_codeword: float


class ProductQuantizer(nn.Module):
    """Cut a vector into `num_books` slices and replace each by the nearest of `num_codewords` codewords.

    The codebooks are buffers of fixed shape, so a checkpoint restores them; they are zero until fitted. A
    dimension that `num_books` does not divide is filled up with zeros, which cost nothing and never differ.

    Args:
        dim: Size of the vectors.
        num_books: Number of slices M.
        num_codewords: Codewords a book, K*; a power of two.
        num_iterations: k-means iterations of a first fit.
        num_refit_iterations: k-means iterations of a fit that starts from the codebooks there are.
        seed: Seed of k-means' first centroids.

    Raises:
        ValueError: If a size or a number of iterations is not positive, or `num_codewords` is not a power of two.
    """

    codebooks: Tensor
    _is_fitted: Tensor

    def __init__(
        self,
        dim: int,
        num_books: int,
        num_codewords: int = 256,
        num_iterations: int = 25,
        num_refit_iterations: int = 5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(dim, num_books) < 1 or num_books > dim:
            raise ValueError(f"num_books must be between 1 and dim; got {num_books} books for {dim} dimensions.")
        if num_codewords < 2 or num_codewords & (num_codewords - 1):
            raise ValueError(f"num_codewords must be a power of two; got {num_codewords}. Try 64 or 256.")
        if min(num_iterations, num_refit_iterations) < 1:
            raise ValueError(
                f"k-means needs at least one iteration; got {num_iterations} and {num_refit_iterations} for a refit."
            )
        self.dim = dim
        self.num_books = num_books
        self.num_codewords = num_codewords
        self.num_iterations = num_iterations
        self.num_refit_iterations = num_refit_iterations
        self.seed = seed
        self.sub_dim = math.ceil(dim / num_books)
        self._register_codebooks(torch.zeros(num_books, num_codewords, self.sub_dim))
        self.register_buffer("_is_fitted", torch.tensor(False))

    def _register_codebooks(self, codebooks: Float[Tensor, "book word sub"]) -> None:
        self.register_buffer("codebooks", codebooks)

    @property
    def num_bits(self) -> int:
        """Length of a code, B = M log2 K*."""
        return self.num_books * (self.num_codewords.bit_length() - 1)

    @property
    def is_fitted(self) -> bool:
        """Whether the codebooks hold anything."""
        return bool(self._is_fitted)

    def fit(self, vectors: Float[Tensor, "item feature"]) -> CodebookFit:
        """Fit each codebook by k-means, starting from the present codebooks if there are any.

        Codewords that end up without a vector are placed on the vectors worst represented, so that distortion
        falls and none is wasted. A refit never raises the distortion on the vectors given.

        Args:
            vectors: Training vectors, at least one a codeword.

        Raises:
            ValueError: If there are fewer vectors than codewords, or one is not finite.
        """
        self._check_training_vectors(vectors)
        # k-means runs where faiss does, on the host; codebooks return to the device they were on.
        slices = self.cut(vectors.detach().float()).cpu().transpose(0, 1).contiguous().numpy()
        start = self.codebooks.detach().float().cpu().numpy() if self.is_fitted else [None] * self.num_books
        fitted = np.stack([self._fit_book(book, first) for book, first in zip(slices, start, strict=True)])
        with torch.no_grad():
            self.codebooks.copy_(torch.from_numpy(fitted))
        self._is_fitted.fill_(True)
        return self.describe_fit(vectors)

    def describe_fit(self, vectors: Float[Tensor, "item feature"]) -> CodebookFit:
        """Measure distortion and codeword usage on `vectors`.

        Raises:
            RuntimeError: If the codebooks are not fitted.
        """
        vectors = vectors.detach().to(self.codebooks.dtype)
        codes = self.encode(vectors)
        counts = torch.stack([torch.bincount(book, minlength=self.num_codewords) for book in codes.T]).double()
        frequency = counts / counts.sum(dim=1, keepdim=True)
        entropy = torch.special.entr(frequency).sum(dim=1)
        return CodebookFit(
            distortion=float((vectors - self.decode(codes).detach()).square().sum(dim=1).mean()),
            used_fraction=float((counts > 0).double().mean()),
            perplexity=float(entropy.exp().mean()),
            samples_per_codeword=len(vectors) / self.num_codewords,
        )

    def encode(self, vectors: Float[Tensor, "item feature"]) -> Int[Tensor, "item book"]:
        """Assign each slice to its nearest codeword; of equally near ones, to the first.

        Raises:
            RuntimeError: If the codebooks are not fitted.
        """
        return self.lookup_distances(vectors).argmin(dim=2)

    def decode(self, codes: Int[Tensor, "item book"]) -> Float[Tensor, "item feature"]:
        """Concatenate the codewords that a code names, C h of eq. (11)."""
        return self._concatenate(self.codebooks[torch.arange(self.num_books, device=codes.device), codes])

    def lookup_distances(self, queries: Float[Tensor, "query feature"]) -> Float[Tensor, "query book word"]:
        """Tabulate squared distances between query slices and codewords.

        Summing one entry a book gives the asymmetric quantizer distance of eq. (13),
        ||e - C h||^2 = sum_m ||e_m - C_m h_m||^2.

        Returns:
            Squared distances, never negative; smaller is closer.

        Raises:
            RuntimeError: If the codebooks are not fitted.
        """
        if not self.is_fitted:
            raise RuntimeError("The codebooks are not fitted; call fit(vectors), or load a checkpoint that has them.")
        slices = self.cut(queries)
        # ||x||^2 - 2 x.c + ||c||^2 as one batched product; the clamp undoes rounding below zero.
        cross = torch.einsum("qbs,bws->qbw", slices, self.codebooks)
        squares = slices.square().sum(dim=2, keepdim=True) + self.codebooks.square().sum(dim=2)
        return (squares - 2 * cross).clamp(min=0)

    def cut(self, vectors: Float[Tensor, "item feature"]) -> Float[Tensor, "item book sub"]:
        """Cut vectors into slices, filling the last up with zeros.

        Raises:
            ValueError: If the vectors have another size than `dim`.
        """
        if vectors.shape[1] != self.dim:
            raise ValueError(f"Expected vectors of {self.dim} dimensions; got {vectors.shape[1]}.")
        filled = torch.nn.functional.pad(vectors, (0, self.num_books * self.sub_dim - self.dim))
        return filled.reshape(len(filled), self.num_books, self.sub_dim)

    def _concatenate(self, slices: Float[Tensor, "item book sub"]) -> Float[Tensor, "item feature"]:
        return slices.flatten(1)[:, : self.dim]

    def _check_training_vectors(self, vectors: Tensor) -> None:
        if len(vectors) < self.num_codewords:
            raise ValueError(
                f"k-means needs at least one vector a codeword; got {len(vectors)} vectors for {self.num_codewords} "
                "codewords. Use fewer codewords or fit on more vectors."
            )
        if not bool(torch.isfinite(vectors).all()):
            row = int((~torch.isfinite(vectors)).any(dim=1).nonzero()[0])
            raise ValueError(
                f"Expected finite vectors; row {row} has NaN or infinity. Look at its clip and the front end."
            )

    def _fit_book(self, vectors: np.ndarray, start: np.ndarray | None) -> np.ndarray:
        kmeans = faiss.Kmeans(
            self.sub_dim,
            self.num_codewords,
            niter=self.num_iterations if start is None else self.num_refit_iterations,
            seed=self.seed + 1,  # faiss takes 0 for "as you like"
            min_points_per_centroid=1,
            max_points_per_centroid=max(1, len(vectors)),
        )
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
