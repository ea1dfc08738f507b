"""Score ranges of rows where they lie, in memory or mapped from a file, with the speed of faiss's inverted files.

A range that a query visits is one list of an inverted file whose cells are given: faiss reads the rows in place, and
nothing is kept from one search to the next.
"""

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from retrieval.index.order import search_in_total_order
from retrieval.index.vector_rows import VectorRows, expand_ranges

# how faiss numbers what it finds: list << 32 | place in the list
_PLACE_BITS = 32


@dataclass(frozen=True)
class Ranges:
    """Ranges of rows that queries visit, one query after another.

    Attributes:
        starts: Row that each starts at; int64.
        lengths: Rows of each; int64.
        counts: Ranges of each query; int64.
    """

    starts: np.ndarray
    lengths: np.ndarray
    counts: np.ndarray

    @property
    def num_rows(self) -> np.ndarray:
        """Rows that each query visits, int64."""
        sums = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self.lengths)])
        ends = np.cumsum(self.counts)
        return np.asarray(sums[ends] - sums[ends - self.counts])

    def of_queries(self, part: slice) -> "Ranges":
        """Return the ranges of consecutive queries."""
        ends = np.cumsum(self.counts)
        counts, last = self.counts[part], ends[part]
        if len(counts) == len(self.counts):
            return self
        chosen = slice(int(last[0] - counts[0]), int(last[-1]))
        return Ranges(self.starts[chosen], self.lengths[chosen], counts)

    def rows(self) -> np.ndarray:
        """Return all rows, one range after another, int64."""
        return expand_ranges(self.starts, self.lengths)


def scan_rows(
    rows: VectorRows, vectors: np.ndarray, names: np.ndarray, queries: np.ndarray, ranges: Ranges, num_items: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows of largest inner product in each query's ranges.

    Args:
        rows: How vectors are stored.
        vectors: All rows, one after another without gaps.
        names: Of rows, different ones; of equal scores the smaller name comes first.
        queries: As `rows.prepare` returns them.
        ranges: What each query visits; no row twice.
        num_items: Rows to return a query.

    Returns:
        Scores and names, [query, rank]; -infinity and -1 where there are fewer rows.
    """
    scores = np.full((len(queries), num_items), -np.inf, dtype=np.float32)
    found_names = np.full((len(queries), num_items), -1, dtype=np.int64)
    most = int(ranges.num_rows.max(initial=0))
    if most:
        searcher = _Searcher(rows, vectors, names, queries, ranges)
        numbers = np.arange(len(queries))[:, None]
        found, named = search_in_total_order(lambda _: searcher, numbers, min(num_items, most), most)
        scores[:, : found.shape[1]], found_names[:, : found.shape[1]] = -found, named
    return scores, found_names


class _Searcher:
    """What `search_in_total_order` asks: by the numbers of queries, nearest first."""

    def __init__(
        self, rows: VectorRows, vectors: np.ndarray, names: np.ndarray, queries: np.ndarray, ranges: Ranges
    ) -> None:
        self._rows, self._vectors, self._names, self._queries, self._ranges = rows, vectors, names, queries, ranges
        # numbers of a query's ranges, filled up with -1, which faiss passes over
        most, ends = int(ranges.counts.max()), np.cumsum(ranges.counts)
        self._lists = (ends - ranges.counts)[:, None] + np.arange(most)
        if len(ranges.starts) < self._lists.size:
            self._lists[np.arange(most) >= ranges.counts[:, None]] = -1

    def search(self, numbers: np.ndarray, num_items: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = numbers[:, 0]
        everything = len(chosen) == len(self._queries)  # all are asked for at first, in order
        queries = np.ascontiguousarray(self._queries if everything else self._queries[chosen])
        lists = self._lists if everything else self._lists[chosen]
        scores = np.empty((len(queries), num_items), dtype=np.float32)
        places = np.empty((len(queries), num_items), dtype=np.int64)
        coarse_scores = np.zeros(lists.shape, dtype=np.float32)
        searcher, viewed = self._rows.inverted_file(), _view(self._vectors, self._ranges)
        try:
            searcher.nlist, searcher.nprobe = viewed.nlist, lists.shape[1]
            searcher.replace_invlists(viewed)
            searcher.is_trained, searcher.ntotal = True, len(self._vectors)
            searcher.search_preassigned_c(
                len(queries), faiss.swig_ptr(queries), num_items, faiss.swig_ptr(lists), faiss.swig_ptr(coarse_scores),
                faiss.swig_ptr(scores), faiss.swig_ptr(places), True,
            )  # fmt: skip
        finally:
            viewed.ptr = None  # or faiss unmaps the rows
        found = np.maximum(places, 0)
        row = self._ranges.starts[found >> _PLACE_BITS]
        row += found & ((1 << _PLACE_BITS) - 1)
        return np.negative(scores, out=scores), np.where(places < 0, -1, self._names[row])


def _view(vectors: np.ndarray, ranges: Ranges) -> Any:  # noqa: ANN401 - faiss's types lack members
    """Let faiss take ranges for lists of a file that it has mapped."""
    row_bytes = vectors.shape[1] * vectors.itemsize
    lists = np.empty((len(ranges.starts), 3), dtype=np.int64)  # size, capacity, offset
    lists[:, 0] = lists[:, 1] = ranges.lengths
    np.multiply(ranges.starts, row_bytes, out=lists[:, 2])
    viewed: Any = faiss.OnDiskInvertedLists()
    viewed.nlist, viewed.code_size, viewed.read_only, viewed.prefetch_nthread = len(lists), row_bytes, True, 0
    viewed.lists.resize(len(lists))
    faiss.memcpy(viewed.lists.data(), faiss.swig_ptr(lists), lists.nbytes)
    viewed.ptr = faiss.swig_ptr(vectors.reshape(-1).view(np.uint8))
    return viewed
