"""Balanced assignment: its marginals, its form, and its hard limit against a linear program."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from retrieval.codes import balanced_assignment
from tests.draws import draw_double as draw


def cosines(num_items: int, num_buckets: int, seed: int = 0) -> torch.Tensor:
    return draw(num_items, num_buckets, seed=seed).tanh()


def test_rows_are_exact_and_columns_become_even() -> None:
    given, even = cosines(48, 16), torch.full((16,), 3.0, dtype=torch.float64)
    few, many = (balanced_assignment(given, 0.2, num_iterations) for num_iterations in (1, 300))
    for plan in (few, many):
        assert bool((plan >= 0).all())
        torch.testing.assert_close(plan.sum(dim=1), torch.ones(48, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(many.sum(dim=0), even, rtol=0, atol=1e-9)
    assert float((few.sum(dim=0) - even).abs().max()) > 1e-3


def test_fewer_items_than_buckets_share_them() -> None:
    plan = balanced_assignment(cosines(4, 32), 0.5, 500)
    torch.testing.assert_close(plan.sum(dim=0), torch.full((32,), 1 / 8, dtype=torch.float64), rtol=0, atol=1e-9)


def test_the_plan_is_the_kernel_scaled_by_rows_and_columns() -> None:
    given = cosines(10, 6)
    ratio = balanced_assignment(given, 0.3, 4).log() - given / 0.3
    # what is left is u_i + v_j
    rest = ratio - ratio[:1] - ratio[:, :1] + ratio[:1, :1]
    torch.testing.assert_close(rest, torch.zeros_like(rest), rtol=0, atol=1e-9)


def test_a_hard_plan_is_the_best_assignment() -> None:
    given = cosines(12, 4, seed=3)
    plan = balanced_assignment(given, 0.025, 2000)
    rows, slots = linear_sum_assignment(-np.repeat(given.numpy(), 3, axis=1))
    best = torch.zeros(12, 4, dtype=torch.float64)
    best[rows, slots // 3] = 1
    assert torch.equal(plan.round(), best)


def test_the_smallest_weight_does_not_underflow() -> None:
    plan = balanced_assignment(torch.tensor([[1.0, -1.0], [1.0, -1.0]]), 0.025, 5)
    torch.testing.assert_close(plan, torch.full((2, 2), 0.5))


@pytest.mark.parametrize(("weight", "num_iterations"), [(0.01, 3), (0.0, 3), (float("nan"), 3), (0.05, 0)])
def test_what_can_not_converge_is_refused(weight: float, num_iterations: int) -> None:
    with pytest.raises(ValueError, match=r"at least 0\.025 and at least one iteration; got .*Try 0\.05 and 3"):
        balanced_assignment(cosines(3, 2), weight, num_iterations)
