"""Scores among the first k against the enumeration of every order of tied items."""

import itertools
import math

import pytest
import torch

from retrieval.metrics import cutoff_scores
from tests.retrieval.metrics.makers import INF, as_batch, orders_of_ties

LISTS: list[tuple[list[float], list[int]]] = [
    ([0, 1, 2, 3, 4], [0, 1, 0, 1, 1]),
    ([0, 1, 1, 1, 2], [0, 1, 0, 1, 0]),
    ([0, 0, 0, 0, 0], [0, 1, 0, 1, 0]),
    ([-1, -1, 0, 0, 0], [0, 0, 1, 1, 0]),
    ([0, 1, 1, 1, 2], [0, 0, 0, 0, 0]),
    ([0, 1, 1, 1, 2], [1, 1, 1, 1, 1]),
    ([-2, 0, 0, INF, INF], [0, 1, 0, 1, 1]),
    ([1, INF, INF, INF, INF], [1, 1, 0, 1, 0]),
    ([INF, INF, INF, INF, INF], [1, 1, 0, 1, 0]),
]


@pytest.mark.parametrize("cutoff", [1, 2, 3, 4, 5, 6, 100])
def test_scores_agree_with_enumeration(cutoff: int) -> None:
    scores = cutoff_scores(*as_batch(LISTS), cutoff)
    for row, (distances, relevance) in enumerate(LISTS):
        orders = list(orders_of_ties(distances, relevance))
        hits = [sum(order[:cutoff]) for order in orders]
        mean_hits = sum(hits) / len(orders)
        length, num_relevant = len(orders[0]), sum(orders[0])
        assert float(scores.precision[row]) == pytest.approx(mean_hits / max(1, min(cutoff, length)), abs=1e-12)
        assert float(scores.recall[row]) == pytest.approx(mean_hits / max(1, num_relevant), abs=1e-12)
        assert float(scores.hit[row]) == pytest.approx(sum(map(bool, hits)) / len(orders), abs=1e-12)


def test_recall_and_hit_rate_never_fall_with_the_cutoff() -> None:
    generator = torch.Generator().manual_seed(0)
    distances = torch.randint(0, 6, (20, 30), generator=generator).double().sort(dim=1).values
    relevance = torch.rand(20, 30, generator=generator) < 0.2
    scores = [cutoff_scores(distances, relevance, cutoff) for cutoff in range(1, 31)]
    for fewer, more in itertools.pairwise(scores):
        assert bool((more.recall >= fewer.recall - 1e-12).all())
        assert bool((more.hit >= fewer.hit - 1e-12).all())
    has_any = relevance.any(dim=1).double()
    torch.testing.assert_close(scores[-1].recall, has_any, rtol=0, atol=1e-12)
    torch.testing.assert_close(scores[-1].hit, has_any, rtol=0, atol=1e-12)


def test_hit_probability_of_one_tie_is_hypergeometric() -> None:
    relevance = torch.arange(100)[None] < 10
    hit = cutoff_scores(torch.zeros(1, 100).double(), relevance, 10).hit
    assert float(hit) == pytest.approx(1 - math.comb(90, 10) / math.comb(100, 10), abs=1e-12)


def test_one_item() -> None:
    scores = cutoff_scores(torch.tensor([[0.5], [0.5]]), torch.tensor([[True], [False]]), 3)
    assert scores.precision.tolist() == scores.recall.tolist() == scores.hit.tolist() == [1, 0]
