"""The contract of an index: items with ids in, rankings in a total order out."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Ranking:
    """Items of each query, nearest first; of equally distant ones, the smaller id first.

    Attributes:
        item_ids: Ids as they were added.
        distances: Smaller is closer.
    """

    item_ids: Int[Tensor, "query rank"]
    distances: Float[Tensor, "query rank"]


class Index(ABC):
    """A searchable set of items, kept in ascending order of their ids."""

    def __init__(self) -> None:
        self.item_ids = torch.empty(0, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.item_ids)

    @abstractmethod
    def add(self, vectors: Float[Tensor, "item feature"], item_ids: Int[Tensor, " item"]) -> None:
        """Add items.

        Args:
            vectors: One vector an item; an index that stores codes encodes it.
            item_ids: Unique and not yet in the index.

        Raises:
            ValueError: If an id is there twice.
        """

    @abstractmethod
    def distances(self, queries: Float[Tensor, "query feature"]) -> Float[Tensor, "query item"]:
        """Measure every item, in the order of `item_ids`; items with the same code get the same value."""

    def search(self, queries: Float[Tensor, "query feature"], num_items: int | None = None) -> Ranking:
        """Rank the items of the index.

        Args:
            queries: Vectors as they were added, not yet encoded.
            num_items: Items to return a query; None, or more than there are, returns all.

        Raises:
            ValueError: If `num_items` is under 1.
        """
        if num_items is not None and num_items < 1:
            raise ValueError(f"A search returns at least one item; got {num_items}. Leave it out for all.")
        # Stable, so that equal distances keep the order of ids.
        distances, order = torch.sort(self.distances(queries), dim=1, stable=True)
        return Ranking(self.item_ids.to(order.device)[order[:, :num_items]], distances[:, :num_items])

    def _merge_ids(self, item_ids: Int[Tensor, " item"]) -> Int[Tensor, " total"]:
        """Take ids in and return the order that sorts old and new items, in this sequence, by id."""
        merged, order = torch.sort(torch.cat([self.item_ids.to(item_ids.device), item_ids]))
        if bool((merged[1:] == merged[:-1]).any()):
            raise ValueError(
                f"Item ids must be unique; id {int(merged[1:][merged[1:] == merged[:-1]][0])} is there twice."
            )
        self.item_ids = merged
        return order
