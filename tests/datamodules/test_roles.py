"""Roles drawn for training on the whole database, worked out by hand; the corpora's own are in test_contract."""

from pathlib import Path

import numpy as np
import pytest

from datamodules.roles import AudioItem, Roles, draw_recordings, train_on_database

NO_ITEMS = np.zeros(0, np.int64)


def _items(*recordings: str) -> list[AudioItem]:
    return [AudioItem(f"{position}", Path(f"{position}"), 0, name, "") for position, name in enumerate(recordings)]


def _roles(query: list[int], database: list[int], val_query: list[int]) -> Roles:
    return Roles(NO_ITEMS, np.array(query), np.array(database), np.array(val_query, np.int64), NO_ITEMS)


def test_whole_recordings_are_kept_for_validation() -> None:
    items = _items("q", "a", "a", "b", "b", "c", "d", "a")
    roles = train_on_database(items, _roles([0], [1, 2, 3, 4, 5, 6, 7], [1, 3, 4]), seed=0)
    kept = {items[position].recording for position in roles.val_query}
    assert len(kept) == 1  # a quarter of a and b, but at least one
    assert kept <= {"a", "b"}
    assert [position for position in range(1, 8) if items[position].recording in kept] == roles.val_query.tolist()
    assert sorted([*roles.train, *roles.val_query]) == [1, 2, 3, 4, 5, 6, 7]
    assert roles.val_database.tolist() == roles.train.tolist()
    assert roles.query.tolist() == [0]
    assert roles.database.tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_each_seed_has_its_own_draw() -> None:
    items = _items("q", *"abcdefgh")
    given = _roles([0], list(range(1, 9)), list(range(1, 9)))
    drawn = [train_on_database(items, given, seed).val_query.tolist() for seed in (0, 0, *range(1, 9))]
    assert drawn[0] == drawn[1]
    assert len({tuple(positions) for positions in drawn}) > 1
    assert {len(positions) for positions in drawn} == {2}


def test_nobody_to_ask_is_no_validation() -> None:
    items = _items("q", "a", "b")
    roles = train_on_database(items, _roles([0], [1, 2], []), seed=0)
    assert roles.train.tolist() == roles.val_database.tolist() == [1, 2]
    assert len(roles.val_query) == 0


def test_takes_of_a_query_are_left_out_of_training_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    items = _items("q", "q", "a", "b", "b")
    roles = train_on_database(items, _roles([0], [1, 2, 3, 4], [1, 2]), seed=0)
    assert 1 not in [*roles.train, *roles.val_query, *roles.val_database]
    assert "Left out 1 clips of training" in caplog.text


def test_a_class_with_one_recording_gives_none() -> None:
    items = _items("a", "a", "b")
    assert not draw_recordings(items, np.array([True, True, False]), 0.5, 0).any()
    assert draw_recordings(items, np.array([True, False, True]), 0.5, 0).any()
