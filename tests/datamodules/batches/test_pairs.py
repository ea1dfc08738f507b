"""Pairs are balanced as to each category, of different clips, listed once, and the same for the same seed."""

import itertools
import time

import numpy as np
import pytest

from datamodules.batches.feature_dataset import FeatureDataset
from datamodules.batches.pairs import (
    PairDataset,
    Partners,
    draw_balanced_pairs,
    draw_uniform_pairs,
    list_category_pairs,
    list_pairs,
)
from datamodules.errors import SplitError

PARTNERS: tuple[Partners, ...] = ("first", "random")
V1_TRAIN = 2_351
# as frequent as the coarse categories of v1 are, roughly: engines in most clips, dogs in few
FREQUENCIES = np.array([0.6, 0.15, 0.1, 0.1, 0.3, 0.1, 0.35, 0.05])


def _labels(num_items: int, seed: int = 0, frequencies: np.ndarray = FREQUENCIES) -> np.ndarray:
    return (np.random.default_rng(seed).random((num_items, len(frequencies))) < frequencies).astype(np.int64)


def _generator(partners: Partners) -> np.random.Generator | None:
    return np.random.default_rng(0) if partners == "random" else None


@pytest.mark.parametrize("partners", PARTNERS)
@pytest.mark.parametrize("num_each", [1, 5, 30])
def test_each_target_has_as_many_partners_alike_as_opposite(partners: Partners, num_each: int) -> None:
    has = _labels(200)[:, 4].astype(bool)  # some 60 have it
    target, partner = list_category_pairs(has, num_each, _generator(partners)).T
    assert (target != partner).all()
    alike = has[target] == has[partner]
    assert np.bincount(target, weights=alike).tolist() == [num_each] * 200
    assert np.bincount(target, weights=~alike).tolist() == [num_each] * 200
    assert len(np.unique(target * 200 + partner)) == len(target)
    assert (np.diff(target) >= 0).all()


@pytest.mark.parametrize("partners", PARTNERS)
def test_small_groups_give_all_partners_they_have(partners: Partners) -> None:
    has = np.array([True, False, True, False, False, True, False, False])
    pairs = list_category_pairs(has, 30, _generator(partners))
    expected = {(target, partner) for target, partner in itertools.permutations(range(8), 2)}
    assert {tuple(pair) for pair in pairs.tolist()} == expected
    assert len(pairs) == len(expected)


@pytest.mark.parametrize("has_it", [True, False])
def test_category_of_all_or_none_has_pairs_alike_alone(has_it: bool) -> None:
    has = np.full(10, has_it)
    target, partner = list_category_pairs(has, 3).T
    assert np.bincount(target).tolist() == [3] * 10
    assert (target != partner).all()


def test_hand_worked_first_partners() -> None:
    # 0 and 3 have the category, 1, 2 and 4 have not; one partner of each kind
    pairs = list_pairs(np.array([[1], [0], [0], [1], [0]]), num_each=1)
    # targets: 0 -> 3, 1;  1 -> 2, 0;  2 -> 1, 0;  3 -> 0, 1;  4 -> 1, 0; without those that came before
    assert pairs.tolist() == [[0, 3], [0, 1], [1, 2], [2, 0], [3, 1], [4, 1], [4, 0]]


@pytest.mark.parametrize("partners", PARTNERS)
def test_listed_pairs_are_those_of_all_categories_once(partners: Partners) -> None:
    labels = _labels(60)
    pairs = list_pairs(labels, 4, partners, seed=3)
    assert pairs.dtype == np.int32
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert len(np.unique(np.sort(pairs, axis=1), axis=0)) == len(pairs)
    generator = np.random.default_rng(3) if partners == "random" else None
    every = np.concatenate([list_category_pairs(has, 4, generator) for has in labels.astype(bool).T]).tolist()
    seen: dict[frozenset[int], list[int]] = {}
    for pair in every:
        seen.setdefault(frozenset(pair), pair)
    assert pairs.tolist() == list(seen.values())


def test_first_partners_are_the_same_for_all_targets() -> None:
    has = _labels(100)[:, 0].astype(bool)
    pairs = list_category_pairs(has, 10)
    first_ten = set(np.flatnonzero(has)[:11]) | set(np.flatnonzero(~has)[:11])
    assert set(pairs[:, 1]) == first_ten


def test_random_partners_are_all_as_likely() -> None:
    has = np.arange(12) < 6
    counts = np.zeros((12, 12))
    generator = np.random.default_rng(0)
    for _ in range(3_000):
        target, partner = list_category_pairs(has, 2, generator).T
        np.add.at(counts, (target, partner), 1)
    alike = (has[:, None] == has) & ~np.eye(12, dtype=bool)
    np.testing.assert_allclose(counts[alike], 3_000 * 2 / 5, rtol=0.15)
    np.testing.assert_allclose(counts[has[:, None] != has], 3_000 * 2 / 6, rtol=0.15)


def test_seed_matters_for_random_partners_alone() -> None:
    labels = _labels(100)
    drawn = [list_pairs(labels, 5, "random", seed).tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert list_pairs(labels, 5, "first", 0).tolist() == list_pairs(labels, 5, "first", 1).tolist()


@pytest.mark.parametrize("labels_a_clip", [1.7, 3.0])
def test_first_partners_give_the_papers_count(labels_a_clip: float) -> None:
    """218,173 pairs of v1's train clips; first partners give its order, random ones four times as many."""
    labels = _labels(V1_TRAIN, frequencies=np.full(8, labels_a_clip / 8))
    assert 150_000 < len(list_pairs(labels)) < 350_000
    assert len(list_pairs(labels, partners="random")) > 900_000


def test_thirteen_thousand_clips_take_seconds() -> None:
    labels = _labels(13_538)
    begun = time.perf_counter()
    assert len(list_pairs(labels)) > 10**6
    assert len(draw_balanced_pairs(labels, 25_600, np.random.default_rng(0))) == 25_600
    assert time.perf_counter() - begun < 20  # 3 s on one slow core


@pytest.mark.parametrize("labels", [np.zeros((0, 3), np.int64), np.zeros((1, 3), np.int64)])
def test_no_pair_of_one_item(labels: np.ndarray) -> None:
    assert list_pairs(labels).shape == (0, 2)


def test_impossible_lists_are_refused(unchecked_types: None) -> None:
    with pytest.raises(SplitError, match="at least 1 partner of each kind; got 0"):
        list_pairs(_labels(5), 0)
    with pytest.raises(SplitError, match="partners must be first or random; got 'last'"):
        list_pairs(_labels(5), 1, "last")  # type: ignore[arg-type]


def test_drawn_pairs_are_balanced() -> None:
    has = np.arange(40)[:, None] < [10]
    target, partner = draw_balanced_pairs(has.astype(np.int64), 20_000, np.random.default_rng(0)).T
    assert (target != partner).all()
    assert np.mean(has[target, 0] == has[partner, 0]) == pytest.approx(0.5, abs=0.02)
    np.testing.assert_allclose(np.bincount(target, minlength=40), 500, rtol=0.25)
    of_first = partner[target == 0]
    np.testing.assert_allclose(np.bincount(of_first, minlength=40)[1:10].sum(), len(of_first) / 2, rtol=0.25)


def test_every_pair_can_be_drawn() -> None:
    labels = np.array([[1, 0], [0, 1], [0, 0], [1, 1]])
    pairs = draw_balanced_pairs(labels, 2_000, np.random.default_rng(0))
    assert {tuple(pair) for pair in pairs.tolist()} == set(itertools.permutations(range(4), 2))


def test_drawn_pairs_follow_the_generator() -> None:
    drawn = [draw_balanced_pairs(_labels(50), 100, np.random.default_rng(seed)).tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_categories_of_all_or_none_are_not_drawn() -> None:
    labels = np.stack([np.ones(20), np.arange(20) < 4, np.zeros(20)], axis=1).astype(np.int64)
    target, partner = draw_balanced_pairs(labels, 10_000, np.random.default_rng(0)).T
    assert np.mean(labels[target, 1] == labels[partner, 1]) == pytest.approx(0.5, abs=0.03)


def test_the_only_item_of_a_category_is_never_paired_with_itself() -> None:
    labels = np.array([[1], [0], [0], [0]])
    pairs = draw_balanced_pairs(labels, 4_000, np.random.default_rng(0))
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert np.mean(labels[pairs[:, 0], 0] == labels[pairs[:, 1], 0]) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("labels", [np.ones((5, 2), np.int64), np.zeros((5, 2), np.int64), np.eye(2, dtype=np.int64)])
def test_nothing_to_draw_from_is_refused(labels: np.ndarray) -> None:
    with pytest.raises(SplitError, match=r"at least 3 clips .*found \d clips and \d such categories.*pairs listed"):
        draw_balanced_pairs(labels, 5, np.random.default_rng(0))


def test_dataset_fetches_both_clips() -> None:
    features = np.arange(12, dtype=np.float64).reshape(6, 2)
    items = FeatureDataset(features, np.eye(6, 3, dtype=np.int64), np.arange(6), {"num_frames": np.arange(6)})
    dataset = PairDataset(items, np.array([[0, 5], [2, 1], [4, 3]], np.int32))
    assert len(dataset) == 3
    batch = dataset.__getitems__([2, 0])
    assert set(batch) == {
        f"{prefix}{name}" for prefix in ("", "other_") for name in ("feature", "label", "num_frames", "item_index")
    }
    assert batch["item_index"].tolist() == [4, 0]
    assert batch["other_item_index"].tolist() == batch["other_num_frames"].tolist() == [3, 5]
    assert batch["feature"].tolist() == [[8, 9], [0, 1]]
    assert batch["other_feature"].tolist() == [[6, 7], [10, 11]]
    assert batch["other_label"].shape == (2, 3)
    assert dataset[1]["other_item_index"].item() == 1


@pytest.mark.parametrize("num_items", [2, 7, 10])
def test_uniform_pairs_draw_all_items_alike_often(num_items: int) -> None:
    num_pairs = 40 * (num_items // 2)
    pairs = draw_uniform_pairs(num_items, num_pairs, np.random.default_rng(0))
    assert pairs.shape == (num_pairs, 2)
    assert pairs.dtype == np.int32
    assert (pairs[:, 0] != pairs[:, 1]).all()
    counts = np.bincount(pairs.ravel(), minlength=num_items)
    assert counts.max() <= 40
    assert counts.min() >= (40 if num_items % 2 == 0 else 25)
    again = draw_uniform_pairs(num_items, num_pairs, np.random.default_rng(0))
    assert pairs.tolist() == again.tolist()
    assert len(draw_uniform_pairs(num_items, 5, np.random.default_rng(0))) == 5


def test_uniform_pairs_need_two_items() -> None:
    with pytest.raises(SplitError, match="at least 2 clips to train on; found 1"):
        draw_uniform_pairs(1, 5, np.random.default_rng(0))
