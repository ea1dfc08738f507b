"""What every corpus with one label a clip shares: labelled items, and how often they are trained on.

A batch is a dict of tensors:

    feature      float32 [batch, feature]          mean over the frames of a clip
                 float32 [batch, frame, feature]   its frames in order, where `frames_per_clip` is given
    label        int64 [batch]                     class
    item_index   int64 [batch]                     position in the corpus, the same whatever the split
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from torch import Tensor, nn
from torch.utils.data import DataLoader

from datamodules.clips import ClipDataModule, OnBadAudio
from datamodules.errors import SplitError
from datamodules.splits.labelled_folds import LabelledFold, hold_out_fold
from datamodules.splits.roles import AudioItem, Roles, draw_labelled, train_on_database

__all__ = ["EmbeddingDataModule", "OnBadAudio", "TrainOn"]

TrainOn = Literal["labelled", "database"]


class EmbeddingDataModule(ClipDataModule[AudioItem]):
    """Serve the cached embeddings of a corpus with one label a clip, by role.

    Args:
        frontend: Frozen front end that embeds the clips, or embeddings computed beforehand.
        cache_dir: Folder of embedding caches.
        batch_size: Items a batch, on each process.
        passes_per_epoch: Times the items to train on are gone through in one epoch; a small labelled set makes short
            epochs.
        labels_per_class: Labelled items a class; None takes `label_fraction`.
        label_fraction: Share of each class's database items that are labelled, where `labels_per_class` is None.
        label_seed: Seed of drawing the labelled items.
        standardize: Whether each feature is brought to mean 0 and deviation 1 over the (unlabelled) database.
        center_clips: Whether each clip's own mean, over the frames served and all features, is taken off first, so that
            its level doesn't matter.
        frames_per_clip: Frames served of each clip, its first ones, repeated from its start where it is shorter; None
            serves the mean over all its frames.
        train_on: `labelled` trains on the labelled items; `database` on the whole database but a few recordings, drawn
            by `label_seed` and kept for validation, whatever is labelled.
        on_bad_audio: `raise` stops at a file that can't be embedded; `skip` lists it and leaves it out.
        num_workers: Processes that fetch batches; none is best for means over frames, which are small.
        labelled_fold: Cross-validation inside the training set: the labelled items of one fold ask, those of the others
            are trained on and answer, nothing else has a role; None is the corpus's own split.
    """

    def __init__(
        self,
        frontend: nn.Module,
        cache_dir: str = "cache",
        batch_size: int = 200,
        passes_per_epoch: int = 1,
        labels_per_class: int | None = 4,
        label_fraction: float = 0.1,
        label_seed: int = 0,
        standardize: bool = False,
        center_clips: bool = False,
        frames_per_clip: int | None = None,
        train_on: TrainOn = "labelled",
        on_bad_audio: OnBadAudio = "raise",
        num_workers: int = 0,
        labelled_fold: LabelledFold | None = None,
    ) -> None:
        if not 0 < label_fraction <= 1:
            raise SplitError(f"label_fraction must be above 0 and at most 1; got {label_fraction}.")
        super().__init__(
            frontend, cache_dir, batch_size, standardize, center_clips, frames_per_clip, on_bad_audio, num_workers
        )
        if train_on not in get_args(TrainOn):
            raise SplitError(
                f"train_on must be {' or '.join(get_args(TrainOn))}; got {train_on!r}. Set --data.train_on to one."
            )
        if labelled_fold is not None and train_on == "database":
            raise SplitError(
                "labelled_fold holds out labelled items, and train_on database takes all clips, labelled or not. Set "
                "--data.train_on labelled."
            )
        self.passes_per_epoch = passes_per_epoch
        self.labels_per_class = labels_per_class
        self.label_fraction = label_fraction
        self.label_seed = label_seed
        self.train_on: TrainOn = train_on
        self.labelled_fold = labelled_fold

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

    def name_of(self, corpus: str) -> str:
        """Say what numbers are to be called, given the corpus's name: those of cross-validation are none of its own."""
        return corpus if self.labelled_fold is None else f"{corpus}, labelled clips alone"

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

    def _split(self, usable: np.ndarray) -> Roles:
        roles = super()._split(usable)
        if self.labelled_fold is not None:
            roles = hold_out_fold(self.items, roles, self.labelled_fold, self.label_seed)
        return train_on_database(self.items, roles, self.label_seed) if self.train_on == "database" else roles
