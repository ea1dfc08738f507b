"""ESC-50: 2,000 clips of 5 s, 50 classes, five folds (Piczak, ESC: Dataset for environmental sound classification).

Layout: `meta/esc50.csv` (filename, fold, target, category, esc10, src_file, take) and `audio/<filename>`. Folds keep
all takes of one recording together.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.csv_table import clips_by_stem, find_named, read_rows
from datamodules.errors import DatasetLayoutError, DatasetMissing, SplitError
from datamodules.labelled_clips import EmbeddingDataModule
from datamodules.splits.roles import AudioItem, Roles
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


@dataclass(kw_only=True, eq=False, repr=False)
class Esc50(EmbeddingDataModule):
    """Retrieve sounds of one fold of ESC-50 from the other four.

    Queries are the clips of `fold`, the database is all the rest; `labels_per_class` clips of it are labelled for
    training. Validation queries come from the next fold, without the labelled clips and their other takes, and are
    answered from the remaining three.

    Args:
        root: Folder with `meta/esc50.csv` and `audio`; None takes $EARMARK_ESC50_ROOT, then `data/ESC-50`. Clips are
            found by their stem, so a copy transcoded to another format serves.
        download: Whether to fetch the official archive into the default folder when there is no corpus.
        fold: Fold of the test queries, 1 to 5.
        esc10: Whether to keep to the ten classes of ESC-10.
        superclasses: Whether the five superclasses are the labels.
    """

    root: str | None = None
    download: bool = True
    fold: int = 1
    esc10: bool = False
    superclasses: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.fold <= _NUM_FOLDS:
            raise SplitError(f"fold must be 1 to {_NUM_FOLDS}; got {self.fold}.")

    @property
    def own_copy(self) -> str | None:
        """The folder that the user names, into which nothing is fetched."""
        return self.root or os.environ.get(ROOT_VARIABLE)

    @property
    def folder(self) -> Path:
        """Where the corpus lies."""
        return Path(self.own_copy or "data/ESC-50")

    @property
    def corpus_name(self) -> str:
        """ESC-50 or ESC-10."""
        return "ESC-10" if self.esc10 else "ESC-50"

    @property
    def variants(self) -> list[str]:
        """Superclasses are said."""
        return ["superclasses"] * self.superclasses + super().variants

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
        if not self.download or self.own_copy:
            raise DatasetMissing(
                f"Expected ESC-50 in {self.folder.resolve()}: {table} is not there. Name the folder that holds meta "
                f"and audio with --data.root DIR or ${ROOT_VARIABLE}; leave both out to have {ARCHIVE.url} fetched "
                "into data/ESC-50; or run `python train.py fit --config demo.yaml`, which needs no corpus."
            )
        fetch_archive(ARCHIVE, self.folder, f"--data.root DIR or ${ROOT_VARIABLE}")
        if not table.is_file():
            raise DatasetMissing(
                f"Expected ESC-50 in {self.folder.resolve()}; the folder is there, but {table} is not. Move meta and "
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
        rows, audio = self._rows(), self.folder / "audio"
        paths = find_named(
            [row["filename"] for row in rows], clips_by_stem(audio.glob("*")), self._table_path, str(audio)
        )
        items = []
        for row, path in zip(rows, paths, strict=True):
            target = int(row["target"])
            label = target // 10 if self.superclasses else labels[target]
            items.append(AudioItem(f"audio/{path.name}", path, label, row["src_file"], row["fold"]))
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
                f"Expected usable clips in fold {self.fold} and in others; found folds {found} in {self.folder}."
            )
        train = self.draw_labelled(items, database)
        val_fold = self.fold % _NUM_FOLDS + 1
        in_val = folds[database] == val_fold
        if in_val.all():
            raise SplitError(
                f"Expected usable clips in a fold other than {self.fold} and {val_fold}, to answer validation queries "
                f"from; found none in {self.folder}. Restore the missing folds, or choose another --data.fold."
            )
        val_query = database[in_val & ~np.isin(recordings[database], recordings[train])]
        return Roles(train, query, database, val_query, database[~in_val])

    @property
    def _table_path(self) -> Path:
        return self.folder / "meta" / "esc50.csv"

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
