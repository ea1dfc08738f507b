"""A hash table whose buckets are searched in order of how likely they hold the nearest item (FlowHash, section 3.3).

Buckets are the codes that items have, sorted, with offsets into one array of item positions: an empty bucket costs
nothing, an item under several codes four bytes for each. Measured beside faiss's inverted lists with preassigned cells,
which store a vector for each of its codes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.index.probing import BudgetProbing, Probes, Probing, Projection
from retrieval.index.vector_rows import Candidates, VectorRows, expand_ranges

# scores of candidates held at once, padded to the longest query of a group
_GROUP_SCORES = 2_000_000
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
    """Positions of items by code.

    Args:
        codes: Of the buckets that are not empty; int32, ascending.
        starts: Where each bucket starts in `positions`, and its length at last; int64.
        positions: Of items, ascending within a bucket; int32.
        num_items: Items there are, each under one code at least.
    """

    def __init__(self, codes: np.ndarray, starts: np.ndarray, positions: np.ndarray, num_items: int) -> None:
        self.codes, self.starts, self.positions, self.num_items = codes, starts, positions, num_items

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
        firsts = np.flatnonzero(np.diff(sorted_codes, prepend=-1))
        starts = np.append(firsts, len(pairs)).astype(np.int64)
        return cls(sorted_codes[firsts], starts, pairs.astype(np.int32), num_items)

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the code and the position of every entry."""
        return np.repeat(self.codes, np.diff(self.starts)), np.asarray(self.positions)

    @property
    def has_repeats(self) -> bool:
        """Whether an item is under several codes."""
        return len(self.positions) > self.num_items

    def look_up(self, probes: Probes) -> "Visits":
        """Find the buckets that queries visit."""
        wanted, num_probes = probes.codes.cpu().numpy(), probes.counts.cpu().numpy()
        if len(self.codes) == 0:
            return Visits(np.zeros_like(wanted), np.zeros_like(wanted), num_probes)
        bucket = np.minimum(np.searchsorted(self.codes, wanted.astype(np.int32)), len(self.codes) - 1)
        starts = self.starts[bucket]
        return Visits(starts, np.where(self.codes[bucket] == wanted, self.starts[bucket + 1] - starts, 0), num_probes)

    def collect(self, visits: "Visits", is_alive: np.ndarray | None = None) -> Candidates:
        """Collect the items of buckets, each item once a query.

        Args:
            visits: Buckets of each query.
            is_alive: Whether an item may be found; None where all may.
        """
        counts = visits.num_entries
        # one number for query and position: sorting puts them in order, and equal ones together
        found = np.repeat(np.arange(len(counts)) << 32, counts)
        found |= self.positions[expand_ranges(visits.starts, visits.lengths)]
        found.sort()
        is_kept = np.ones(len(found), dtype=bool)
        if self.has_repeats:
            is_kept[1:] = found[1:] != found[:-1]
        if is_alive is not None:
            is_kept &= is_alive[found & _LAST_POSITION]
        if not is_kept.all():
            found = found[is_kept]
            counts = np.bincount(found >> 32, minlength=len(counts))
        found &= _LAST_POSITION
        return Candidates(found, counts)


@dataclass(frozen=True)
class Visits:
    """Buckets that queries visit, one query after another.

    Attributes:
        starts: Where each starts; int64.
        lengths: Entries of each, 0 where it is empty; int64.
        num_probes: Buckets of each query; int64.
    """

    starts: np.ndarray
    lengths: np.ndarray
    num_probes: np.ndarray

    @property
    def num_entries(self) -> np.ndarray:
        """Entries of each query's buckets, items under several of them counted again."""
        sums = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self.lengths)])
        ends = np.cumsum(self.num_probes)
        return np.asarray(sums[ends] - sums[ends - self.num_probes])

    def of_queries(self, queries: np.ndarray) -> "Visits":
        """Return the visits of some queries, in the order of the numbers given."""
        num_probes = self.num_probes[queries]
        chosen = expand_ranges((np.cumsum(self.num_probes) - self.num_probes)[queries], num_probes)
        return Visits(self.starts[chosen], self.lengths[chosen], num_probes)


class HashTable:
    """Items in buckets, and their vectors.

    Args:
        projection: Maps vectors to z.
        rows: How vectors are stored.
        vectors: The items' rows; may be mapped from a file.
        buckets: The items' positions by code.
    """

    def __init__(self, projection: Projection, rows: VectorRows, vectors: np.ndarray, buckets: Buckets) -> None:
        self.projection, self.rows, self.vectors, self.buckets = projection, rows, vectors, buckets

    @classmethod
    def build(
        cls,
        projection: Projection,
        rows: VectorRows,
        vectors: Float[Tensor, "item feature"],
        placing: Probing = _NO_REPEATS,
    ) -> "HashTable":
        """Store vectors; their ids are their positions.

        Args:
            projection: Maps vectors to z.
            rows: How to store them.
            vectors: The items.
            placing: The codes of an item: `WidthProbing(1.0)` in the paper; its own only unless said otherwise.

        Raises:
            ValueError: If vectors don't fit, there are more than 24 bits, or an item gets too many codes.
        """
        encoded = rows.encode(vectors)
        with torch.no_grad():
            probes = placing.probe(projection.project(vectors))
        return cls(projection, rows, encoded, Buckets.from_probes(probes))

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
        with torch.no_grad():
            probes = probing.probe(self.projection.project(queries))
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
        visits = self.buckets.look_up(probes)
        groups = _groups(visits.num_entries)
        for group in groups:
            visited, asking = (visits, queries) if len(groups) == 1 else (visits.of_queries(group), queries[group])
            candidates = self.buckets.collect(visited, is_alive)
            scores[group], item_ids[group] = self.rows.best(self.vectors, asking, candidates, num_items)
            num_evaluated[group] = candidates.counts
        return TableSearch(
            torch.from_numpy(item_ids),
            torch.from_numpy(scores),
            torch.from_numpy(num_evaluated),
            probes.counts.cpu(),
        )


def _groups(counts: np.ndarray) -> list[np.ndarray]:
    """Split queries into groups of about equally many candidates, within `_GROUP_SCORES` when padded."""
    if len(counts) * int(counts.max(initial=0)) <= _GROUP_SCORES:
        return [np.arange(len(counts))]
    order = np.argsort(counts, kind="stable")
    groups, start = [], 0
    while start < len(order):
        padded = counts[order[start:]] * np.arange(1, len(order) - start + 1)
        end = start + max(1, int(np.searchsorted(padded, _GROUP_SCORES, side="right")))
        groups.append(np.sort(order[start:end]))
        start = end
    return groups
