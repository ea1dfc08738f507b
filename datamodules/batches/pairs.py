"""Pairs of clips for training on how alike two clips are, as positions; features are fetched when asked for.

Fan et al.'s Siamese network for sound event retrieval (section 4.2) is trained on pairs that are balanced as to each
category: for half of them both clips are in the same situation (both have the category, or neither), for the other half
they are opposite (one has it).
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.batches.feature_dataset import FeatureDataset
from datamodules.errors import SplitError

Partners = Literal["first", "random"]
OTHER = "other_"  # prefix of the fields of a pair's second clip


def list_pairs(labels: np.ndarray, num_each: int = 30, partners: Partners = "first", seed: int = 0) -> np.ndarray:
    """List the pairs of section 4.2: for each category, then each clip as target, partners alike and opposite.

    The paper doesn't say which 30 of all partners are taken, but its count does. 2,351 clips with random labels give
    936,000 pairs with random partners, while the first 30, the same for all targets, give 210,000 (3 labels a clip, all
    categories as frequent) to some 500,000 (1 label a clip, categories of unequal frequency); the paper has 218,173.

    Args:
        labels: Which categories each item has, 0 or 1, [item, category].
        num_each: Partners in the same situation as the target, and opposite ones; fewer where there are fewer.
        partners: `first` takes the first ones in the order of items; `random` draws them for each target.
        seed: Seed of drawing them.

    Returns:
        Target and partner, int32 [pair, 2], never the same; a pair that came before, in either order, is left out.

    Raises:
        SplitError: If `num_each` is below 1 or `partners` is another word.
    """
    if num_each < 1:
        raise SplitError(f"A target must have at least 1 partner of each kind; got {num_each}. Try 30.")
    if partners not in get_args(Partners):
        raise SplitError(f"partners must be {' or '.join(get_args(Partners))}; got {partners!r}. Choose one.")
    generator = np.random.default_rng(seed) if partners == "random" else None
    of_category = [list_category_pairs(has, num_each, generator) for has in labels.astype(bool).T]
    pairs = np.concatenate([np.zeros((0, 2), np.int32), *of_category])
    key = pairs.min(axis=1).astype(np.int64) * len(labels) + pairs.max(axis=1)
    _, first = np.unique(key, return_index=True)
    return pairs[np.sort(first)]


def list_category_pairs(
    has_category: np.ndarray, num_each: int, generator: np.random.Generator | None = None
) -> np.ndarray:
    """List the pairs of one category: for each target up to `num_each` partners alike, then as many opposite ones.

    Args:
        has_category: Which items have it, bool [item].
        num_each: Partners alike, and opposite ones, of each target.
        generator: Draws partners; None takes the first ones in the order of items.

    Returns:
        Target and partner, int32 [pair, 2], in the order of targets; nothing is left out.
    """
    groups = [np.flatnonzero(has_category), np.flatnonzero(~has_category)]
    pairs = []
    for own, other in (groups, groups[::-1]):
        rank = np.arange(len(own))[:, None]
        alike = _choose(len(own), len(own) - 1, num_each, generator)
        alike += alike >= rank  # never the target itself
        opposite = _choose(len(own), len(other), num_each, generator)
        chosen = np.concatenate([own[alike], other[opposite]], axis=1)
        pairs.append(np.stack([np.broadcast_to(own[:, None], chosen.shape), chosen], axis=-1).reshape(-1, 2))
    joined = np.concatenate(pairs).astype(np.int32)
    return joined[np.argsort(joined[:, 0], kind="stable")]


def draw_balanced_pairs(labels: np.ndarray, num_pairs: int, generator: np.random.Generator) -> np.ndarray:
    """Draw pairs, for corpora whose pairs are too many to list.

    A category is drawn at random, then a target, then, with equal probability, a partner that is alike or opposite as
    to this category. Categories that all or no items have know no opposite partner and are not drawn.

    Args:
        labels: Which categories each item has, 0 or 1, [item, category].
        num_pairs: Pairs to draw; a pair may come again.
        generator: Draws them.

    Returns:
        Target and partner, int32 [pair, 2], never the same.

    Raises:
        SplitError: If there are fewer than three items, or none of the categories is one that only some of them have.
    """
    num_items = len(labels)
    has = labels.astype(bool)[:, (labels != 0).any(axis=0) & (labels == 0).any(axis=0)].T
    if num_items < 3 or len(has) == 0:
        raise SplitError(
            "Expected at least 3 clips to train on, and a category that some of them have and others have not; found "
            f"{num_items} clips and {len(has)} such categories. Add clips, or have pairs listed (--data.pairs listed)."
        )
    order = np.argsort(~has, axis=1, kind="stable")  # those that have the category, then the others
    position = np.argsort(order, axis=1)
    num_having = has.sum(axis=1)
    is_alike = generator.random(num_pairs) < 0.5
    pairs = np.zeros((num_pairs, 2), np.int32)
    todo = np.arange(num_pairs)
    while len(todo):
        category = generator.integers(len(has), size=len(todo))
        target = generator.integers(num_items, size=len(todo))
        alike = is_alike[todo]
        wants_having = has[category, target] == alike
        begin = np.where(wants_having, 0, num_having[category])
        size = np.where(wants_having, num_having[category], num_items - num_having[category]) - alike
        chosen = begin + generator.integers(np.maximum(size, 1))
        chosen += alike & (chosen >= position[category, target])  # never the target itself
        is_possible = size > 0  # the only item that has a category is like no other
        kept = todo[is_possible]
        pairs[kept, 0] = target[is_possible]
        pairs[kept, 1] = order[category[is_possible], chosen[is_possible]]
        todo = todo[~is_possible]
    return pairs


def draw_uniform_pairs(num_items: int, num_pairs: int, generator: np.random.Generator) -> np.ndarray:
    """Draw pairs as they come, whatever the labels: the mix of situations that a search meets.

    Items are shuffled again and again and taken two by two, so that all are drawn alike often, but for one.

    Args:
        num_items: Items to draw from.
        num_pairs: Pairs to draw; a pair may come again.
        generator: Draws them.

    Returns:
        Target and partner, int32 [pair, 2], never the same.

    Raises:
        SplitError: If there are fewer than two items.
    """
    if num_items < 2:
        raise SplitError(f"Expected at least 2 clips to train on; found {num_items}. Add clips.")
    pairs_each = num_items // 2  # of an odd number one item sits out, another one each time
    rounds = [generator.permutation(num_items)[: 2 * pairs_each] for _ in range(-(-num_pairs // pairs_each))]
    return np.concatenate(rounds)[: 2 * num_pairs].reshape(-1, 2).astype(np.int32)


class PairDataset(Dataset[dict[str, Tensor]]):
    """Pairs of items, fetched a whole batch at a time.

    A batch has the fields of the first clips as they are, those of the second with the prefix `other_`.

    Args:
        items: Every item of the corpus, so that a position in it is an item's index.
        pairs: Item indices, [pair, 2].
    """

    def __init__(self, items: FeatureDataset, pairs: np.ndarray) -> None:
        self._items = items
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        return {name: value[0] for name, value in self.__getitems__([position]).items()}

    def __getitems__(self, positions: Sequence[int]) -> dict[str, Tensor]:
        """Return the batch of these pairs."""
        first, second = self.pairs[np.asarray(positions)].T
        others = self._items.__getitems__(second).items()
        return self._items.__getitems__(first) | {f"{OTHER}{name}": value for name, value in others}


def _choose(num_rows: int, size: int, num_wanted: int, generator: np.random.Generator | None) -> np.ndarray:
    """Choose distinct positions below `size` for each row, all if there are no more, [row, chosen].

    The first ones without a generator; else a random set, by Floyd's algorithm (Bentley and Floyd, A sample of
    brilliance, 1987): position j is drawn up to j, and j itself taken where that one was drawn before.
    """
    num_chosen = max(0, min(size, num_wanted))
    if generator is None or num_chosen == size:
        return np.tile(np.arange(num_chosen), (num_rows, 1))
    chosen = np.zeros((num_rows, num_chosen), np.int64)
    for column in range(num_chosen):
        last = size - num_chosen + column
        drawn = generator.integers(last + 1, size=num_rows)
        is_taken = (chosen[:, :column] == drawn[:, None]).any(axis=1)
        chosen[:, column] = np.where(is_taken, last, drawn)
    return chosen
