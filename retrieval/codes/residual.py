"""Residual quantization (Chen, Guan and Wang, 2010), with a beam (Babenko and Lempitsky, 2014; faiss)."""

import faiss
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.codes.quantizer import Quantizer


class ResidualQuantizer(Quantizer):
    """Approximate a vector by a sum of codewords, each book fitted to what the beams before it leave over.

    Fitting and encoding are faiss's, on the host; decoding and distances are on the coder's device.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code, B = M log2 K*.
        num_codewords: Codewords a book, K*; a power of two.
        beam_size: Partial codes that encoding keeps; 1 is greedy.
        num_iterations: k-means iterations of a book.
        seed: Seed of k-means.

    Raises:
        ValueError: If `num_codewords` is not a power of two, `num_bits` not a multiple of its logarithm, or `beam_size`
            or `num_iterations` not positive.
    """

    def __init__(
        self,
        dim: int,
        num_bits: int,
        num_codewords: int = 256,
        beam_size: int = 5,
        num_iterations: int = 25,
        seed: int = 0,
    ) -> None:
        super().__init__(dim, num_bits, num_codewords)
        if min(beam_size, num_iterations) < 1:
            raise ValueError(f"beam_size and num_iterations must be positive; got {beam_size} and {num_iterations}.")
        self.beam_size = beam_size
        self.num_iterations = num_iterations
        self.seed = seed
        self.register_buffer("codebooks", torch.zeros(self.num_books, num_codewords, dim))

    def encode(self, vectors: Float[Tensor, "item feature"]) -> Int[Tensor, "item book"]:
        """Search the best sum of codewords with a beam.

        Raises:
            RuntimeError: If the codebooks are not fitted.
            ValueError: If the vectors have another size than `dim`.
        """
        self.check_is_fitted()
        self.check_vectors(vectors)
        packed = self._faiss_quantizer().compute_codes(np.ascontiguousarray(vectors.detach().cpu().float().numpy()))
        words = faiss.unpack_bitstrings(packed, self.num_books, self.bits_per_book)
        return torch.from_numpy(words.astype(np.int64)).to(self.codebooks.device)

    def decode(self, codes: Int[Tensor, "item book"]) -> Float[Tensor, "item feature"]:
        """Add up the codewords that a code names."""
        return self.codebooks[torch.arange(self.num_books, device=codes.device), codes].sum(dim=1)

    def lookup_distances(self, queries: Float[Tensor, "query feature"]) -> Float[Tensor, "query book word"]:
        """Tabulate ||q||^2 / M - 2 q.c; with a code's `offsets`, the sum over books is ||q - decode(code)||^2.

        Raises:
            RuntimeError: If the codebooks are not fitted.
            ValueError: If the vectors have another size than `dim`.
        """
        self.check_is_fitted()
        self.check_vectors(queries)
        queries = queries.to(self.codebooks)
        share = queries.square().sum(dim=1)[:, None, None] / self.num_books
        return share - 2 * torch.einsum("qf,bwf->qbw", queries, self.codebooks)

    def offsets(self, codes: Int[Tensor, "item book"]) -> Float[Tensor, " item"]:
        """Return ||decode(code)||^2: books are not orthogonal, so no sum over books gives it."""
        return self.decode(codes).square().sum(dim=1)

    def _fit(self, vectors: Float[Tensor, "item feature"]) -> None:
        quantizer = self._new_faiss_quantizer()
        quantizer.cp.niter = self.num_iterations
        quantizer.cp.seed = self.seed + 1
        quantizer.cp.min_points_per_centroid = 1
        quantizer.train(np.ascontiguousarray(vectors.cpu().float().numpy()))
        flat = faiss.vector_to_array(quantizer.codebooks)
        self.codebooks.copy_(torch.from_numpy(flat).reshape(self.codebooks.shape))

    def _new_faiss_quantizer(self) -> faiss.ResidualQuantizer:
        quantizer = faiss.ResidualQuantizer(self.dim, self.num_books, self.bits_per_book)
        quantizer.max_beam_size = self.beam_size
        # plain k-means; faiss's own default first fits in fewer dimensions, which needs more vectors than dimensions
        quantizer.train_type = faiss.ResidualQuantizer.Train_default
        return quantizer

    def _faiss_quantizer(self) -> faiss.ResidualQuantizer:
        quantizer = self._new_faiss_quantizer()
        faiss.copy_array_to_vector(self.codebooks.detach().cpu().float().numpy().ravel(), quantizer.codebooks)
        quantizer.is_trained = True
        return quantizer
