"""An inverted file of residual codes, IVFADC (Jegou, Douze and Schmid, 2011, section IV)."""

from typing import Any

import faiss
import numpy as np

from retrieval.index.base import Options
from retrieval.index.cells import CellIndex, bits_per_book


class InvertedIndex(CellIndex):
    """Cells are those of `num_lists` centroids that k-means finds.

    Args:
        dim: Size of the vectors; filled up with zeros where books don't divide it.
        num_lists: Centroids, and with them lists; the square root of the number of items is usual.
        num_probes: Lists that a query visits; may be changed at any time.
        num_bits: Length of a residual's code.
        num_codewords: Codewords a book; a power of two.
        seed: Seed of k-means.
    """

    def __init__(
        self, dim: int, num_lists: int, num_probes: int, num_bits: int, num_codewords: int = 256, seed: int = 0
    ) -> None:
        super().__init__(dim, num_lists, num_probes, num_bits, num_codewords, seed)
        self.num_lists = num_lists

    @property
    def _num_centroids(self) -> int:
        return self.num_lists

    def _new_searcher(self) -> Any:  # noqa: ANN401 - faiss's types lack members
        coarse = faiss.IndexFlatL2(self._filled_dim)
        return faiss.IndexIVFPQ(
            coarse, self._filled_dim, self.num_lists, self._num_books, bits_per_book(self.num_codewords)
        )

    def _trained_arrays(self) -> list[np.ndarray]:
        searcher = self.faiss_index
        return [searcher.quantizer.reconstruct_n(0, self.num_lists), faiss.vector_to_array(searcher.pq.centroids)]

    def _options(self) -> Options:
        return {
            "dim": self.dim,
            "num_lists": self.num_lists,
            "num_probes": self.num_probes,
            "num_bits": self.num_bits,
            "num_codewords": self.num_codewords,
            "seed": self.seed,
        }
