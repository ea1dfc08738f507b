"""The cheapest ways to make one choice in each of several parts: in which order a query visits buckets.

Query-directed probing (Lv et al., Multi-probe LSH, 2007, section 4.4) takes perturbations from a heap, one query after
another. Here all queries advance together, part by part. Where every choice is a bit, `retrieval.index.BudgetProbing`
does the same in a seventh of the time: which sets of flipped bits can be cheapest is then known before the costs are.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import log

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Sums held at once, with two whole numbers each: some 80 MB.
_CHUNK_SUMS = 2**22


def cheapest_combinations(costs: Sequence[Float[Tensor, "query _"]], num_probes: int) -> Int[Tensor, "query probe"]:
    """Find the combinations of one choice a part whose summed cost is least.

    The cheapest B of the parts so far and the cheapest B choices of the next are both in order. The pair of the i-th
    and the j-th, counted from 1, costs no less than the i j pairs that it dominates, itself included: only pairs with
    i j <= B are summed, about B ln B of them.

    Args:
        costs: Of each part's choices; parts may differ in their number.
        num_probes: B.

    Returns:
        Combinations as numbers c_1 + n_1 (c_2 + n_2 (c_3 + ...)) with the choice c and the number of choices n of each
        part, cheapest first; of equal cost in an order that depends on the query alone. At most as many as there are.

    Raises:
        ValueError: If there is no probe, or combinations are beyond 2^62.
    """
    num_combinations = 1
    for part in costs:
        num_combinations *= part.shape[1]
    if num_probes < 1 or num_combinations > 2**62:
        raise ValueError(
            f"Expected at least one probe of at most 2^62 combinations; got {num_probes} of {num_combinations}."
        )
    size = max(1, int(_CHUNK_SUMS / (num_probes * (1 + log(num_probes)))))
    return torch.cat([_combine(chunk, num_probes) for chunk in zip(*(part.split(size) for part in costs), strict=True)])


def _combine(costs: Sequence[Float[Tensor, "query _"]], num_probes: int) -> Int[Tensor, "query probe"]:
    total = costs[0].new_zeros(len(costs[0]), 1)
    combination = torch.zeros_like(total, dtype=torch.int64)
    radix = 1
    for part in costs:
        ordered, choice = part.sort(dim=1, stable=True)
        first, second = (
            position.to(total.device) for position in _undominated(total.shape[1], part.shape[1], num_probes)
        )
        total, rank = (total[:, first] + ordered[:, second]).sort(dim=1, stable=True)
        total, rank = total[:, :num_probes], rank[:, :num_probes]
        combination = combination.gather(1, first[rank]) + radix * choice.gather(1, second[rank])
        radix *= part.shape[1]
    return combination


@lru_cache(maxsize=64)
def _undominated(num_first: int, num_second: int, num_probes: int) -> tuple[Tensor, Tensor]:
    """Return the pairs of positions that can be among the cheapest `num_probes`, each [pair]."""
    lengths = (num_probes // torch.arange(1, min(num_second, num_probes) + 1)).clamp(max=num_first)
    second = torch.repeat_interleave(lengths)
    first = torch.arange(len(second)) - (lengths.cumsum(0) - lengths)[second]
    return first, second
