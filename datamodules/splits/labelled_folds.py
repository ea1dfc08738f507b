"""Cross-validation inside the labelled training set: a part of it asks, the rest is trained on and answers.

What has to be chosen by trial, such as the weight of a loss, is chosen so without a look at the test queries (Jati and
Emmanouilidou, Supervised deep hashing for efficient audio event retrieval, 2020, footnote 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datamodules.errors import SplitError
from datamodules.splits.roles import AudioItem, Roles


@dataclass(frozen=True)
class LabelledFold:
    """Which part of the labelled items is held out.

    Attributes:
        fold: Part held out, 1 to `num_folds`.
        num_folds: Parts that the labelled items are dealt into.
    """

    fold: int = 1
    num_folds: int = 4


def hold_out_fold(items: Sequence[AudioItem], roles: Roles, held_out: LabelledFold, seed: int) -> Roles:
    """Turn a part of the labelled items into the queries, the rest into what is trained on and searched.

    Recordings are dealt whole, class by class, in an order drawn, each to the part with the fewest clips of its class,
    so that no recording is on both sides and the parts are about alike. A class with one recording is always trained
    on. The corpus's own queries and its unlabelled items have no role.

    Args:
        items: Every clip.
        roles: Split of the corpus.
        held_out: Part to hold out.
        seed: Seed of the order; the same for all parts.

    Raises:
        SplitError: If there is no such part, or it would be empty.
    """
    if held_out.num_folds < 2 or not 1 <= held_out.fold <= held_out.num_folds:
        raise SplitError(
            f"Expected at least 2 labelled folds and one of them; got fold {held_out.fold} of {held_out.num_folds}. "
            "Set --data.labelled_fold.fold and --data.labelled_fold.num_folds."
        )
    if len(roles.train) == 0 or np.isin(roles.train, roles.query).any():
        raise SplitError("Expected labelled items apart from the queries; found none, or some that are queries.")
    fold_of = _deal(items, roles.train, held_out.num_folds, seed)
    query, rest = roles.train[fold_of == held_out.fold], roles.train[fold_of != held_out.fold]
    if len(query) == 0:
        raise SplitError(
            f"Labelled fold {held_out.fold} of {held_out.num_folds} is empty: {len(roles.train)} labelled clips have "
            "too few recordings. Ask for fewer folds, or raise --data.labels_per_class."
        )
    none = np.zeros(0, np.int64)
    return Roles(rest, query, rest, none, none)


def _deal(items: Sequence[AudioItem], labelled: np.ndarray, num_folds: int, seed: int) -> np.ndarray:
    """Return the part of each labelled item, 1 and up; 0 for the items of a class with one recording, [item]."""
    generator = np.random.default_rng(seed)
    labels = np.array([items[index].label for index in labelled])
    recordings = np.array([items[index].recording for index in labelled])
    parts: dict[str, int] = {}
    totals = np.zeros(num_folds, np.int64)
    for label in np.unique(labels):
        names = np.unique(recordings[labels == label])
        of_class = np.zeros(num_folds, np.int64)
        num_clips = {name: int((recordings == name).sum()) for name in names}
        for name in sorted(generator.permutation(names), key=lambda name: -num_clips[name]):
            if str(name) in parts:
                continue  # a recording with clips of several classes is dealt once
            smallest = np.lexsort((totals, of_class))[0]  # the fewest clips of the class, then of all
            parts[str(name)] = int(smallest) + 1 if len(names) > 1 else 0
            if len(names) > 1:
                of_class[smallest] += num_clips[name]
                totals[smallest] += num_clips[name]
    return np.array([parts[str(name)] for name in recordings], np.int64)
