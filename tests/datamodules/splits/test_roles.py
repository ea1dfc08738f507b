"""Roles drawn for training on the whole database, worked out by hand; the corpora's own are in test_contract."""

from pathlib import Path

import numpy as np
import pytest

from datamodules.errors import SplitError
from datamodules.splits.roles import AudioItem, Roles, draw_recordings, draw_share, train_on_database

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


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("share", "count"), [(0.1, 10), (0.25, 25), (0.999, 99), (0.001, 1)])
def test_share_of_single_items_is_met(seed: int, share: float, count: int) -> None:
    assert draw_share(np.arange(100), share, seed).sum() == count


@pytest.mark.parametrize("seed", range(5))
def test_share_is_drawn_of_whole_groups(seed: int) -> None:
    groups = np.array(list("aaaaaaaaabbbbbcccdde"))  # 9, 5, 3, 2, 1 of 20
    is_drawn = draw_share(groups, 0.25, seed)
    assert not set(groups[is_drawn]) & set(groups[~is_drawn])
    assert 3 <= is_drawn.sum() <= 7
    assert is_drawn.tolist() == draw_share(groups, 0.25, seed).tolist()


def test_share_takes_the_smallest_group_rather_than_none_and_never_all() -> None:
    groups = np.array(list("aaaaabbbbb" * 10 + "cccc"))
    assert set(groups[draw_share(groups, 0.01, 0)]) == {"c"}
    for seed in range(5):
        assert 0 < draw_share(np.array(["a", "b"]), 0.99, seed).sum() < 2


def test_share_differs_by_seed() -> None:
    assert draw_share(np.arange(50), 0.3, 0).tolist() != draw_share(np.arange(50), 0.3, 1).tolist()


@pytest.mark.parametrize("groups", [[], ["a"], ["a", "a"]])
def test_share_of_one_group_is_refused(groups: list[str]) -> None:
    with pytest.raises(SplitError, match=r"at least two groups of clips .*found [01]\. Add clips"):
        draw_share(np.array(groups), 0.1, 0)
