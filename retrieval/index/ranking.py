"""What a search gives back."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Ranking:
    """Items of each query, nearest first; of equally distant ones, the smaller id first.

    Attributes:
        item_ids: Ids as they were added; -1 where a search that is not exhaustive reached too few items.
        distances: Smaller is closer; infinite where there is no item.
    """

    item_ids: Int[Tensor, "query rank"]
    distances: Float[Tensor, "query rank"]
