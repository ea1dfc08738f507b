"""A hash table whose buckets are searched in order of how likely they hold the nearest item (FlowHash, section 3.3).

Vectors lie in the order of buckets, so that a bucket is one piece of memory where items have one code each: faiss scans
it in place, in half the time of gathering candidates.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.index.buckets import Buckets
from retrieval.index.probing import BudgetProbing, HashFunction, Probes, Probing, probe_buckets
from retrieval.index.row_scan import Ranges, scan_rows
from retrieval.index.vector_rows import VectorRows

# buckets, or items met in them, of the queries that are searched at once
_CHUNK_ENTRIES = 2_000_000
# items that are found first, beside which others are looked at
_SEEDS = 8
_NO_REPEATS = BudgetProbing(1)


@dataclass(frozen=True)
class TableSearch:
    """What a search found and what it cost.

    Attributes:
        item_ids: Best first, of equal ones the smaller id first; -1 where too few candidates were reached.
        scores: Inner products of query and item; -infinity where there is no item.
        num_evaluated: Candidates scored, each once; N_p of section 4.2. With `reach`, an item may count twice: in its
            bucket, and beside another.
        num_probed: Codes looked up, empty buckets among them.
    """

    item_ids: Int[Tensor, "query rank"]
    scores: Float[Tensor, "query rank"]
    num_evaluated: Int[Tensor, " query"]
    num_probed: Int[Tensor, " query"]


class HashTable:
    """Items in buckets, and their vectors.

    Args:
        projection: Places vectors in buckets.
        rows: How vectors are stored.
        vectors: Of the items, in the order of the buckets' rows; may be mapped from a file.
        buckets: The items by code.
    """

    def __init__(self, projection: HashFunction, rows: VectorRows, vectors: np.ndarray, buckets: Buckets) -> None:
        self.projection, self.rows, self.vectors, self.buckets = projection, rows, vectors, buckets

    @classmethod
    def build(
        cls,
        projection: HashFunction,
        rows: VectorRows,
        vectors: Float[Tensor, "item feature"],
        placing: Probing = _NO_REPEATS,
    ) -> "HashTable":
        """Store vectors; their ids are their positions.

        Args:
            projection: Places vectors in buckets.
            rows: How to store them.
            vectors: The items.
            placing: The codes of an item: `WidthProbing(1.0)` in the paper; its own only unless said otherwise.

        Raises:
            ValueError: If vectors don't fit, there are more than 24 bits, or an item gets too many codes.
        """
        return cls.place(projection, rows, vectors, probe_buckets(projection, vectors, placing))

    @classmethod
    def place(
        cls, projection: HashFunction, rows: VectorRows, vectors: Float[Tensor, "item feature"], probes: Probes
    ) -> "HashTable":
        """Store vectors under codes that are known; for the rest like `build`."""
        buckets = Buckets.from_probes(probes)
        return cls(projection, rows, rows.encode(vectors)[buckets.items], buckets)

    def __len__(self) -> int:
        return self.buckets.num_items

    def search(
        self, queries: Float[Tensor, "query feature"], num_items: int, probing: Probing, reach: int = 0
    ) -> TableSearch:
        """Score the items of the buckets visited, by inner product.

        Args:
            queries: Vectors as they were added.
            num_items: Items to return a query.
            probing: Which buckets to visit.
            reach: Items whose ids are so near to one of the best eight are scored too. Fingerprints that follow each
                other overlap, so that who found one has nearly found the next, whatever bucket it is in.

        Raises:
            ValueError: If `num_items` is under 1 or `reach` under 0, queries don't fit, or one has too many codes.
        """
        check_search(num_items, reach)
        probes = probe_buckets(self.projection, queries, probing)
        return self.search_probes(self.rows.prepare(queries), num_items, probes, reach=reach)

    def search_probes(
        self, queries: np.ndarray, num_items: int, probes: Probes, is_alive: np.ndarray | None = None, reach: int = 0
    ) -> TableSearch:
        """Search as `search` does, with queries prepared and codes known.

        Args:
            queries: As `rows.prepare` returns them.
            num_items: Items to return a query; at least one.
            probes: Codes of each query.
            is_alive: Whether an item may be found; None where all may.
            reach: As of `search`.
        """
        num_scanned = max(num_items, _SEEDS) if reach else num_items
        scores = np.empty((len(queries), num_scanned), dtype=np.float32)
        item_ids = np.empty((len(queries), num_scanned), dtype=np.int64)
        num_evaluated = np.empty(len(queries), dtype=np.int64)
        entries = self.buckets.look_up(probes)
        by_item = self.buckets.has_repeats or is_alive is not None
        for part in _parts(entries.num_rows if by_item else entries.counts):
            visited = entries.of_queries(part)
            if by_item:
                visited = self.buckets.single_out(visited, is_alive)
            scores[part], item_ids[part] = self._scan(queries[part], visited, num_scanned)
            num_evaluated[part] = visited.num_rows
            if reach:
                beside = self._beside(item_ids[part], is_alive, reach)
                found = self._scan(queries[part], beside, num_items)
                scores[part], item_ids[part] = best_of(scores[part], item_ids[part], *found)
                num_evaluated[part] += beside.counts
        return TableSearch(
            torch.from_numpy(item_ids[:, :num_items]),
            torch.from_numpy(scores[:, :num_items]),
            torch.from_numpy(num_evaluated),
            probes.counts.cpu(),
        )

    def _scan(self, queries: np.ndarray, ranges: Ranges, num_items: int) -> tuple[np.ndarray, np.ndarray]:
        return scan_rows(self.rows, self.vectors, self.buckets.items, queries, ranges, num_items)

    def _beside(self, item_ids: np.ndarray, is_alive: np.ndarray | None, reach: int) -> Ranges:
        """Return the rows of items next to each query's first few, none of what it has found, each once."""
        seeds = item_ids[:, :_SEEDS, None]
        items = np.where(seeds < 0, -1, seeds + np.arange(-reach, reach + 1)).reshape(len(item_ids), -1)
        # what is found comes first among equal numbers
        keys = np.hstack([2 * item_ids, 2 * items + 1])
        keys.sort(axis=1)
        items = keys >> 1
        is_new = (keys & 1 == 1) & (items >= 0) & (items < len(self))
        is_new[:, 1:] &= items[:, 1:] != items[:, :-1]
        chosen = items[is_new]
        counts = is_new.sum(axis=1)
        if is_alive is not None:
            is_kept = is_alive[chosen]
            counts = np.bincount(np.repeat(np.arange(len(counts)), counts)[is_kept], minlength=len(counts))
            chosen = chosen[is_kept]
        return Ranges(self.buckets.rows[chosen].astype(np.int64), np.ones_like(chosen), counts)

    def score_pairs(self, queries: np.ndarray, owners: np.ndarray, item_ids: np.ndarray) -> np.ndarray:
        """Return the inner product of each pair of a query and an item, float32.

        Args:
            queries: As `rows.prepare` returns them.
            owners: Number of a pair's query; int64.
            item_ids: Of the pair's item; int64.
        """
        return self.rows.score_pairs(self.vectors, queries, owners, self.buckets.rows[item_ids].astype(np.int64))

    def vectors_of(self, item_ids: slice) -> np.ndarray:
        """Return the stored rows of items, in the order of items."""
        return np.asarray(self.vectors[self.buckets.rows[item_ids]])


def check_search(num_items: int, reach: int) -> None:
    """Refuse searches for no item, or with a negative reach.

    Raises:
        ValueError: If it is one.
    """
    if num_items < 1 or reach < 0:
        raise ValueError(f"Expected at least one item to find and a reach of at least 0; got {num_items} and {reach}.")


def best_of(
    scores: np.ndarray, item_ids: np.ndarray, other_scores: np.ndarray, other_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rank what was found in two places, as much as in the first; nothing is in both."""
    scores, item_ids = np.hstack([scores, other_scores]), np.hstack([item_ids, other_ids])
    order = np.lexsort((item_ids, -scores), axis=1)[:, : scores.shape[1] - other_scores.shape[1]]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(item_ids, order, axis=1)


def _parts(counts: np.ndarray) -> Iterator[slice]:
    """Cut queries into parts of at most `_CHUNK_ENTRIES`, or of one query, if all had as many as the largest."""
    size = max(1, _CHUNK_ENTRIES // max(int(counts.max(initial=0)), 1))
    yield from (slice(start, start + size) for start in range(0, len(counts), size))
