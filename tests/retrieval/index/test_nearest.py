"""The nearest item by inner product."""

import pytest
import torch

from retrieval.index import nearest_by_inner_product


@pytest.mark.parametrize("queries_per_batch", [1, 3, 100])
def test_it_is_what_a_loop_finds(queries_per_batch: int) -> None:
    generator = torch.Generator().manual_seed(0)
    queries, items = torch.randn(7, 4, generator=generator), torch.randn(20, 4, generator=generator)
    found = nearest_by_inner_product(queries, items, queries_per_batch)
    assert torch.equal(found, (queries @ items.T).argmax(dim=1))
    for query, item in zip(queries, found.tolist(), strict=True):
        assert item == max(range(20), key=lambda position: float(query @ items[position]))


def test_the_lowest_of_equals_is_found() -> None:
    items = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert nearest_by_inner_product(torch.tensor([[1.0, 0.0]]), items).tolist() == [1]


def test_no_item_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected items to search, got none"):
        nearest_by_inner_product(torch.ones(1, 2), torch.ones(0, 2))
