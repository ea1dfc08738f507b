"""Which clip of a corpus has which role, and how roles are drawn."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from datamodules.errors import SplitError

_logger = logging.getLogger(__name__)

Role = Literal["train", "query", "database", "val_query", "val_database"]
VAL_SHARE = 0.25  # of the recordings that validation could ask for, where training takes the rest of the database


@dataclass(frozen=True)
class AudioItem:
    """One clip of a corpus.

    Attributes:
        name: Unique within the corpus; its path relative to the corpus's folder.
        path: Where it lies.
        label: Class.
        recording: What it was cut from; clips of one recording are never on both sides of a split.
        subset: Fold or split as the corpus has it.
    """

    name: str
    path: Path
    label: int
    recording: str
    subset: str


@dataclass(frozen=True)
class Roles:
    """Positions in the corpus of the items of each role.

    Attributes:
        train: Items trained on, a part of the database: those labelled, or all but validation queries.
        query: Test queries.
        database: Items that test queries are answered from.
        val_query: Items of the database that training does not see, nor another take of; may be none.
        val_database: Items that these are answered from.
    """

    train: np.ndarray
    query: np.ndarray
    database: np.ndarray
    val_query: np.ndarray
    val_database: np.ndarray


def draw_labelled(
    items: Sequence[AudioItem],
    database: np.ndarray,
    class_names: Sequence[str],
    labels_per_class: int | None,
    label_fraction: float,
    seed: int,
) -> np.ndarray:
    """Draw the labelled items of each class from the database.

    Args:
        items: Every clip.
        database: Positions to draw from.
        class_names: Name of each class, in the order of labels.
        labels_per_class: Labelled items a class; None takes `label_fraction`.
        label_fraction: Share of each class's items of the database, at least one item.
        seed: Seed of the draw.

    Raises:
        SplitError: If a class has fewer items than labels asked for.
    """
    labels = np.array([items[index].label for index in database])
    generator = np.random.default_rng(seed)
    drawn = []
    for label, name in enumerate(class_names):
        candidates = database[labels == label]
        wanted = labels_per_class
        if wanted is None:
            wanted = max(1, round(label_fraction * len(candidates)))
        if len(candidates) < wanted:
            raise SplitError(
                f"Class {name!r} has {len(candidates)} usable clips in the database; {wanted} labels were asked "
                "for. Lower --data.labels_per_class, or add clips."
            )
        drawn.append(generator.choice(candidates, wanted, replace=False))
    return np.sort(np.concatenate(drawn))


def draw_recordings(items: Sequence[AudioItem], candidates: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Draw whole recordings, a fraction of each class's; none of a class that has but one.

    Args:
        items: Every clip.
        candidates: Mask of the items to draw from.
        fraction: Share of the recordings of each class, at least one recording.
        seed: Seed of the draw.

    Returns:
        Mask of the items of the recordings drawn, candidates or not.
    """
    labels = np.array([item.label for item in items])
    recordings = np.array([item.recording for item in items])
    generator = np.random.default_rng(seed)
    drawn: list[str] = []
    for label in np.unique(labels[candidates]):
        names = np.unique(recordings[candidates & (labels == label)])
        if len(names) > 1:
            drawn += generator.choice(names, max(1, round(fraction * len(names))), replace=False).tolist()
    return np.isin(recordings, drawn)


def draw_share(groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draw whole groups that are about a share of all items together, at least one group and never all.

    Groups are gone through in an order drawn, and one is taken where it brings the sum closer to the share; if there is
    none, the smallest is.

    Args:
        groups: Group of each item, [item].
        share: Share of the items.
        seed: Seed of the draw.

    Returns:
        Mask of the items drawn, [item].

    Raises:
        SplitError: If there are fewer than two groups.
    """
    names, group_of_item, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise SplitError(
            f"Expected at least two groups of clips to draw validation queries from; found {len(names)}. Add clips, or "
            "train on all of them."
        )
    wanted, total = share * len(groups), 0
    is_drawn = np.zeros(len(names), bool)
    for group in np.random.default_rng(seed).permutation(len(names)):
        grown = total + sizes[group]
        if abs(grown - wanted) < abs(total - wanted) and grown < len(groups):
            is_drawn[group], total = True, grown
    if not is_drawn.any():
        is_drawn[np.argmin(sizes)] = True
    return np.asarray(is_drawn[group_of_item])


def train_on_database(items: Sequence[AudioItem], roles: Roles, seed: int) -> Roles:
    """Train on the whole database, but for a few recordings that validation asks for.

    These are drawn from the recordings of `roles.val_query`, `VAL_SHARE` of each class's; all other items of the
    database are trained on and answer them. No recording of a test query is among either.

    Args:
        items: Every clip.
        roles: Split of the corpus; its labelled items don't matter.
        seed: Seed of the draw.
    """
    recordings = np.array([item.recording for item in items])
    candidates = np.zeros(len(items), bool)
    candidates[roles.val_query] = True
    in_val = draw_recordings(items, candidates, VAL_SHARE, seed)[roles.database]
    is_tested = np.isin(recordings[roles.database], recordings[roles.query])
    if is_tested.any():
        _logger.warning("Left out %d clips of training: they are of recordings that are queries.", is_tested.sum())
    train = roles.database[~in_val & ~is_tested]
    return replace(roles, train=train, val_query=roles.database[in_val & ~is_tested], val_database=train)
