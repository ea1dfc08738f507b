"""Average precision against the enumeration of every order of tied items, then laws and a foreign oracle."""

from typing import get_args

import pytest
import torch
from sklearn.metrics import average_precision_score

from retrieval.metrics import Denominator, Ties, average_precision, mean_average_precision
from tests.retrieval.metrics.makers import INF, as_batch, orders_of_ties

CUTOFFS: list[int | None] = [1, 2, 3, 4, 5, 6, 40, None]
DENOMINATORS: tuple[Denominator, ...] = get_args(Denominator)

# distances and relevance; the last distance of a list may be tied with a cut-off in between
LISTS: list[tuple[list[float], list[int]]] = [
    ([0, 1, 2, 3, 4], [0, 1, 0, 1, 1]),  # no ties
    ([0, 1, 1, 1, 2], [1, 1, 0, 1, 0]),  # a cut-off falls inside the tie
    ([0, 0, 0, 0, 0], [0, 1, 0, 1, 0]),  # all tied
    ([0, 0, 1, 1, 1], [0, 0, 1, 1, 0]),  # no hit may come before rank 3
    ([0, 0, 1, 1, 1], [1, 0, 0, 1, 1]),
    ([0, 1, 1, 1, 2], [0, 0, 0, 0, 0]),  # nothing relevant
    ([0, 1, 1, 1, 2], [1, 1, 1, 1, 1]),  # all relevant
    ([-3, -3, -1.5, -1.5, 0], [0, 1, 0, 1, 0]),  # negative scores
    ([-2, 0, 0, INF, INF], [0, 1, 0, 1, 1]),  # two relevant items are not in the list
    ([0, 0, 0, 0, INF], [1, 0, 1, 0, 1]),
    ([1, INF, INF, INF, INF], [1, 1, 0, 1, 0]),  # one item in the list
    ([INF, INF, INF, INF, INF], [1, 1, 0, 1, 0]),  # none
]


def random_lists(seed: int, count: int = 12, num_items: int = 5) -> list[tuple[list[float], list[int]]]:
    generator = torch.Generator().manual_seed(seed)
    levels = torch.tensor([-1.0, 0.0, 0.5, INF])
    distances = levels[torch.randint(0, 4, (count, num_items), generator=generator)].sort(dim=1).values
    relevance = torch.randint(0, 2, (count, num_items), generator=generator)
    return list(zip(distances.tolist(), relevance.tolist(), strict=True))


def ap_of_order(ranked: list[int], cutoff: int | None, denominator: Denominator) -> float:
    first = ranked[:cutoff]
    gains = sum(sum(first[: rank + 1]) / (rank + 1) for rank, rel in enumerate(first) if rel)
    num_relevant = sum(ranked)
    number = {
        "all_relevant": num_relevant,
        "min_r_relevant": num_relevant if cutoff is None else min(cutoff, num_relevant),
        "hits_at_r": sum(first),
    }[denominator]
    return gains / number if sum(first) else 0.0


def orders_for(ties: Ties, distances: list[float], relevance: list[int]) -> list[list[int]]:
    orders = list(orders_of_ties(distances, relevance))
    # the enumeration starts with the order as given; relevance as a number sorts the hits of a run to either end
    return {"expected": orders, "order": orders[:1], "best": [max(orders)], "worst": [min(orders)]}[ties]


@pytest.mark.parametrize("ties", get_args(Ties))
@pytest.mark.parametrize("denominator", DENOMINATORS)
@pytest.mark.parametrize("lists", [LISTS, random_lists(0), random_lists(1)], ids=["chosen", "random0", "random1"])
def test_every_definition_agrees_with_enumeration(
    lists: list[tuple[list[float], list[int]]], denominator: Denominator, ties: Ties
) -> None:
    distances, relevance = as_batch(lists)
    scores, hit_probs = average_precision(distances, relevance, CUTOFFS, denominator, ties)
    for row, single in enumerate(lists):
        orders = orders_for(ties, *single)
        for column, cutoff in enumerate(CUTOFFS):
            expected = sum(ap_of_order(order, cutoff, denominator) for order in orders) / len(orders)
            hit_prob = sum(any(order[:cutoff]) for order in orders) / len(orders)
            assert float(scores[row, column]) == pytest.approx(expected, abs=1e-12), (single, cutoff)
            assert float(hit_probs[row, column]) == pytest.approx(hit_prob, abs=1e-12), (single, cutoff)


@pytest.mark.parametrize("denominator", ["all_relevant", "min_r_relevant"])
def test_best_and_worst_bound_every_order(denominator: Denominator) -> None:
    lists = LISTS + random_lists(2)
    distances, relevance = as_batch(lists)
    best, worst = (average_precision(distances, relevance, CUTOFFS, denominator, ties)[0] for ties in ("best", "worst"))
    for row, single in enumerate(lists):
        for column, cutoff in enumerate(CUTOFFS):
            every = [ap_of_order(order, cutoff, denominator) for order in orders_of_ties(*single)]
            assert float(best[row, column]) == pytest.approx(max(every), abs=1e-12)
            assert float(worst[row, column]) == pytest.approx(min(every), abs=1e-12)


@pytest.mark.parametrize("denominator", DENOMINATORS)
@pytest.mark.parametrize("ties", ["expected", "best", "worst"])
def test_order_of_tied_items_is_irrelevant(ties: Ties, denominator: Denominator) -> None:
    distances = torch.tensor([[0.0, 1, 1, 1, 1, 2, 2, 2, 3]]).double()
    relevance = torch.tensor([[0, 1, 0, 0, 1, 1, 0, 1, 0]]).bool()
    shuffled = relevance[:, [0, 3, 1, 4, 2, 7, 6, 5, 8]]
    assert not torch.equal(relevance, shuffled)
    found, again = (average_precision(distances, rel, CUTOFFS, denominator, ties)[0] for rel in (relevance, shuffled))
    assert torch.equal(found, again)


@pytest.mark.parametrize("denominator", DENOMINATORS)
def test_only_the_order_of_distances_counts(denominator: Denominator) -> None:
    distances, relevance = as_batch(random_lists(3))
    found, _ = average_precision(distances, relevance, CUTOFFS, denominator)
    moved, _ = average_precision((distances * 3 - 100).float(), relevance, CUTOFFS, denominator)
    assert torch.equal(found, moved)


@pytest.mark.parametrize("denominator", DENOMINATORS)
def test_ties_at_a_deep_rank_are_exact(denominator: Denominator) -> None:
    # two relevant items tied at the very end; with single-precision digammas the last denominator was 50 times off
    num_items = 20_000
    distances = torch.arange(num_items).double()
    distances[-1] = distances[-2]
    relevance = torch.zeros(1, num_items, dtype=torch.bool)
    relevance[0, -2:] = True
    score, _ = average_precision(distances[None], relevance, [None], denominator)
    assert float(score) == pytest.approx((1 / (num_items - 1) + 2 / num_items) / 2, rel=1e-6)


def test_a_large_tie_agrees_with_the_mean_over_random_orders() -> None:
    generator = torch.Generator().manual_seed(0)
    relevance = torch.zeros(1, 300, dtype=torch.bool)
    relevance[0, :60] = True
    distances = torch.zeros(1, 300).double()
    orders = torch.stack([relevance[0, torch.randperm(300, generator=generator)] for _ in range(4000)])
    ranks = torch.arange(300).double().expand(4000, 300)
    for denominator in DENOMINATORS:
        expected = average_precision(distances, relevance, [20], denominator)[0]
        sampled = average_precision(ranks, orders, [20], denominator, "order")[0]
        # 4000 draws; five standard errors
        assert abs(float(expected) - float(sampled.mean())) < 5 * float(sampled.std()) / 4000**0.5


@pytest.mark.parametrize("ties", get_args(Ties))
def test_without_ties_the_whole_list_agrees_with_sklearn(ties: Ties) -> None:
    generator = torch.Generator().manual_seed(5)
    distances = torch.randn(8, 60, generator=generator).double().sort(dim=1).values
    relevance = torch.rand(8, 60, generator=generator) < 0.2
    found, _ = average_precision(distances, relevance, [None], "all_relevant", ties)
    expected = [
        average_precision_score(rel.numpy(), -row.numpy()) for row, rel in zip(distances, relevance, strict=True)
    ]
    assert found[:, 0].tolist() == pytest.approx(expected, abs=1e-12)


def test_definitions_differ_as_published() -> None:
    # hits at ranks 1 and 3 of a list of 4 with 3 relevant items, cut at 3: gains 1 + 2/3
    distances, relevance = as_batch([([0, 1, 2, 3, 4], [1, 0, 1, 0, 1])])
    by_denominator = {name: float(average_precision(distances, relevance, [3], name)[0]) for name in DENOMINATORS}
    assert by_denominator == pytest.approx(
        {"all_relevant": 5 / 9, "min_r_relevant": 5 / 9, "hits_at_r": 5 / 6}, abs=1e-12
    )
    at_two = {name: float(average_precision(distances, relevance, [2], name)[0]) for name in DENOMINATORS}
    assert at_two == pytest.approx({"all_relevant": 1 / 3, "min_r_relevant": 1 / 2, "hits_at_r": 1}, abs=1e-12)


@pytest.mark.parametrize(("relevant", "score"), [(True, 1.0), (False, 0.0)])
@pytest.mark.parametrize("denominator", DENOMINATORS)
def test_one_item(denominator: Denominator, relevant: bool, score: float) -> None:
    found, hit = average_precision(torch.tensor([[0.3]]), torch.tensor([[relevant]]), [1, 5, None], denominator)
    assert found[0].tolist() == pytest.approx([score] * 3, abs=1e-14)
    assert hit.tolist() == [[score] * 3]


def test_infinity_is_the_same_as_absence() -> None:
    present, padded = as_batch([([0, 1, 1], [1, 0, 1])]), as_batch([([0, 1, 1, INF, INF], [1, 0, 1, 1, 0])])
    for denominator in DENOMINATORS:
        for ties in get_args(Ties):
            short = average_precision(*present, CUTOFFS, denominator, ties)
            long = average_precision(*padded, CUTOFFS, denominator, ties)
            torch.testing.assert_close(short, long, rtol=0, atol=1e-14)


def test_queries_without_a_hit_count_zero_or_not_at_all() -> None:
    scores, hits = torch.tensor([1.0, 0.5, 0.0, 0.0]).double(), torch.tensor([1.0, 1.0, 0.0, 0.0]).double()
    assert mean_average_precision(scores, hits, "zero") == pytest.approx(1.5 / 4)
    assert mean_average_precision(scores, hits, "drop") == pytest.approx(1.5 / 2)
    # a query that has a hit in half of the orders of its ties is half a query
    assert mean_average_precision(scores[1:], torch.tensor([0.5, 0.0, 0.0]).double(), "drop") == pytest.approx(1)
    assert mean_average_precision(scores[2:], hits[2:], "drop") == 0
    assert mean_average_precision(scores[2:], hits[2:], "zero") == 0
    assert mean_average_precision(scores[:0], hits[:0], "zero") == 0


def test_inputs_are_left_alone() -> None:
    distances, relevance = as_batch(LISTS)
    before = distances.clone(), relevance.clone()
    for ties in get_args(Ties):
        average_precision(distances, relevance, CUTOFFS, "hits_at_r", ties)
    assert torch.equal(distances, before[0])
    assert torch.equal(relevance, before[1])
