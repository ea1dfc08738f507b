"""mAP_s@K against eqs. (2)-(4) in loops, every order of ties, a list scored by hand."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from retrieval.metrics import QUERY_SUBSETS, LevelScores, LevelScoring, label_levels, score_levels

NUM_CATEGORIES = 8


def draw_labels(num_clips: int, seed: int) -> Tensor:
    """Draw labels that are rare, as in SONYC-UST, so that items agree with queries often."""
    return (torch.rand(num_clips, NUM_CATEGORIES, generator=torch.Generator().manual_seed(seed)) < 0.2).long()


def average_precision(levels: list[int], threshold: int, cutoff: int) -> float:
    """Score a ranked list as eqs. (2) and (3) are written."""
    shown = levels[:cutoff]
    num_hits = sum(level >= threshold for level in shown)
    if num_hits == 0:
        return 0.0
    total = 0.0
    for k, level in enumerate(shown, start=1):
        if level >= threshold:
            total += sum(earlier >= threshold for earlier in shown[:k]) / k
    return total / num_hits


def score_one(distances: list[float], levels: list[int], options: LevelScoring) -> dict[tuple[int, int], float]:
    """Score one query of two labels."""
    label = torch.tensor([[1, 1, 0, 0, 0, 0, 0, 0]])
    return score_levels(torch.tensor([distances]).double(), torch.tensor([levels]), label, options).mean_ap()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_are_those_of_the_equations(dtype: torch.dtype) -> None:
    query_labels, item_labels = draw_labels(7, 0), draw_labels(40, 1)
    levels = label_levels(query_labels, item_labels)
    generator = torch.Generator().manual_seed(2)
    # distinct, of either sign
    distances = torch.stack([torch.randperm(40, generator=generator) for _ in range(7)]).to(dtype) - 20
    options = LevelScoring(misses=[0, 1, 2, 5], cutoffs=[1, 2, 5, 17, 40, 1000])
    scores = score_levels(distances, levels, query_labels, options)
    assert scores.num_items == 40
    expected = {}
    for misses, cutoff in itertools.product(options.misses, options.cutoffs):
        ranked = [
            [level for _, level in sorted(zip(*rows, strict=True))]
            for rows in zip(distances.tolist(), levels.tolist(), strict=True)
        ]
        expected[8 - misses, cutoff] = [average_precision(row, 8 - misses, cutoff) for row in ranked]
    assert set(scores.average_precision) == set(expected)
    for key, values in expected.items():
        assert scores.average_precision[key].tolist() == pytest.approx(values, abs=1e-12), key
        assert scores.mean_ap()[key] == pytest.approx(sum(values) / 7, abs=1e-12), key
    assert 0 in expected[8, 1]  # a query without a hit, among others
    assert any(0 < value < 1 for value in expected[8, 40])


def test_default_is_the_papers() -> None:
    labels = draw_labels(3, 0)
    scores = score_levels(torch.zeros(3, 3), label_levels(labels, labels), labels)
    assert set(scores.average_precision) == set(itertools.product([8, 7], [1, 5, 10, 30, 50, 100]))


def test_a_list_scored_by_hand() -> None:
    # in ranked order the levels are 8 6 7 8 5
    distances, levels = [0.4, 0.1, 0.2, 0.5, 0.3], [8, 8, 6, 5, 7]
    found = score_one(distances, levels, LevelScoring(misses=[0, 1, 4], cutoffs=[1, 3, 5]))
    expected = {
        (8, 1): 1, (8, 3): 1, (8, 5): (1 + 2 / 4) / 2,
        (7, 1): 1, (7, 3): (1 + 2 / 3) / 2, (7, 5): (1 + 2 / 3 + 3 / 4) / 3,
        (4, 1): 1, (4, 3): 1, (4, 5): 1,
    }  # fmt: skip
    assert found == pytest.approx(expected, abs=1e-12)


def test_hits_below_the_cutoff_count_for_nothing() -> None:
    # the denominator is hits within K, not in the list
    options = LevelScoring(misses=[0], cutoffs=[2])
    assert score_one([0, 1, 2, 3], [8, 0, 8, 8], options) == score_one([0, 1, 2, 3], [8, 0, 0, 0], options)
    assert score_one([0, 1, 2, 3], [0, 0, 8, 8], options)[8, 2] == 0


@pytest.mark.parametrize("distances", [[0, 0, 0, 0, 0], [1, 0, 1, 0, 1], [-1, -1, 2, 2, 2], [3, 3, 3, 1, 2]], ids=str)
def test_ties_count_in_expectation_over_their_orders(distances: list[float]) -> None:
    levels = [8, 5, 7, 6, 8]
    orders = [
        order for order in itertools.permutations(range(5))
        if all(distances[a] <= distances[b] for a, b in itertools.pairwise(order))
    ]  # fmt: skip
    options = LevelScoring(misses=[0, 1, 2], cutoffs=[1, 2, 3, 4, 9])
    found = score_one(distances, levels, options)
    for (threshold, cutoff), value in found.items():
        by_order = [average_precision([levels[item] for item in order], threshold, cutoff) for order in orders]
        assert value == pytest.approx(sum(by_order) / len(orders), abs=1e-12)


def test_ties_in_order_are_as_given() -> None:
    options = LevelScoring(misses=[0], cutoffs=[3], ties="order")
    assert score_one([0, 0, 0], [0, 8, 0], options)[8, 3] == pytest.approx(1 / 2)
    assert score_one([0, 0, 0], [0, 0, 8], options)[8, 3] == pytest.approx(1 / 3)


def test_order_of_items_and_scale_of_distances_are_irrelevant() -> None:
    query_labels, item_labels = draw_labels(5, 3), draw_labels(30, 4)
    levels = label_levels(query_labels, item_labels)
    distances = torch.randint(0, 6, (5, 30), generator=torch.Generator().manual_seed(5)).double()
    order = torch.randperm(30, generator=torch.Generator().manual_seed(6))
    expected = score_levels(distances, levels, query_labels).mean_ap()
    for same in (score_levels(distances[:, order], levels[:, order], query_labels),
                 score_levels(distances.exp(), levels, query_labels),
                 score_levels(2 * distances - 100, levels, query_labels)):  # fmt: skip
        assert same.mean_ap() == pytest.approx(expected, abs=1e-12)


def test_an_ideal_ranking_scores_one_at_every_cutoff() -> None:
    labels = draw_labels(20, 7)
    levels = label_levels(labels, labels)
    scores = score_levels(-levels.double(), levels, labels)
    assert list(scores.mean_ap().values()) == pytest.approx([1.0] * 12, abs=1e-12)


def make_scores(label_count: list[int], values: list[float]) -> LevelScores:
    return LevelScores({(8, 1): torch.tensor(values, dtype=torch.float64)}, torch.tensor(label_count), num_items=10)


def test_subsets_are_by_number_of_labels() -> None:
    # the third query has no label
    scores = make_scores([1, 3, 0, 1, 2], [0.1, 0.2, 0.4, 0.5, 0.9])
    members = {subset: scores.in_subset(subset).nonzero()[:, 0].tolist() for subset in QUERY_SUBSETS}
    assert members == {"all": [0, 1, 2, 3, 4], "single": [0, 3], "multi": [1, 4]}
    means = {subset: scores.mean_ap(subset)[8, 1] for subset in QUERY_SUBSETS}
    assert means == pytest.approx({"all": 0.42, "single": 0.3, "multi": 0.55}, abs=1e-12)
    assert scores.mean_ap() == scores.mean_ap("all")


def test_label_counts_are_those_of_the_queries() -> None:
    labels = torch.tensor([[0, 0, 0], [0, 1, 0], [1, 1, 1]])
    assert score_levels(torch.zeros(3, 3), label_levels(labels, labels), labels).label_count.tolist() == [0, 1, 3]


def test_a_subset_without_queries_has_no_mean() -> None:
    scores = make_scores([1, 1], [0.1, 0.2])
    assert math.isnan(scores.mean_ap("multi")[8, 1])


@pytest.mark.parametrize("subset", QUERY_SUBSETS)
def test_interval_contains_the_mean(subset: str) -> None:
    values = torch.rand(60, generator=torch.Generator().manual_seed(0)).tolist()
    scores = make_scores([1, 2, 2] * 20, values)
    interval = scores.interval(8, 1, subset)
    assert interval.mean == pytest.approx(scores.mean_ap(subset)[8, 1], abs=1e-12)
    assert interval.low < interval.mean < interval.high


def test_one_item() -> None:
    for level, expected in ((8, 1.0), (7, 0.0)):
        found = score_one([0.3], [level], LevelScoring(misses=[0], cutoffs=[1, 5]))
        assert found == pytest.approx({(8, 1): expected, (8, 5): expected}, abs=1e-12)


def test_inputs_are_left_alone() -> None:
    distances, levels = torch.tensor([[2.0, 1.0]]), torch.tensor([[8, 3]])
    score_levels(distances, levels, draw_labels(1, 0))
    assert distances.tolist() == [[2.0, 1.0]]
    assert levels.tolist() == [[8, 3]]
