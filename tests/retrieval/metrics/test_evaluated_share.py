"""The share of a database that searches look at."""

import pytest
import torch

from retrieval.metrics import evaluated_share


def test_share_is_in_percent_of_all_items() -> None:
    assert evaluated_share(torch.tensor([0, 3, 400]), 400).tolist() == [0, 0.75, 100]


def test_large_databases_lose_no_digit() -> None:
    assert float(evaluated_share(torch.tensor([29_000_001 * 7]), 29_000_001 * 100)) == 7


@pytest.mark.parametrize("num_evaluated", [-1, 11])
def test_an_item_counts_once(num_evaluated: int) -> None:
    with pytest.raises(ValueError, match=r"Expected 0 to 10 evaluated items; got 2 to 11|got -1 to 2"):
        evaluated_share(torch.tensor([num_evaluated, 2]), 10)


def test_an_empty_database_has_no_share() -> None:
    with pytest.raises(ValueError, match="at least one item; got 0"):
        evaluated_share(torch.zeros(1, dtype=torch.int64), 0)
