"""A user's own clips in `class/clip.ext` folders, with or without a split file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from datamodules.base import EmbeddingDataModule, OnBadAudio, TrainOn
from datamodules.csv_table import read_rows
from datamodules.errors import DatasetLayoutError, DatasetMissing, SplitError
from datamodules.splits.labelled_folds import LabelledFold
from datamodules.splits.roles import AudioItem, Roles, draw_recordings
from sound.audio import AUDIO_SUFFIXES

_SPLITS = ("query", "database")


class AudioFolder(EmbeddingDataModule):
    """Retrieve clips of any length, sample rate and format from a folder with one sub-folder a class.

    Without a split file, `query_fraction` of the recordings of each class become queries, drawn by a seed, and as many
    of the rest validation queries. Every clip counts as a recording of its own unless the split file says otherwise.

    Args:
        root: Folder with one sub-folder a class.
        frontend: Frozen front end that embeds the clips.
        split_file: CSV with the columns filename (relative to `root`), split (query or database) and, where several
            clips were cut from one recording, recording. Clips it does not name are left out.
        query_fraction: Share of recordings of each class that become queries where there is no split file.
        split_seed: Seed of that draw.
        name: What to call numbers measured on it; None is the folder's name.
        cache_dir: Folder of embedding caches.
        batch_size: Items a batch, on each process.
        passes_per_epoch: Times the items to train on are gone through in one epoch.
        labels_per_class: Labelled items a class; None takes `label_fraction`.
        label_fraction: Share of each class's database items that are labelled, where `labels_per_class` is None.
        label_seed: Seed of drawing the labelled items.
        standardize: Whether each feature is brought to mean 0 and deviation 1 over the database.
        center_clips: Whether each clip's own mean, over the frames served and all features, is taken off first, so that
            its level doesn't matter.
        frames_per_clip: Frames served of each clip, its first ones, repeated from its start where it is shorter; None
            serves the mean over all its frames.
        train_on: `labelled` trains on the labelled items; `database` on the whole database but a few recordings, drawn
            by `label_seed` and kept for validation, whatever is labelled.
        on_bad_audio: `raise` stops at a file that can't be embedded; `skip` lists it and leaves it out.
        num_workers: Processes that fetch batches.
        labelled_fold: Cross-validation inside the training set: the labelled items of one fold ask, those of the others
            are trained on and answer, nothing else has a role; None is the corpus's own split.
    """

    def __init__(
        self,
        root: str,
        frontend: nn.Module,
        split_file: str | None = None,
        query_fraction: float = 0.2,
        split_seed: int = 0,
        name: str | None = None,
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
        super().__init__(
            frontend, cache_dir, batch_size, passes_per_epoch, labels_per_class, label_fraction, label_seed,
            standardize, center_clips, frames_per_clip, train_on, on_bad_audio, num_workers, labelled_fold,
        )  # fmt: skip
        if not 0 < query_fraction < 1:
            raise SplitError(f"query_fraction must be between 0 and 1; got {query_fraction}.")
        self.root = Path(root)
        self.split_file = Path(split_file) if split_file else None
        self.query_fraction = query_fraction
        self.split_seed = split_seed
        self.name = name

    @property
    def data_name(self) -> str:
        """The name given, or the folder's."""
        return self.name_of(self.name or self.root.resolve().name)

    def read_class_names(self) -> list[str]:
        """Return the names of the sub-folders that hold audio, or that the split file names, in alphabetical order."""
        named = self._clips() if self.split_file is None else [Path(name) for name in self._split_rows(self.split_file)]
        return sorted({path.parent.name for path in named})

    def find_corpus(self) -> None:
        """Make sure there are clips."""
        self._clips()

    def read_items(self) -> list[AudioItem]:
        """Return the clips, ordered by name; those of the split file only, if there is one.

        Raises:
            DatasetMissing: If the folder, or a clip the split file names, is not there.
            DatasetLayoutError: If the split file lacks a column, has an unknown split or names a clip twice.
        """
        clips = {path.relative_to(self.root).as_posix(): path for path in self._clips()}
        labels = {name: label for label, name in enumerate(self.class_names)}
        if self.split_file is None:
            return [AudioItem(name, path, labels[path.parent.name], name, "") for name, path in sorted(clips.items())]
        rows = self._split_rows(self.split_file)
        unknown = [name for name in rows if name not in clips]
        if unknown:
            raise DatasetMissing(
                f"{self.split_file} names {len(unknown)} files that are not in {self.root}, first {unknown[0]}. "
                "Names are relative to the folder, class/clip.ext; correct them or restore the files."
            )
        return [
            AudioItem(name, clips[name], labels[clips[name].parent.name], row["recording"] or name, row["split"])
            for name, row in sorted(rows.items())
        ]

    def assign_roles(self, items: Sequence[AudioItem], usable: np.ndarray) -> Roles:
        """Split as the split file says, or by recording.

        Raises:
            SplitError: If there is no query or no database left, or a recording is on both sides.
        """
        recordings = np.array([item.recording for item in items])
        if self.split_file is None:
            is_query = draw_recordings(items, usable, self.query_fraction, self.split_seed)
        else:
            is_query = np.array([item.subset == "query" for item in items])
        query, database = np.flatnonzero(usable & is_query), np.flatnonzero(usable & ~is_query)
        if len(query) == 0 or len(database) == 0:
            raise SplitError(
                f"Expected queries and a database in {self.root}; found {len(query)} and {len(database)} usable "
                "clips. Add clips, raise --data.query_fraction, or correct the split file."
            )
        shared = np.intersect1d(recordings[query], recordings[database])
        if len(shared):
            raise SplitError(
                f"Recording {str(shared[0])!r} has clips among queries and database; put all of it on one side."
            )
        train = self.draw_labelled(items, database)
        free = usable & ~is_query & ~np.isin(recordings, recordings[train])
        in_val = draw_recordings(items, free, self.query_fraction, self.split_seed + 1)
        val_query = np.flatnonzero(free & in_val)
        val_database = np.setdiff1d(database, val_query)
        return Roles(train, query, database, val_query, val_database)

    def _clips(self) -> list[Path]:
        if not self.root.is_dir():
            raise DatasetMissing(
                f"Expected a folder with one sub-folder a class at {self.root.resolve()}; there is none. Correct "
                "--data.root."
            )
        clips = [path for path in sorted(self.root.glob("*/*")) if path.suffix.lower() in AUDIO_SUFFIXES]
        if not clips:
            raise DatasetMissing(
                f"Expected clips as class/clip.ext in {self.root.resolve()}, with ext one of "
                f"{', '.join(AUDIO_SUFFIXES)}; found none. Put each class's clips into a folder of its own."
            )
        return clips

    def _split_rows(self, path: Path) -> dict[str, dict[str, str]]:
        rows = read_rows(path, ("filename", "split"), "Correct --data.split_file, or leave it out.")
        seen: set[str] = set()
        for line, row in enumerate(rows, start=2):
            row.setdefault("recording", "")
            if row["filename"] in seen:
                raise DatasetLayoutError(
                    f"{path}, line {line}: expected {row['filename']} to be named once, found it again. Delete one of "
                    "the lines."
                )
            seen.add(row["filename"])
            if row["split"] not in _SPLITS:
                raise DatasetLayoutError(
                    f"{path}, line {line}: split must be query or database; found {row['split']!r}."
                )
        return {row["filename"]: row for row in rows}
