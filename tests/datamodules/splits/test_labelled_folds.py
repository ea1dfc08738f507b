"""Folds of labelled items, dealt by hand-made corpora; the corpora's own are in test_contract."""

from pathlib import Path

import numpy as np
import pytest

from datamodules.errors import SplitError
from datamodules.esc50 import Esc50
from datamodules.splits.labelled_folds import LabelledFold, hold_out_fold
from datamodules.splits.roles import AudioItem, Roles

NONE = np.zeros(0, np.int64)


def _corpus(*clips: tuple[int, str]) -> tuple[list[AudioItem], Roles]:
    """Clips of (label, recording), all labelled, after one query."""
    items = [AudioItem("query", Path("query"), 0, "asked", "")]
    items += [AudioItem(f"{n}", Path(f"{n}"), label, recording, "") for n, (label, recording) in enumerate(clips)]
    labelled = np.arange(1, len(items))
    return items, Roles(labelled, np.array([0]), labelled, NONE, NONE)


def test_folds_have_every_class_and_are_of_one_size() -> None:
    items, roles = _corpus(*[(label, f"{label}-{take}") for label in range(5) for take in range(4)])
    for fold in range(1, 5):
        held = hold_out_fold(items, roles, LabelledFold(fold, 4), seed=0)
        assert sorted(items[index].label for index in held.query) == [0, 1, 2, 3, 4]
        assert len(held.train) == 15


def test_sizes_differ_by_one_where_classes_do_not_divide() -> None:
    items, roles = _corpus(*[(label, f"{label}-{take}") for label in range(7) for take in range(3)])
    sizes = [len(hold_out_fold(items, roles, LabelledFold(fold, 4), seed=3).query) for fold in range(1, 5)]
    assert sum(sizes) == 21
    assert max(sizes) - min(sizes) == 1


def test_takes_stay_together_and_parts_even_out() -> None:
    takes = [(label, f"{label}-{name}") for label in range(4) for name in "aabcd"]
    items, roles = _corpus(*takes)
    sizes = [len(hold_out_fold(items, roles, LabelledFold(fold, 2), seed=1).query) for fold in (1, 2)]
    assert sizes == [10, 10]


def test_a_class_with_one_recording_is_always_trained_on() -> None:
    items, roles = _corpus((0, "a"), (0, "b"), (1, "alone"), (1, "alone"))
    for fold in (1, 2):
        held = hold_out_fold(items, roles, LabelledFold(fold, 2), seed=0)
        assert {3, 4} <= set(held.train.tolist())
        assert len(held.query) == 1


def test_the_order_is_the_seeds() -> None:
    items, roles = _corpus(*[(0, f"{take}") for take in range(12)])
    dealt = [hold_out_fold(items, roles, LabelledFold(1, 2), seed).query.tolist() for seed in (0, 0, 1, 2, 3)]
    assert dealt[0] == dealt[1]
    assert len({tuple(each) for each in dealt}) > 1


@pytest.mark.parametrize(
    ("fold", "num_folds", "message"),
    [
        *[(fold, num_folds, f"got fold {fold} of {num_folds}") for fold, num_folds in ((0, 4), (5, 4), (1, 1))],
        (3, 3, "Labelled fold 3 of 3 is empty: 2 labelled clips"),
    ],
)
def test_impossible_folds_are_refused(fold: int, num_folds: int, message: str) -> None:
    items, roles = _corpus((0, "a"), (0, "b"))
    with pytest.raises(SplitError, match=message):
        hold_out_fold(items, roles, LabelledFold(fold, num_folds), seed=0)


def test_without_labels_there_is_nothing_to_hold_out() -> None:
    items, roles = _corpus((0, "a"), (0, "b"))
    with pytest.raises(SplitError, match="Expected labelled items"):
        hold_out_fold(items, Roles(NONE, roles.query, roles.database, NONE, NONE), LabelledFold(1, 2), seed=0)
    with pytest.raises(SplitError, match="labelled_fold holds out labelled items"):
        Esc50(train_on="database", labelled_fold=LabelledFold(1, 2))
