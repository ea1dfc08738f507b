"""The nearest item to each query, without building an index."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def nearest_by_inner_product(
    queries: Float[Tensor, "query feature"], items: Float[Tensor, "item feature"], queries_per_batch: int = 256
) -> Int[Tensor, " query"]:
    """Return the position of the item with the largest inner product, the lowest of equals.

    Args:
        queries: On the device of the items.
        items: At least one.
        queries_per_batch: Queries compared together; memory holds that many rows of inner products.

    Raises:
        ValueError: If there is no item.
    """
    if len(items) == 0:
        raise ValueError("Expected items to search, got none. Look at what the database was made of.")
    transposed = items.T
    found = [(batch @ transposed).argmax(dim=1) for batch in queries.split(queries_per_batch)]
    return torch.cat(found)
