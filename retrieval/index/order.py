"""A total order over what faiss finds, where faiss itself keeps none."""

from collections.abc import Callable
from typing import Any

import numpy as np


def search_in_total_order(
    searcher_for: Callable[[int], Any],  # faiss's types lack members
    queries: np.ndarray,
    num_items: int,
    num_total: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Search, nearest first and of equally distant items the smaller id first, to the last place.

    Inverted files visit items by list, and faiss keeps whichever of equally distant items it met first. So one item
    more than wanted is asked for, and twice as many again as long as the last one is as far as the last one wanted.

    Args:
        searcher_for: Returns the faiss index to ask for so many items; it may order equally distant ones as it likes.
        queries: Rows as it takes them.
        num_items: Items wanted a query.
        num_total: Items it has.

    Returns:
        Distances in float32 and ids, [query, rank]; infinity and -1 where it reaches fewer than `num_items`.
    """
    num_asked = min(num_items + 1, num_total)
    found, item_ids = searcher_for(num_asked).search(queries, num_asked)
    found = found.astype(np.float32, copy=False)  # of bits, faiss counts in int32, which has no infinity
    # mostly every item asked for is there, and farther than the one before: then there is nothing to settle
    if num_asked == num_items or np.count_nonzero(found[:, 1:] <= found[:, :-1]):
        found[item_ids < 0] = np.inf  # faiss has the largest float there
        is_tied = (found[:, 1:] == found[:, :-1]) & (item_ids[:, 1:] >= 0)
        tied = np.flatnonzero(is_tied.any(axis=1))
        if len(tied):
            found, item_ids = _settle(searcher_for, queries, num_items, num_total, found, item_ids, tied)
    return found[:, :num_items], item_ids[:, :num_items]


def _settle(
    searcher_for: Callable[[int], Any],
    queries: np.ndarray,
    num_items: int,
    num_total: int,
    found: np.ndarray,
    item_ids: np.ndarray,
    tied: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Widen the search of `tied` queries until no tie is cut, and sort what they find."""
    unsettled, num_asked = tied, found.shape[1]
    while num_asked < num_total:
        unsettled = unsettled[_is_cut_in_a_tie(found[unsettled], item_ids[unsettled], num_items)]
        if len(unsettled) == 0:
            break
        num_asked = min(2 * num_asked, num_total)
        wider, wider_ids = searcher_for(num_asked).search(queries[unsettled], num_asked)
        found, item_ids = _widen(found, num_asked, np.inf), _widen(item_ids, num_asked, -1)
        found[unsettled], item_ids[unsettled] = np.where(wider_ids < 0, np.inf, wider), wider_ids
    order = np.lexsort((item_ids[tied], found[tied]), axis=1)
    for array in (found, item_ids):
        array[tied] = np.take_along_axis(array[tied], order, axis=1)
    return found, item_ids


def _is_cut_in_a_tie(found: np.ndarray, item_ids: np.ndarray, num_items: int) -> np.ndarray:
    """Whether the last item found is as far as the last one wanted; there may be more such then."""
    return np.asarray((found[:, -1] == found[:, num_items - 1]) & (item_ids[:, -1] >= 0))


def _widen(array: np.ndarray, num_columns: int, fill: float | int) -> np.ndarray:
    return np.pad(array, ((0, 0), (0, num_columns - array.shape[1])), constant_values=fill)
