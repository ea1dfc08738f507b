"""How vectors lie on disk and how candidates among them are scored: float32, float16, or product-quantized.

Rows are gathered where they lie and scored by faiss, so that a vector is stored once however many buckets name it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import faiss
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from retrieval.codes import ProductQuantizer
from retrieval.index.base import to_float_rows
from retrieval.index.order import search_in_total_order

Precision = Literal["float32", "float16"]
# rows decoded at once; of 128 dimensions, 16 MB
_CHUNK_ROWS = 32_768


@dataclass(frozen=True)
class Candidates:
    """Items to be scored for several queries, one query after another.

    Attributes:
        positions: Rows of the items; int64, ascending within a query, each once.
        counts: Candidates of each query; int64.
    """

    positions: np.ndarray
    counts: np.ndarray

    @property
    def owners(self) -> np.ndarray:
        """Number of the query of each candidate."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


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
        """Return queries as `score_pairs` and `best` take them, float32.

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

    def best(
        self, rows: np.ndarray, queries: np.ndarray, candidates: Candidates, num_items: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rank candidates by inner product; of equal ones, the smaller position first.

        Returns:
            Scores and positions, [query, rank]; -infinity and -1 where there are fewer candidates.
        """
        num_total = int(candidates.counts.max(initial=0))
        scores = np.full((len(queries), num_items), -np.inf, dtype=np.float32)
        positions = np.full((len(queries), num_items), -1, dtype=np.int64)
        if num_total:
            searcher = self._searcher(rows, queries, candidates)
            numbers = np.arange(len(queries))[:, None]
            found, items = search_in_total_order(lambda _: searcher, numbers, min(num_items, num_total), num_total)
            scores[:, : found.shape[1]], positions[:, : found.shape[1]] = -found, items
        return scores, positions

    def _searcher(self, rows: np.ndarray, queries: np.ndarray, candidates: Candidates) -> Any:  # noqa: ANN401
        """Return what `search_in_total_order` asks: by the numbers of queries, nearest first."""
        return _ScoredCandidates(self.score_pairs(rows, queries, candidates.owners, candidates.positions), candidates)


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

    def _searcher(self, rows: np.ndarray, queries: np.ndarray, candidates: Candidates) -> Any:  # noqa: ANN401
        """Put each query's candidates into a list of an inverted file, where faiss scans codes by table look-ups."""
        books, bits = self.quantizer.num_books, self.quantizer.bits_per_book
        make: Any = faiss.IndexIVFPQ
        searcher = make(self._coarse, self._sliced_dim, len(queries), books, bits, faiss.METRIC_INNER_PRODUCT)
        searcher.by_residual = False
        faiss.copy_array_to_vector(self._centroids, searcher.pq.centroids)
        searcher.is_trained, searcher.ntotal = True, len(candidates.positions)
        codes = rows[candidates.positions]
        ends = np.cumsum(candidates.counts)
        for number, (start, end) in enumerate(zip(ends - candidates.counts, ends, strict=True)):
            if end > start:
                listed, of_list = candidates.positions[start:end], codes[start:end]
                searcher.invlists.add_entries(number, len(listed), faiss.swig_ptr(listed), faiss.swig_ptr(of_list))
        return _ListedCandidates(searcher, queries)


class _ScoredCandidates:
    """Candidates whose scores are known."""

    def __init__(self, scores: np.ndarray, candidates: Candidates) -> None:
        counts = candidates.counts
        is_there = np.arange(counts.max()) < counts[:, None]
        padded = np.full(is_there.shape, -np.inf, dtype=np.float32)
        padded[is_there] = scores
        self._scores = torch.from_numpy(padded)
        self._starts = np.cumsum(counts) - counts
        self._positions = candidates.positions

    def search(self, numbers: np.ndarray, num_items: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = numbers[:, 0]
        # all are asked for at first, in order
        scored = self._scores if len(chosen) == len(self._scores) else self._scores[torch.from_numpy(chosen)]
        scores, columns = scored.topk(num_items, dim=1)
        place = np.minimum(self._starts[chosen][:, None] + columns.numpy(), len(self._positions) - 1)
        return -scores.numpy(), np.where(torch.isneginf(scores).numpy(), -1, self._positions[place])


class _ListedCandidates:
    """Candidates in lists of an inverted file, one list a query."""

    def __init__(self, searcher: Any, queries: np.ndarray) -> None:  # noqa: ANN401 - faiss's types lack members
        self._searcher, self._queries = searcher, queries

    def search(self, numbers: np.ndarray, num_items: int) -> tuple[np.ndarray, np.ndarray]:
        no_distance = np.zeros(numbers.shape, dtype=np.float32)
        rows = np.ascontiguousarray(self._queries[numbers[:, 0]])
        scores, positions = self._searcher.search_preassigned(rows, num_items, numbers, no_distance)
        return np.negative(scores), np.asarray(positions)


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
