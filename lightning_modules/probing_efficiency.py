"""How much of a database best-first probing evaluates before it meets what exact search finds.

Buckets are probed in the order of the cost sum_k |z_k| [bit k differs from the query's]; each item lies in one. No
bucket is enumerated: the items met before one are those whose buckets cost less, so that any number of bits will do.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_CHUNK_ITEMS = 65_536


def evaluated_until_found(
    query_z: Float[Tensor, "query bit"], item_bits: Bool[Tensor, "item bit"], target: Int[Tensor, " query"]
) -> Int[Tensor, " query"]:
    """Count the items that best-first probing evaluates until it has probed the bucket of the one wanted.

    Args:
        query_z: z of queries: the sign is the bit, the magnitude what its change costs.
        item_bits: Code of each item.
        target: Position of the item that each query wants.

    Returns:
        Items whose bucket costs no more than the target's, the target among them.
    """
    cost = query_z.double().abs()
    query_bits = query_z > 0
    target_cost = (cost * (query_bits != item_bits[target])).sum(dim=1)
    # |z| [differ] summed = sum |z| q + sum |z| (1 - 2 q) c
    base = (cost * query_bits).sum(dim=1)
    slope = torch.where(query_bits, -cost, cost)
    num_evaluated = torch.zeros_like(target)
    for chunk in item_bits.split(_CHUNK_ITEMS):
        costs = base[:, None] + slope @ chunk.double().T
        num_evaluated += (costs <= target_cost[:, None] + 1e-9).sum(dim=1)
    return num_evaluated


def share_at_recall(num_evaluated: Int[Tensor, " query"], num_items: int, recall: float) -> float:
    """Return the share of items to evaluate so that a share `recall` of the queries meet what they want.

    Args:
        num_evaluated: Of each query that exact search answers.
        num_items: Size of the database.
        recall: Relative to exact search, above 0 and at most 1.

    Returns:
        In [0, 1]; NaN if exact search answers no query.

    Raises:
        ValueError: If `recall` is not above 0 and at most 1.
    """
    if not 0 < recall <= 1:
        raise ValueError(f"recall must be above 0 and at most 1; got {recall}. 0.9 is usual.")
    if len(num_evaluated) == 0:
        return float("nan")
    ordered = num_evaluated.sort().values
    # the least number of items for which that share of queries is answered; 0.9 * 10 is not above 9
    needed = min(len(ordered) - 1, max(0, math.ceil(recall * len(ordered) - 1e-9) - 1))
    return float(ordered[needed]) / num_items
