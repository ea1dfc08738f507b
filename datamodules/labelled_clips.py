"""What every corpus with one label a clip shares: which clips are labelled, and how often they are trained on."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.clips import ClipDataModule
from datamodules.errors import SplitError
from datamodules.splits.labelled_folds import LabelledFold, hold_out_fold
from datamodules.splits.roles import AudioItem, Roles, draw_labelled, draw_recordings, train_on_database

TrainOn = Literal["labelled", "database"]


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class EmbeddingDataModule(ClipDataModule[AudioItem]):
    """Serve the cached embeddings of a corpus with one label a clip, by role.

    Args:
        passes_per_epoch: Times the items to train on are gone through in one epoch; a small labelled set makes short
            epochs.
        labels_per_class: Labelled items a class; None takes `label_fraction`.
        label_fraction: Share of each class's database items that are labelled, where `labels_per_class` is None.
        label_seed: Seed of drawing the labelled items.
        train_on: `labelled` trains on the labelled items; `database` on the whole database but a few recordings, drawn
            by `label_seed` and kept for validation, whatever is labelled.
        labelled_fold: Cross-validation inside the training set: the labelled items of one fold ask, those of the others
            are trained on and answer, nothing else has a role; None is the corpus's own split.
    """

    passes_per_epoch: int = 1
    labels_per_class: int | None = 4
    label_fraction: float = 0.1
    label_seed: int = 0
    train_on: TrainOn = "labelled"
    labelled_fold: LabelledFold | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.label_fraction <= 1:
            raise SplitError(f"label_fraction must be above 0 and at most 1; got {self.label_fraction}.")
        if self.labelled_fold is not None and self.train_on == "database":
            raise SplitError(
                "labelled_fold holds out labelled items, and train_on database takes all clips, labelled or not. Set "
                "--data.train_on labelled."
            )

    @property
    def variants(self) -> list[str]:
        """Numbers of cross-validation are none of the corpus's own."""
        return [] if self.labelled_fold is None else ["labelled clips alone"]

    @property
    def superclass_of(self) -> np.ndarray | None:
        """Superclass, 0 and up, of each class, int64 [label]; None where the corpus has no level above its classes."""
        return None

    @property
    def superclass_names(self) -> list[str] | None:
        """Name of each superclass, in the order of `superclass_of`'s numbers; None where there are none."""
        return None

    def item_fields(self, items: Sequence[AudioItem]) -> dict[str, np.ndarray]:
        """Return the class of each item."""
        return {"label": np.array([item.label for item in items], np.int64)}

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Shuffled items to train on, `passes_per_epoch` times."""
        return self._train_loader(self._dataset(np.tile(self.roles.train, self.passes_per_epoch)))

    def draw_labelled(self, items: Sequence[AudioItem], database: np.ndarray) -> np.ndarray:
        """Draw the labelled items of each class from the database; none where training takes all of it.

        Raises:
            SplitError: If a class has fewer items than labels asked for.
        """
        if self.train_on == "database":
            return np.zeros(0, np.int64)
        return draw_labelled(
            items, database, self.class_names, self.labels_per_class, self.label_fraction, self.label_seed
        )

    def split_by_query(
        self, items: Sequence[AudioItem], usable: np.ndarray, is_query: np.ndarray, val_fraction: float, val_seed: int
    ) -> Roles:
        """Let all but the queries be the database; draw the labelled items of it, then validation queries.

        Args:
            items: Every clip.
            usable: Mask of the items that have a role.
            is_query: Mask of those that ask; whole recordings.
            val_fraction: Share of the recordings of each class, of those without a labelled item, that asks in
                validation.
            val_seed: Seed of drawing them.

        Raises:
            SplitError: If there is no query or no database, a recording is on both sides, or a class has fewer items
                than labels asked for.
        """
        recordings = np.array([item.recording for item in items])
        query, database = np.flatnonzero(usable & is_query), np.flatnonzero(usable & ~is_query)
        if len(query) == 0 or len(database) == 0:
            raise SplitError(
                f"Expected queries and a database of {self.data_name}; found {len(query)} and {len(database)} usable "
                "clips. Add clips or restore missing ones, or let other clips ask."
            )
        shared = np.intersect1d(recordings[query], recordings[database])
        if len(shared):
            raise SplitError(
                f"Recording {str(shared[0])!r} has clips among queries and database; put all of it on one side."
            )
        train = self.draw_labelled(items, database)
        free = usable & ~is_query & ~np.isin(recordings, recordings[train])
        val_query = np.flatnonzero(free & draw_recordings(items, free, val_fraction, val_seed))
        return Roles(train, query, database, val_query, np.setdiff1d(database, val_query))

    def _split(self, usable: np.ndarray) -> Roles:
        roles = super()._split(usable)
        if self.labelled_fold is not None:
            roles = hold_out_fold(self.items, roles, self.labelled_fold, self.label_seed)
        return train_on_database(self.items, roles, self.label_seed) if self.train_on == "database" else roles
