"""ESC-50: 2,000 clips of 5 s, 50 classes, five folds (Piczak, ESC: Dataset for environmental sound classification).

Layout: `meta/esc50.csv` (filename, fold, target, category, esc10, src_file, take) and `audio/<filename>`. Folds keep
all takes of one recording together.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from datamodules.base import EmbeddingDataModule, OnBadAudio, TrainOn
from datamodules.csv_table import read_rows
from datamodules.errors import DatasetLayoutError, DatasetMissing, SplitError
from datamodules.splits.labelled_folds import LabelledFold
from datamodules.splits.roles import AudioItem, Roles
from sound.audio import AUDIO_SUFFIXES
from storage.fetch import Archive, fetch_archive

ROOT_VARIABLE = "EARMARK_ESC50_ROOT"
ARCHIVE = Archive(
    name="ESC-50",
    url="https://github.com/karolpiczak/ESC-50/archive/master.zip",
    num_bytes=645_695_005,
    checksum="sha256:805afc618aff80eff0641d51311647871fead5807da68bb18e43a27db47a79ce",
    license="CC BY-NC 3.0",
    citation="K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015",
    top_folder="ESC-50-master",
)
SUPERCLASSES = ("animals", "nature", "human", "interior", "exterior")
_COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
_NUM_FOLDS = 5
_FOLDS = {str(fold) for fold in range(1, _NUM_FOLDS + 1)}
_TARGETS = {str(target) for target in range(50)}


class Esc50(EmbeddingDataModule):
    """Retrieve sounds of one fold of ESC-50 from the other four.

    Queries are the clips of `fold`, the database is all the rest; `labels_per_class` clips of it are labelled for
    training. Validation queries come from the next fold, without the labelled clips and their other takes, and are
    answered from the remaining three.

    Args:
        frontend: Frozen front end that embeds the clips.
        root: Folder with `meta/esc50.csv` and `audio`; None takes $EARMARK_ESC50_ROOT, then `data/ESC-50`. Clips are
            found by their stem, so a copy transcoded to another format serves.
        download: Whether to fetch the official archive into the default folder when there is no corpus.
        fold: Fold of the test queries, 1 to 5.
        esc10: Whether to keep to the ten classes of ESC-10.
        superclasses: Whether the five superclasses are the labels.
        name: What to call numbers measured on this copy; None is `ESC-50` or `ESC-10`.
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
        frontend: nn.Module,
        root: str | None = None,
        download: bool = True,
        fold: int = 1,
        esc10: bool = False,
        superclasses: bool = False,
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
        if not 1 <= fold <= _NUM_FOLDS:
            raise SplitError(f"fold must be 1 to {_NUM_FOLDS}; got {fold}.")
        given = root or os.environ.get(ROOT_VARIABLE)
        self.root = Path(given or "data/ESC-50")
        self.download = download and given is None
        self.fold = fold
        self.esc10 = esc10
        self.superclasses = superclasses
        self.name = name

    @property
    def data_name(self) -> str:
        """The name given, or the corpus's own, with superclasses said."""
        name = self.name or ("ESC-10" if self.esc10 else "ESC-50")
        return self.name_of(f"{name}, superclasses" if self.superclasses else name)

    def read_class_names(self) -> list[str]:
        """Return the categories in the order of labels: ascending target."""
        return list(SUPERCLASSES) if self.superclasses else [name for _, name in self._categories()]

    @property
    def superclass_of(self) -> np.ndarray | None:
        """Superclass of each category, in the order of labels; None where superclasses are the labels."""
        return None if self.superclasses else np.array([target // 10 for target, _ in self._categories()], np.int64)

    @property
    def superclass_names(self) -> list[str] | None:
        """The five superclasses; None where they are the labels."""
        return None if self.superclasses else list(SUPERCLASSES)

    def find_corpus(self) -> None:
        """Make sure the table is there, or fetch the archive."""
        table = self._table_path
        if table.is_file():
            return
        if not self.download:
            raise DatasetMissing(
                f"Expected ESC-50 in {self.root.resolve()}: {table} is not there. Name the folder that holds meta "
                f"and audio with --data.root DIR or ${ROOT_VARIABLE}; leave both out to have {ARCHIVE.url} fetched "
                "into data/ESC-50; or run `python train.py fit --config demo.yaml`, which needs no corpus."
            )
        fetch_archive(ARCHIVE, self.root, f"--data.root DIR or ${ROOT_VARIABLE}")
        if not table.is_file():
            raise DatasetMissing(
                f"Expected ESC-50 in {self.root.resolve()}; the folder is there, but {table} is not. Move meta and "
                f"audio into it, delete it to have the corpus fetched, or name another with --data.root DIR or "
                f"${ROOT_VARIABLE}."
            )

    def read_items(self) -> list[AudioItem]:
        """Read the table, in its own order, and find each clip by its stem.

        Raises:
            DatasetMissing: If table or clips are not there.
            DatasetLayoutError: If the table lacks a column or names something impossible.
        """
        self.find_corpus()
        labels = {target: label for label, (target, _) in enumerate(self._categories())}
        audio = self.root / "audio"
        clips = {path.stem: path for path in sorted(audio.glob("*")) if path.suffix.lower() in AUDIO_SUFFIXES}
        items, missing = [], []
        for row in self._rows():
            stem = Path(row["filename"]).stem
            if stem not in clips:
                missing.append(row["filename"])
                continue
            target = int(row["target"])
            label = target // 10 if self.superclasses else labels[target]
            items.append(AudioItem(f"audio/{clips[stem].name}", clips[stem], label, row["src_file"], row["fold"]))
        if missing:
            raise DatasetMissing(
                f"{self._table_path} names {len(missing)} clips that are not in {audio}, first {missing[0]} (looked "
                f"for {Path(missing[0]).stem} with {', '.join(AUDIO_SUFFIXES)}). Restore them, or take them out of "
                "the table."
            )
        return items

    def assign_roles(self, items: Sequence[AudioItem], usable: np.ndarray) -> Roles:
        """Split by fold.

        Raises:
            SplitError: If the corpus has no usable clip in a fold, or too few for the labels asked for.
        """
        folds = np.array([int(item.subset) for item in items])
        recordings = np.array([item.recording for item in items])
        query = np.flatnonzero(usable & (folds == self.fold))
        database = np.flatnonzero(usable & (folds != self.fold))
        if len(query) == 0 or len(database) == 0:
            found = sorted(set(folds[usable].tolist()))
            raise SplitError(
                f"Expected usable clips in fold {self.fold} and in others; found folds {found} in {self.root}."
            )
        train = self.draw_labelled(items, database)
        val_fold = self.fold % _NUM_FOLDS + 1
        in_val = folds[database] == val_fold
        if in_val.all():
            raise SplitError(
                f"Expected usable clips in a fold other than {self.fold} and {val_fold}, to answer validation queries "
                f"from; found none in {self.root}. Restore the missing folds, or choose another --data.fold."
            )
        val_query = database[in_val & ~np.isin(recordings[database], recordings[train])]
        return Roles(train, query, database, val_query, database[~in_val])

    @property
    def _table_path(self) -> Path:
        return self.root / "meta" / "esc50.csv"

    def _rows(self) -> list[dict[str, str]]:
        rows = read_rows(self._table_path, _COLUMNS, "Fetch the table of the official release.")
        for line, row in enumerate(rows, start=2):
            if not (row["filename"] and row["fold"] in _FOLDS and row["target"] in _TARGETS):
                raise DatasetLayoutError(
                    f"{self._table_path}, line {line}: expected a file name, a fold of 1 to 5, a target of 0 to 49; "
                    f"found {row['filename']!r}, {row['fold']!r}, {row['target']!r}. Correct the line."
                )
        kept = [row for row in rows if row["esc10"] == "True"] if self.esc10 else rows
        if not kept:
            raise DatasetLayoutError(
                f"{self._table_path}: expected clips with True in the column esc10, found none. Set --data.esc10 false "
                "or fetch the official table."
            )
        return kept

    def _categories(self) -> list[tuple[int, str]]:
        """Targets present with their names, ascending."""
        self.find_corpus()
        return sorted({(int(row["target"]), row["category"]) for row in self._rows()})
