"""Cheapest combinations against an enumeration of all."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from retrieval.codes import cheapest_combinations
from tests.draws import draw_double as draw


def cost_of(number: int, costs: list[Tensor], query: int) -> float:
    total = 0.0
    for part in costs:
        number, choice = divmod(number, part.shape[1])
        total += float(part[query, choice])
    assert number == 0
    return total


@pytest.mark.parametrize("sizes", [[5], [2, 2, 2, 2, 2], [4, 1, 3], [16, 8], [3, 7, 2, 4]])
@pytest.mark.parametrize("num_probes", [1, 2, 5, 30, 1000])
def test_they_are_the_first_of_all(sizes: list[int], num_probes: int) -> None:
    costs = [draw(6, size, seed=seed).abs() for seed, size in enumerate(sizes)]
    found = cheapest_combinations(costs, num_probes)
    num_all = math.prod(sizes)
    assert found.shape == (6, min(num_probes, num_all))
    for query in range(6):
        numbers = sorted(range(num_all), key=lambda number: cost_of(number, costs, query))
        assert found[query].tolist() == numbers[:num_probes]


def test_tied_costs_are_the_least_and_numbers_differ() -> None:
    generator = torch.Generator().manual_seed(0)
    costs = [torch.randint(3, (40, 4), generator=generator).double() for _ in range(4)]
    found = cheapest_combinations(costs, 50)
    for query in range(40):
        every = sorted(
            sum(float(c[query, i]) for c, i in zip(costs, pick, strict=True)) for pick in product(range(4), repeat=4)
        )
        assert [cost_of(number, costs, query) for number in found[query].tolist()] == every[:50]
        assert len(set(found[query].tolist())) == 50


def test_queries_know_no_neighbours() -> None:
    costs = [draw(3000, 2, seed=seed).abs() for seed in range(12)]
    found = cheapest_combinations(costs, 600)
    assert torch.equal(cheapest_combinations([part[2997:] for part in costs], 600), found[2997:])
    assert cheapest_combinations([part[:0] for part in costs], 600).shape == (0, 600)


@pytest.mark.parametrize(("num_probes", "num_parts"), [(0, 3), (5, 63)])
def test_probes_and_combinations_that_can_not_be_counted_are_refused(num_probes: int, num_parts: int) -> None:
    with pytest.raises(ValueError, match=r"at least one probe of at most 2\^62 combinations; got"):
        cheapest_combinations([draw(2, 2).abs()] * num_parts, num_probes)
