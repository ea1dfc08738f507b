"""The share of a database that searches look at."""

import torch

from retrieval.metrics import evaluated_share


def test_share_is_in_percent_of_all_items() -> None:
    assert evaluated_share(torch.tensor([0, 3, 400]), 400).tolist() == [0, 0.75, 100]


def test_large_databases_lose_no_digit() -> None:
    assert float(evaluated_share(torch.tensor([29_000_001 * 7]), 29_000_001 * 100)) == 7
