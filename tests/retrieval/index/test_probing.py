"""Codes to visit, against a look at every code there is."""

import heapq

import pytest
import torch
from torch import Tensor

from retrieval.index import BudgetProbing, Probes, WidthProbing
from retrieval.index.probing import cheapest_codes, pack_signs
from tests.draws import draw


def bits_of(codes: Tensor, num_bits: int) -> Tensor:
    return (codes[..., None] >> torch.arange(num_bits)) & 1 == 1


def rows_of(probes: Probes) -> list[list[int]]:
    return [part.tolist() for part in probes.codes.split(probes.counts.tolist())]


@pytest.mark.parametrize("width", [0.0, 0.3, 1.0, 1.25, 9.0])
def test_within_a_width_are_the_codes_that_differ_near_sign_changes_only(width: float) -> None:
    z = draw(40, 6)
    z[0, 0] = z[1, 2] = width  # on the border counts
    found = rows_of(WidthProbing(width).probe(z))
    differs = bits_of(torch.arange(64), 6) != (z > 0)[:, None]
    allowed = (~differs | (z.abs() <= width)[:, None]).all(dim=2)
    for row, codes in enumerate(found):
        assert sorted(codes) == allowed[row].nonzero()[:, 0].tolist()
        assert codes[0] == int(pack_signs(z)[row])


def test_too_many_codes_are_refused_or_cut_to_the_nearest_bits() -> None:
    z = torch.tensor([[0.5, -0.1, 0.2, -0.4], [3.0, 3.0, -0.3, 3.0]])
    with pytest.raises(ValueError, match=r"at most 4 codes a vector; vector 0 has 16 within width 1\.0"):
        WidthProbing(1.0, max_codes=4).probe(z)
    found = rows_of(WidthProbing(1.0, max_codes=4, on_excess="nearest").probe(z))
    assert [sorted(codes) for codes in found] == [[0b0001, 0b0011, 0b0101, 0b0111], [0b1011, 0b1111]]
    assert rows_of(WidthProbing(1.0, max_codes=1, on_excess="nearest").probe(z)) == [[0b0101], [0b1011]]


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("num_probes", [1, 2, 3, 7, 20, 63, 64, 100])
def test_a_budget_is_spent_on_the_cheapest_of_all_codes(num_probes: int, power: float) -> None:
    z = draw(200, 6).double()
    z[:20] = z[:20].round()  # equal and zero costs
    probes = BudgetProbing(num_probes, power).probe(z)
    codes = probes.codes.view(200, -1)
    assert codes.shape[1] == min(num_probes, 64)
    assert all(len(set(row)) == codes.shape[1] for row in codes.tolist())
    costs = z.abs()[:, None] ** power

    def cost_of(flipped: Tensor) -> Tensor:
        return (costs * (bits_of(flipped, 6) != (z > 0)[:, None])).sum(dim=2)

    every = cost_of(torch.arange(64).expand(200, 64)).sort(dim=1).values
    torch.testing.assert_close(cost_of(codes), every[:, :num_probes])


def cheapest_sums(costs: list[float], num_sums: int) -> list[float]:
    """Grow subsets of sorted costs from a heap, by appending the next cost or putting it in the last one's place."""
    costs = sorted(costs)
    heap, found = [(costs[0], 0)], [0.0]
    while heap and len(found) < num_sums:
        total, last = heapq.heappop(heap)
        found.append(total)
        if last + 1 < len(costs):
            heapq.heappush(heap, (total + costs[last + 1], last + 1))
            heapq.heappush(heap, (total + costs[last + 1] - costs[last], last + 1))
    return found


@pytest.mark.parametrize("num_bits", [1, 12, 20, 24])
def test_of_many_bits_a_budget_finds_what_a_heap_finds(num_bits: int) -> None:
    costs = draw(30, num_bits).abs().double()
    codes = cheapest_codes(torch.zeros(30, dtype=torch.long), costs, 150)
    found = (costs[:, None] * bits_of(codes, num_bits)).sum(dim=2)
    expected = torch.tensor([cheapest_sums(row, 150) for row in costs.tolist()], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


def test_own_costs_decide() -> None:
    costs = torch.tensor([[3.0, 1.0, 1.5]])
    assert cheapest_codes(torch.tensor([0b101]), costs, 5).tolist() == [[0b101, 0b111, 0b001, 0b011, 0b100]]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected 1 to 24 bits; got 25"):
        BudgetProbing(3).probe(draw(2, 25))
    with pytest.raises(ValueError, match="a width of at least 0"):
        WidthProbing(-1.0)
    with pytest.raises(ValueError, match="at least one code"):
        WidthProbing(1.0, max_codes=0)
    with pytest.raises(ValueError, match="at least one probe and a positive power; got 0"):
        BudgetProbing(0)
