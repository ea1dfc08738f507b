"""Balance of buckets on hand-worked counts, and its bounds."""

import math

import pytest
import torch
from torch import Tensor

from retrieval.metrics import bucket_codes, bucket_counts, bucket_density, bucket_entropy, share_near_uniform


def draw_bits(num_items: int, num_bits: int, prob: float = 0.5) -> Tensor:
    return torch.rand(num_items, num_bits, generator=torch.Generator().manual_seed(0)) < prob


def test_counts_are_of_all_buckets_in_the_order_of_their_numbers() -> None:
    bits = torch.tensor([[True, False], [True, False], [True, True], [False, False], [True, False]])
    assert bucket_counts(bits).tolist() == [1, 3, 0, 1]
    assert bucket_counts(bits[:0]).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("num_bits", [1, 5, 12])
def test_counts_agree_with_a_count_of_the_codes_in_use(num_bits: int) -> None:
    bits = draw_bits(500, num_bits, 0.3)
    counts = bucket_counts(bits)
    codes, expected = bucket_codes(bits).unique(return_counts=True)
    assert len(counts) == 2**num_bits
    assert torch.equal(counts.nonzero()[:, 0], codes)
    assert torch.equal(counts[codes], expected)


def test_entropy_of_hand_worked_counts() -> None:
    # shares 1/2, 1/4, 1/8, 1/8
    assert bucket_entropy(torch.tensor([8, 4, 2, 2])) == pytest.approx(1.75, abs=1e-12)
    assert bucket_entropy(torch.full((1024,), 7)) == pytest.approx(10, abs=1e-12)
    assert bucket_entropy(torch.tensor([0, 5, 0, 0])) == 0


def test_few_items_bound_the_entropy() -> None:
    counts = bucket_counts(draw_bits(100, 16))
    assert bucket_entropy(counts) <= math.log2(100)


def test_entropy_knows_no_names_of_buckets() -> None:
    counts = bucket_counts(draw_bits(1000, 6, 0.2))
    assert bucket_entropy(counts.flip(0)) == pytest.approx(bucket_entropy(counts), abs=1e-12)


def test_near_uniform_buckets_are_counted_with_both_ends() -> None:
    # mean 8: 4 and 16 are just within a factor 2
    counts = torch.tensor([4, 16, 3, 17, 8, 8, 8, 0])
    assert int(counts.sum()) == 64
    assert share_near_uniform(counts) == 5 / 8
    assert share_near_uniform(counts, 1.0) == 3 / 8
    assert share_near_uniform(counts, 3.0) == 7 / 8


def test_a_mean_that_is_no_whole_number_is_taken_as_it_is() -> None:
    # 3 items in 4 buckets: mean 0.75
    assert share_near_uniform(torch.tensor([1, 1, 1, 0])) == 0.75


def test_density_is_the_logarithm_of_the_share() -> None:
    density = bucket_density(torch.tensor([8, 4, 4, 0]))
    assert density.tolist() == [1, 2, 2, math.inf]
    assert bucket_density(torch.full((64,), 3)).tolist() == [6] * 64


def test_entropy_is_the_mean_density_over_items() -> None:
    counts = bucket_counts(draw_bits(3000, 5, 0.4))
    mean = float((bucket_density(counts) * counts).sum() / counts.sum())
    assert bucket_entropy(counts) == pytest.approx(mean, abs=1e-12)
