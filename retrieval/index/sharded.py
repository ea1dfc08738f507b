"""Indexes that were built in parts: searched as if they were one, or merged on disk."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.index.base import Index
from retrieval.index.ranking import Ranking


class ShardedIndex:
    """Search several indexes of one kind that share no item; the ranking is that of one index of all items.

    Each may lie on a disk, process or machine of its own: `merge_rankings` puts together what they found.

    Args:
        shards: Built alike, with one coder or one fit of cells; in any order.

    Raises:
        ValueError: If there is none, they are of several kinds, encode otherwise, or share an item.
    """

    def __init__(self, shards: Sequence[Index]) -> None:
        if not shards:
            raise ValueError("Expected at least one shard; got none. Name the folders that Index.save wrote.")
        for shard in shards[1:]:
            shards[0].check_mergeable(shard)
        ids = torch.cat([shard.item_ids for shard in shards])
        self._order = torch.argsort(ids, stable=True)
        self._item_ids = ids[self._order]
        is_repeated = self._item_ids[1:] == self._item_ids[:-1]
        if bool(is_repeated.any()):
            repeated = int(self._item_ids[1:][is_repeated][0])
            raise ValueError(f"Expected shards that share no item; id {repeated} is in two. Remove it from one.")
        self.shards = tuple(shards)

    @classmethod
    def load(cls, folders: Sequence[Path]) -> "ShardedIndex":
        """Open indexes that `Index.save` wrote; items are mapped into memory and read as searches need them.

        Raises:
            IndexFileError: If a folder holds no index that can be opened.
            ValueError: As the constructor.
        """
        return cls([Index.load(folder) for folder in folders])

    def __len__(self) -> int:
        return len(self._item_ids)

    @property
    def item_ids(self) -> Int[Tensor, " item"]:
        """Ids of all shards in ascending order."""
        return self._item_ids

    def search(self, queries: Float[Tensor, "query feature"], num_items: int | None = None) -> Ranking:
        """Rank the items of all shards.

        Args:
            queries: Vectors as they were added, not yet encoded.
            num_items: Items to return a query; None, or more than there are, returns all.

        Raises:
            ValueError: If `num_items` is under 1, or the queries have another size than the items or one is not finite.
            RuntimeError: If all shards are empty.
        """
        found = [shard.search(queries, num_items) for shard in self._filled()]
        return merge_rankings(found, len(self) if num_items is None else min(num_items, len(self)))

    def distances(self, queries: Float[Tensor, "query feature"]) -> Float[Tensor, "query item"]:
        """Measure every item, in the order of `item_ids`.

        Raises:
            RuntimeError: If all shards are empty.
            ValueError: If the queries have another size than the items.
        """
        measured = torch.cat([shard.distances(queries) for shard in self._filled()], dim=1)
        return measured[:, self._order.to(measured.device)]

    def _filled(self) -> list[Index]:
        filled = [shard for shard in self.shards if len(shard)]
        return filled or list(self.shards[:1])  # an empty one says what to do


def merge_rankings(rankings: Sequence[Ranking], num_items: int) -> Ranking:
    """Put rankings of the same queries among different items together, nearest first; the smaller id of a tie first.

    Args:
        rankings: Of each shard, at least one; each has its `num_items` nearest, or all it has.
        num_items: Items to keep a query.

    Raises:
        ValueError: If there is no ranking.
    """
    if not rankings:
        raise ValueError("Expected a ranking of each shard; got none.")
    item_ids = torch.cat([ranking.item_ids for ranking in rankings], dim=1)
    distances = torch.cat([ranking.distances for ranking in rankings], dim=1)
    by_id = torch.argsort(item_ids, dim=1, stable=True)
    by_distance = torch.argsort(distances.gather(1, by_id), dim=1, stable=True)
    order = by_id.gather(1, by_distance)[:, :num_items]
    return Ranking(item_ids.gather(1, order), distances.gather(1, order))


def merge_saved(folders: Sequence[Path], folder: Path) -> Index:
    """Merge indexes on disk into one on disk; those they were made of stay.

    Args:
        folders: Of `Index.save`, at least one; built alike, without a common item.
        folder: Place of the merged one, which appears when it is complete.

    Returns:
        The merged index, opened.

    Raises:
        IndexFileError: If a folder holds no index that can be opened, or something else is in the new one's place.
        ValueError: If there is none, they are of several kinds, encode otherwise, or share an item.
    """
    shards = ShardedIndex.load(folders).shards  # refuses what doesn't fit before anything is copied
    merged = shards[0]
    for shard in shards[1:]:
        merged.merge(shard)
    merged.save(folder)
    return Index.load(folder)
