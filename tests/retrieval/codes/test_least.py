"""The least of many costs against a sort of all."""

import pytest
import torch

from retrieval.codes.least import least_costs
from tests.draws import draw_double as draw


@pytest.mark.parametrize("size", [5, 512, 520])
@pytest.mark.parametrize("number", [1, 2, 32, 33, 600])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_they_are_the_first_of_a_sort(size: int, number: int, dtype: torch.dtype) -> None:
    costs = draw(40, size).to(dtype)
    costs[:5] += 10.0
    costs[5:10] -= 10.0
    cost, place = least_costs(costs, number)
    assert torch.equal(cost, costs.sort(dim=1).values[:, :number])
    assert torch.equal(costs.gather(1, place), cost)
    assert all(len(set(row)) == len(row) for row in place.tolist())


def test_of_equal_costs_different_ones_are_taken() -> None:
    costs = torch.randint(-2, 3, (30, 256), generator=torch.Generator().manual_seed(0)).float()
    costs[0] = 1.0
    costs[1, ::2] = -0.0
    cost, place = least_costs(costs, 12)
    assert torch.equal(cost, costs.sort(dim=1).values[:, :12])
    assert torch.equal(costs.gather(1, place), cost)
    assert all(len(set(row)) == 12 for row in place.tolist())
    assert least_costs(costs[:0], 12)[1].shape == (0, 12)
