"""The inverted multi-index (Babenko and Lempitsky, 2014)."""

import math
from typing import Any

import faiss
import numpy as np

from retrieval.index.base import Options
from retrieval.index.cells import CellIndex, bits_per_book


class InvertedMultiIndex(CellIndex):
    """Cells are pairs of codewords, one for each half of a vector: K centroids a half make K^2 cells.

    A query visits cells in order of the sum of its halves' distances, by the multi-sequence algorithm (section 3.2),
    which costs no more than measuring 2 K codewords. Residuals of the two codewords are product-quantized together
    (Multi-D-ADC, section 4).

    Args:
        dim: Size of the vectors; filled up with zeros where books, or the two halves, don't divide it.
        num_codewords_per_half: K; a power of two. About the square root of the number of items fills the cells.
        num_probes: Cells that a query visits; may be changed at any time.
        num_bits: Length of a residual's code.
        num_codewords: Codewords a book of the residual's code; a power of two.
        seed: Seed of k-means.

    Raises:
        ValueError: As other indexes of cells do, or if `num_codewords_per_half` is not a power of two.
    """

    def __init__(
        self,
        dim: int,
        num_codewords_per_half: int,
        num_probes: int,
        num_bits: int,
        num_codewords: int = 256,
        seed: int = 0,
    ) -> None:
        if num_codewords_per_half < 2 or num_codewords_per_half & (num_codewords_per_half - 1):
            raise ValueError(f"num_codewords_per_half must be a power of two; got {num_codewords_per_half}. Try 128.")
        super().__init__(dim, num_codewords_per_half**2, num_probes, num_bits, num_codewords, seed)
        self.num_codewords_per_half = num_codewords_per_half

    @property
    def _num_centroids(self) -> int:
        return self.num_codewords_per_half

    @property
    def _slices(self) -> int:
        return math.lcm(2, self._num_books)

    def _new_searcher(self) -> Any:  # noqa: ANN401 - faiss's types lack members
        coarse: Any = faiss.MultiIndexQuantizer(self._filled_dim, 2, bits_per_book(self.num_codewords_per_half))
        coarse.pq.cp.seed = self.seed + 1
        coarse.pq.cp.min_points_per_centroid = 1
        searcher: Any = faiss.IndexIVFPQ(
            coarse, self._filled_dim, self._num_cells, self._num_books, bits_per_book(self.num_codewords)
        )
        searcher.quantizer_trains_alone = 1
        return searcher

    def _trained_arrays(self) -> list[np.ndarray]:
        searcher = self.faiss_index
        coarse: Any = faiss.downcast_index(searcher.quantizer)
        return [faiss.vector_to_array(coarse.pq.centroids), faiss.vector_to_array(searcher.pq.centroids)]

    def _options(self) -> Options:
        return {
            "dim": self.dim,
            "num_codewords_per_half": self.num_codewords_per_half,
            "num_probes": self.num_probes,
            "num_bits": self.num_bits,
            "num_codewords": self.num_codewords,
            "seed": self.seed,
        }
