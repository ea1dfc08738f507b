"""Choose a few items that stand for all kinds there are; nothing is random."""

import numpy as np
from jaxtyping import Int
from torch import Tensor


def spread_over_classes(label: Int[Tensor, " item"], num_wanted: int) -> list[int]:
    """Return positions of items, as many as wanted or all there are, at even distances in the order of their class."""
    num_chosen = min(num_wanted, len(label))
    by_class = label.argsort(stable=True)
    return [int(by_class[position * len(label) // num_chosen]) for position in range(num_chosen)]


def spread_over_labels(label: Int[Tensor, "item category"], num_wanted: int) -> list[int]:
    """Return positions of items that differ in how many labels they have, and in which.

    Items of one label, of two and so on, those of none last, get as many places each as there are or as they can fill;
    each place goes to the item whose labels have been chosen least, the first of equals.

    Args:
        label: 1 where an item has the label, else 0.
        num_wanted: Positions, or all there are.

    Returns:
        Positions by number of labels, ascending, those without any last.
    """
    labels = label.cpu().numpy()
    counts = labels.sum(axis=1)
    groups = [np.flatnonzero(counts == count) for count in sorted(set(counts.tolist()), key=_none_last)]
    times_chosen = np.zeros(labels.shape[1], np.int64)
    chosen: list[int] = []
    for group, num_places in zip(groups, _fair_shares([len(group) for group in groups], num_wanted), strict=True):
        left = group
        for _ in range(num_places):
            place = int((labels[left] @ times_chosen).argmin())
            chosen.append(int(left[place]))
            times_chosen += labels[left[place]]
            left = np.delete(left, place)
    return chosen


def _none_last(count: int) -> tuple[bool, int]:
    return count == 0, count


def _fair_shares(sizes: list[int], num_wanted: int) -> list[int]:
    """Hand out places in turn, the first group first, until none is wanted or every group is full."""
    shares = [0] * len(sizes)
    num_left = min(num_wanted, sum(sizes))
    while num_left:
        for number, size in enumerate(sizes):
            if num_left and shares[number] < size:
                shares[number] += 1
                num_left -= 1
    return shares
