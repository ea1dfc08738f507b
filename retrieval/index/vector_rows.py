"""How vectors lie on disk and how they are scored, by faiss: float32, float16, or product-quantized."""

from abc import ABC, abstractmethod
from typing import Any, Literal

import faiss
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from retrieval.codes import ProductQuantizer
from retrieval.index.base import to_float_rows

Precision = Literal["float32", "float16"]
# rows decoded at once; of 128 dimensions, 16 MB
_CHUNK_ROWS = 32_768


class VectorRows(ABC):
    """A row of numbers a vector.

    Args:
        dim: Size of the vectors.
    """

    dtype: np.dtype
    width: int

    def __init__(self, dim: int) -> None:
        self.dim = dim

    @abstractmethod
    def encode(self, vectors: Float[Tensor, "item feature"]) -> np.ndarray:
        """Return rows of `width` numbers of `dtype`.

        Raises:
            ValueError: If the vectors have another size than `dim`, or one is not finite.
        """

    @abstractmethod
    def prepare(self, queries: Float[Tensor, "query feature"]) -> np.ndarray:
        """Return queries as `score_pairs` and the inverted file take them, float32.

        Raises:
            ValueError: If the queries have another size than `dim`, or one is not finite.
        """

    @abstractmethod
    def score_pairs(
        self, rows: np.ndarray, queries: np.ndarray, owners: np.ndarray, positions: np.ndarray
    ) -> np.ndarray:
        """Return the inner product of each pair of a query and a row, float32.

        Args:
            rows: All rows.
            queries: As prepared.
            owners: Number of a pair's query; int64.
            positions: Number of a pair's row; int64.
        """

    @abstractmethod
    def inverted_file(self) -> Any:  # noqa: ANN401 - faiss's types lack members
        """Return a new inverted file, without lists, that scores rows by inner product with prepared queries."""


class FloatRows(VectorRows):
    """Vectors as they are, in float32 or rounded to float16.

    Raises:
        ValueError: If it is another precision.
    """

    def __init__(self, dim: int, precision: Precision) -> None:
        super().__init__(dim)
        if precision not in ("float32", "float16"):
            raise ValueError(f"Expected float32 or float16; got {precision!r}.")
        self.dtype, self.width = np.dtype(precision), dim
        self._coarse = faiss.IndexFlatIP(dim)

    def encode(self, vectors: Float[Tensor, "item feature"]) -> np.ndarray:
        """Return vectors in their precision."""
        return to_float_rows(vectors, self.dim).astype(self.dtype)

    def prepare(self, queries: Float[Tensor, "query feature"]) -> np.ndarray:
        """Return queries as they are."""
        return to_float_rows(queries, self.dim)

    def score_pairs(
        self, rows: np.ndarray, queries: np.ndarray, owners: np.ndarray, positions: np.ndarray
    ) -> np.ndarray:
        """Return inner products; rows of float32 are read in place."""
        if self.dtype == np.float32:
            return _pair_products(queries, owners, rows, positions)
        return _in_chunks(lambda chosen: torch.from_numpy(rows[chosen]).float().numpy(), queries, owners, positions)

    def inverted_file(self) -> Any:  # noqa: ANN401
        """Return one of float32 or float16."""
        metric, half = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer.QT_fp16
        if self.dtype == np.float32:
            return faiss.IndexIVFFlat(self._coarse, self.dim, 1, metric)
        make: Any = faiss.IndexIVFScalarQuantizer
        return make(self._coarse, self.dim, 1, half, metric, False)


class ProductRows(VectorRows):
    """Product-quantized vectors; a score is the inner product of the query and what the code decodes to.

    Args:
        quantizer: Fitted; shared with the caller and not changed.

    Raises:
        RuntimeError: If it is not fitted.
    """

    def __init__(self, quantizer: ProductQuantizer) -> None:
        quantizer.check_is_fitted()
        super().__init__(quantizer.dim)
        self.quantizer = quantizer
        self._sliced_dim = quantizer.num_books * quantizer.sub_dim
        self._product: Any = faiss.ProductQuantizer(self._sliced_dim, quantizer.num_books, quantizer.bits_per_book)
        self._centroids = quantizer.codebooks.detach().cpu().float().numpy().ravel()
        faiss.copy_array_to_vector(self._centroids, self._product.centroids)
        self._coarse = faiss.IndexFlatIP(self._sliced_dim)
        self.dtype, self.width = np.dtype(np.uint8), int(self._product.code_size)

    def encode(self, vectors: Float[Tensor, "item feature"]) -> np.ndarray:
        """Return packed codes."""
        return np.asarray(self._product.compute_codes(self.prepare(vectors)))

    @torch.no_grad()
    def prepare(self, queries: Float[Tensor, "query feature"]) -> np.ndarray:
        """Return slices side by side: rotated where the quantizer rotates, filled up where books don't divide `dim`."""
        rows = torch.from_numpy(to_float_rows(queries, self.dim))
        return np.ascontiguousarray(self.quantizer.cut(rows).flatten(1).float().cpu().numpy())

    def score_pairs(
        self, rows: np.ndarray, queries: np.ndarray, owners: np.ndarray, positions: np.ndarray
    ) -> np.ndarray:
        """Return inner products with decoded rows."""
        return _in_chunks(lambda chosen: self._product.decode(rows[chosen]), queries, owners, positions)

    def inverted_file(self) -> Any:  # noqa: ANN401
        """Return one that scans codes by table look-ups."""
        books, bits = self.quantizer.num_books, self.quantizer.bits_per_book
        make: Any = faiss.IndexIVFPQ
        searcher = make(self._coarse, self._sliced_dim, 1, books, bits, faiss.METRIC_INNER_PRODUCT)
        searcher.by_residual = False
        faiss.copy_array_to_vector(self._centroids, searcher.pq.centroids)
        return searcher


def expand_ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the numbers of ranges one after another: start, start + 1, ..., start + count - 1."""
    ends = np.cumsum(counts)
    return np.asarray(np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(starts - (ends - counts), counts))


def _in_chunks(decode: Any, queries: np.ndarray, owners: np.ndarray, positions: np.ndarray) -> np.ndarray:  # noqa: ANN401
    """Decode some rows at a time and score them."""
    scores = np.empty(len(positions), dtype=np.float32)
    for start in range(0, len(positions), _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        decoded = decode(positions[part])
        scores[part] = _pair_products(queries, owners[part], decoded, np.arange(len(decoded)))
    return scores


def _pair_products(queries: np.ndarray, owners: np.ndarray, rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return inner products of pairs, of float32 arrays read in place."""
    products = np.empty(len(positions), dtype=np.float32)
    owners, positions = np.ascontiguousarray(owners), np.ascontiguousarray(positions)
    pair_products: Any = faiss.pairwise_indexed_inner_product  # type: ignore[attr-defined]
    pair_products(
        queries.shape[1],
        len(positions),
        faiss.swig_ptr(queries),
        faiss.swig_ptr(owners),
        faiss.swig_ptr(np.asarray(rows)),
        faiss.swig_ptr(positions),
        faiss.swig_ptr(products),
    )
    return products
