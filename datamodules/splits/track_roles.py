"""Which tracks of a corpus are trained on, indexed and asked for."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.errors import SplitError


@dataclass(frozen=True)
class Track:
    """One recording of a corpus.

    Attributes:
        name: Unique within the corpus; its path relative to the corpus's folder.
        path: Where it lies.
        is_trained: Whether it is trained on, or kept for validation.
        is_indexed: Whether the database holds it.
    """

    name: str
    path: Path
    is_trained: bool
    is_indexed: bool


@dataclass(frozen=True)
class TrackRoles:
    """Positions in the corpus of the tracks of each role, ascending.

    Attributes:
        train: Tracks trained on.
        val: Tracks kept out of training for validation, which asks for them and finds them in a database of their own.
        indexed: Tracks the database holds.
        query: Tracks of the database that are neither of the first two; test queries are cut from them.
    """

    train: np.ndarray
    val: np.ndarray
    indexed: np.ndarray
    query: np.ndarray


def path_share(name: str) -> float:
    """Map a name to [0, 1), evenly over names; the same on every machine and whatever other names there are."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64


def assign_roles(tracks: Sequence[Track], usable: np.ndarray, val_share: float, seed: int) -> TrackRoles:
    """Draw the tracks kept for validation; queries are of indexed tracks that training has no part in.

    Args:
        tracks: Every track of the corpus.
        usable: Mask of the tracks that are long enough and whole.
        val_share: Share of the tracks to train on that validation gets, at least one track; 0 draws none.
        seed: Seed of the draw.

    Raises:
        SplitError: If there is nothing to train on, or nothing to ask for.
    """
    is_trained = usable & np.array([track.is_trained for track in tracks], bool)
    is_indexed = usable & np.array([track.is_indexed for track in tracks], bool)
    trainable = np.flatnonzero(is_trained)
    num_val = max(1, round(val_share * len(trainable))) if val_share else 0
    query = np.flatnonzero(is_indexed & ~is_trained)
    if len(trainable) <= num_val or len(query) == 0:
        raise SplitError(
            f"Expected more than {num_val} usable tracks to train on, and indexed tracks that are not trained on, to "
            f"ask for; found {len(trainable)} and {len(query)}. Add tracks, train on a smaller part of the corpus, or "
            "index a larger one."
        )
    val = np.sort(np.random.default_rng(seed).choice(trainable, num_val, replace=False))
    return TrackRoles(np.setdiff1d(trainable, val), val, np.flatnonzero(is_indexed), query)
