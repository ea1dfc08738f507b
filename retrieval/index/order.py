"""A total order over what faiss finds, where faiss itself keeps none."""

from typing import Any

import numpy as np


def search_in_total_order(
    faiss_index: Any,  # noqa: ANN401 - faiss's types lack members
    queries: np.ndarray,
    num_items: int,
    num_total: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Search, nearest first and of equally distant items the smaller id first, to the last place.

    Inverted files visit items by list, and faiss keeps whichever of equally distant items it met first. So one item
    more than wanted is asked for, and twice as many again as long as the last one is as far as the last one wanted.

    Args:
        faiss_index: Returns items by distance, in any order among equals.
        queries: Rows as it takes them.
        num_items: Items wanted a query.
        num_total: Items it has.

    Returns:
        Distances and ids, [query, rank]; infinity and -1 where it reaches fewer than `num_items`.
    """
    num_asked = min(num_items + 1, num_total)
    found, item_ids = faiss_index.search(queries, num_asked)
    if not (num_asked > num_items and (found[:, 1:] > found[:, :-1]).all()):  # else there is nothing to settle
        unsettled = np.arange(len(queries))
        while num_asked < num_total:
            unsettled = unsettled[_is_cut_in_a_tie(found[unsettled], item_ids[unsettled], num_items)]
            if len(unsettled) == 0:
                break
            num_asked = min(2 * num_asked, num_total)
            wider, wider_ids = faiss_index.search(queries[unsettled], num_asked)
            found, item_ids = _widen(found, num_asked, np.inf), _widen(item_ids, num_asked, -1)
            found[unsettled], item_ids[unsettled] = wider, wider_ids
        found[item_ids < 0] = np.inf  # faiss has the largest float there
        order = np.lexsort((item_ids, found), axis=1)
        found, item_ids = np.take_along_axis(found, order, axis=1), np.take_along_axis(item_ids, order, axis=1)
    return found[:, :num_items], item_ids[:, :num_items]


def _is_cut_in_a_tie(found: np.ndarray, item_ids: np.ndarray, num_items: int) -> np.ndarray:
    """Whether the last item found is as far as the last one wanted; there may be more such then."""
    return np.asarray((found[:, -1] == found[:, num_items - 1]) & (item_ids[:, -1] >= 0))


def _widen(array: np.ndarray, num_columns: int, fill: float | int) -> np.ndarray:
    return np.pad(array, ((0, 0), (0, num_columns - array.shape[1])), constant_values=fill)
