"""A hash table whose buckets are searched in order of how likely they hold the nearest item (FlowHash, section 3.3).

Buckets are the codes that items have, sorted, with offsets into one array of items: an empty bucket costs nothing, an
item under several codes four bytes for each. Vectors lie in the order of buckets, so that a bucket is
one piece of memory where items have one code each: faiss scans it in place, in half the time of gathering candidates.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.index.probing import BudgetProbing, HashFunction, Probes, Probing, probe_buckets
from retrieval.index.row_scan import Ranges, scan_rows
from retrieval.index.vector_rows import VectorRows

# buckets, or items met in them, of the queries that are searched at once
_CHUNK_ENTRIES = 2_000_000
# codes for each bucket that is not empty, up to which buckets are found by code and not by bisection
_MOST_EMPTY = 4
_NO_REPEATS = BudgetProbing(1)
_LAST_POSITION = 2**31 - 1


@dataclass(frozen=True)
class TableSearch:
    """What a search found and what it cost.

    Attributes:
        item_ids: Best first, of equal ones the smaller id first; -1 where too few candidates were reached.
        scores: Inner products of query and item; -infinity where there is no item.
        num_evaluated: Candidates scored, each once; N_p of section 4.2.
        num_probed: Codes looked up, empty buckets among them.
    """

    item_ids: Int[Tensor, "query rank"]
    scores: Float[Tensor, "query rank"]
    num_evaluated: Int[Tensor, " query"]
    num_probed: Int[Tensor, " query"]


class Buckets:
    """Items by code.

    Rows are the places of items' vectors, in the order in which items are first named: of a bucket's items one after
    another where items have one code each.

    Args:
        codes: Of the buckets that are not empty; int32, ascending.
        starts: Where each bucket starts in `positions`, and its length at last; int64.
        positions: Numbers of items, ascending within a bucket; int32.
        rows: Row of each item, each with one code at least; int32.
    """

    def __init__(self, codes: np.ndarray, starts: np.ndarray, positions: np.ndarray, rows: np.ndarray) -> None:
        self.codes, self.starts, self.positions, self.rows = codes, starts, positions, rows

    @classmethod
    def from_probes(cls, probes: Probes) -> "Buckets":
        """Put each item under its codes."""
        counts = probes.counts.cpu().numpy()
        return cls.from_pairs(probes.codes.cpu().numpy(), np.repeat(np.arange(len(counts)), counts), len(counts))

    @classmethod
    def from_pairs(cls, codes: np.ndarray, positions: np.ndarray, num_items: int) -> "Buckets":
        """Sort pairs of a code and a position.

        Raises:
            ValueError: If there are more items than 32 bits can number.
        """
        if num_items > _LAST_POSITION:
            raise ValueError(f"A table holds at most {_LAST_POSITION} items; got {num_items}. Split them into shards.")
        pairs = codes.astype(np.int64)
        pairs <<= 32
        pairs |= positions
        pairs.sort()
        sorted_codes = (pairs >> 32).astype(np.int32)
        pairs &= _LAST_POSITION
        sorted_positions = pairs.astype(np.int32)
        del pairs
        firsts = np.flatnonzero(np.diff(sorted_codes, prepend=-1))
        starts = np.append(firsts, len(sorted_codes)).astype(np.int64)
        return cls(sorted_codes[firsts], starts, sorted_positions, _row_of_each(sorted_positions, num_items))

    @property
    def num_items(self) -> int:
        """Items there are."""
        return len(self.rows)

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the code and the position of every entry."""
        return np.repeat(self.codes, np.diff(self.starts)), np.asarray(self.positions)

    @property
    def has_repeats(self) -> bool:
        """Whether an item is under several codes."""
        return len(self.positions) > self.num_items

    @cached_property
    def items(self) -> np.ndarray:
        """Item of each row, int32."""
        if not self.has_repeats:
            return self.positions
        items = np.empty(self.num_items, dtype=np.int32)
        items[self.rows] = np.arange(self.num_items, dtype=np.int32)
        return items

    @cached_property
    def _starts_by_code(self) -> np.ndarray | None:
        """Where the bucket of each code starts, and one more; None where most codes would be empty."""
        if len(self.codes) == 0 or int(self.codes[-1]) > _MOST_EMPTY * len(self.codes):
            return None
        lengths = np.zeros(int(self.codes[-1]) + 2, dtype=np.int64)
        lengths[self.codes + 1] = np.diff(self.starts)
        return np.cumsum(lengths)

    def look_up(self, probes: Probes) -> Ranges:
        """Find the entries of the buckets that queries visit; empty ones may be left out."""
        wanted, counts = probes.codes.cpu().numpy(), probes.counts.cpu().numpy()
        by_code = self._starts_by_code
        if by_code is not None:
            last = len(by_code) - 1
            starts = by_code[np.minimum(wanted, last)]
            return Ranges(starts, by_code[np.minimum(wanted + 1, last)] - starts, counts)
        if len(self.codes) == 0:
            return Ranges(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.zeros_like(counts))
        bucket = np.minimum(np.searchsorted(self.codes, wanted.astype(np.int32)), len(self.codes) - 1)
        is_there = self.codes[bucket] == wanted
        bucket = bucket[is_there]
        counts = np.bincount(np.repeat(np.arange(len(counts)), counts)[is_there], minlength=len(counts))
        starts = self.starts[bucket]
        return Ranges(starts, self.starts[bucket + 1] - starts, counts)

    def single_out(self, entries: Ranges, is_alive: np.ndarray | None) -> Ranges:
        """Return the row of each item that queries meet, each once.

        Args:
            entries: Of the buckets visited.
            is_alive: Whether an item may be found; None where all may.
        """
        counts = entries.num_rows
        # one number for query and item: sorting brings equal ones together
        met = np.repeat(np.arange(len(counts)) << 32, counts)
        met |= self.positions[entries.rows()]
        met.sort()
        is_kept = np.ones(len(met), dtype=bool)
        is_kept[1:] = met[1:] != met[:-1]
        if is_alive is not None:
            is_kept &= is_alive[met & _LAST_POSITION]
        met = met[is_kept]
        counts = np.bincount(met >> 32, minlength=len(counts))
        return Ranges(self.rows[met & _LAST_POSITION].astype(np.int64), np.ones_like(met), counts)


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

    def search(self, queries: Float[Tensor, "query feature"], num_items: int, probing: Probing) -> TableSearch:
        """Score the items of the buckets visited, by inner product.

        Args:
            queries: Vectors as they were added.
            num_items: Items to return a query.
            probing: Which buckets to visit.

        Raises:
            ValueError: If `num_items` is under 1, queries don't fit, or one has too many codes.
        """
        if num_items < 1:
            raise ValueError(f"A search returns at least one item; got {num_items}.")
        probes = probe_buckets(self.projection, queries, probing)
        return self.search_probes(self.rows.prepare(queries), num_items, probes)

    def search_probes(
        self, queries: np.ndarray, num_items: int, probes: Probes, is_alive: np.ndarray | None = None
    ) -> TableSearch:
        """Search as `search` does, with queries prepared and codes known.

        Args:
            queries: As `rows.prepare` returns them.
            num_items: Items to return a query; at least one.
            probes: Codes of each query.
            is_alive: Whether an item may be found; None where all may.
        """
        scores = np.empty((len(queries), num_items), dtype=np.float32)
        item_ids = np.empty((len(queries), num_items), dtype=np.int64)
        num_evaluated = np.empty(len(queries), dtype=np.int64)
        entries = self.buckets.look_up(probes)
        by_item = self.buckets.has_repeats or is_alive is not None
        for part in _parts(entries.num_rows if by_item else entries.counts):
            visited = entries.of_queries(part)
            if by_item:
                visited = self.buckets.single_out(visited, is_alive)
            scores[part], item_ids[part] = scan_rows(
                self.rows, self.vectors, self.buckets.items, queries[part], visited, num_items
            )
            num_evaluated[part] = visited.num_rows
        return TableSearch(
            torch.from_numpy(item_ids),
            torch.from_numpy(scores),
            torch.from_numpy(num_evaluated),
            probes.counts.cpu(),
        )

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


def _row_of_each(positions: np.ndarray, num_items: int) -> np.ndarray:
    """Number items in the order in which they are first named."""
    if len(positions) > num_items:
        firsts = np.unique(positions, return_index=True)[1]
        positions = positions[np.sort(firsts)]
    rows = np.empty(num_items, dtype=np.int32)
    rows[positions] = np.arange(num_items, dtype=np.int32)
    return rows


def _parts(counts: np.ndarray) -> Iterator[slice]:
    """Cut queries into parts of at most `_CHUNK_ENTRIES`, or of one query, if all had as many as the largest."""
    size = max(1, _CHUNK_ENTRIES // max(int(counts.max(initial=0)), 1))
    yield from (slice(start, start + size) for start in range(0, len(counts), size))
