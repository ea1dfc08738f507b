"""A few items that stand for all kinds."""

import torch

from callbacks.reports.spread import spread_over_classes, spread_over_labels

LABELS = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 1, 1], [1, 1, 1]])


def test_clips_are_spread_over_the_classes() -> None:
    label = torch.tensor([2, 0, 1, 0, 1, 2])
    assert spread_over_classes(label, 3) == [1, 2, 0]
    assert spread_over_classes(label, 100) == [1, 3, 2, 4, 0, 5]


def test_every_number_of_labels_has_its_turn() -> None:
    assert spread_over_labels(LABELS, 1) == [1]
    assert spread_over_labels(LABELS, 2) == [1, 5]  # two labels, none of them seen
    assert spread_over_labels(LABELS, 4) == [1, 5, 6, 0]
    # the next ones of one label and of two are of labels seen least
    assert spread_over_labels(LABELS, 6) == [1, 3, 5, 4, 6, 0]


def test_all_are_chosen_once_where_more_are_wanted() -> None:
    assert sorted(spread_over_labels(LABELS, 100)) == list(range(7))
    assert spread_over_labels(LABELS, 0) == []
