"""Items by hash code: which there are under a code, and where their vectors lie.

Buckets are the codes that items have, sorted, with offsets into one array of items: an empty bucket costs nothing, an
item under several codes four bytes for each.
"""

from functools import cached_property

import numpy as np

from retrieval.index.probing import Probes
from retrieval.index.row_scan import Ranges

# codes for each bucket that is not empty, up to which buckets are found by code and not by bisection
_MOST_EMPTY = 4
_LAST_POSITION = 2**31 - 1


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


def _row_of_each(positions: np.ndarray, num_items: int) -> np.ndarray:
    """Number items in the order in which they are first named."""
    if len(positions) > num_items:
        firsts = np.unique(positions, return_index=True)[1]
        positions = positions[np.sort(firsts)]
    rows = np.empty(num_items, dtype=np.int32)
    rows[positions] = np.arange(num_items, dtype=np.int32)
    return rows
