"""FSDKaggle2018: 11,073 Freesound clips of 0.3 to 30 s, 41 classes, 44.1 kHz mono; DCASE 2018, task 2.

Fonseca et al., General-purpose tagging of Freesound audio with AudioSet labels: task description, dataset, and baseline
(DCASE 2018 workshop). Two layouts are read, the release on Zenodo (record 2552860) and the competition on Kaggle:

    FSDKaggle2018.audio_train    audio_train                  9,473 clips, 94 to 300 a class
    FSDKaggle2018.audio_test     audio_test                   1,600 clips that are scored; Kaggle's has others too
    FSDKaggle2018.meta/
      train_post_competition.csv                      or      train.csv
      test_post_competition_scoring_clips.csv         or      test_post_competition.csv

Train tables have the columns fname, label, manually_verified, and in the release freesound_id and license; test tables
fname, label, usage, freesound_id, license, where a usage of `Ignored` marks clips that are not scored. Some copies
spell `freesound_id` as `fsID`.
"""

import logging
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

_logger = logging.getLogger(__name__)

ROOT_VARIABLE = "EARMARK_FSD_KAGGLE2018_ROOT"
NUM_CLIPS = {"train": 9_473, "test": 1_600}
_URL = "https://zenodo.org/records/2552860/files"
_LICENSE = "CC0, CC BY or CC BY-NC, clip by clip (column license)"
_CITATION = "E. Fonseca et al., General-purpose Tagging of Freesound Audio with AudioSet Labels, DCASE 2018"
# MD5 sums as the MTEB benchmark's builder of this corpus has them; sizes to the byte are not known, together 4.6 GB.
# Tables come last: they say that all is there.
ARCHIVES = tuple(
    Archive(f"FSDKaggle2018 ({part})", f"{_URL}/{folder}.zip", None, f"md5:{md5}", _LICENSE, _CITATION, folder)
    for part, folder, md5 in (
        ("test clips", "FSDKaggle2018.audio_test", "f85c8665c3fc39311ea1b748e194a81d"),
        ("train clips", "FSDKaggle2018.audio_train", "a8b47ff4b52022c178f88fa5c6f080d0"),
        ("tables", "FSDKaggle2018.meta", "f16828ac8be0e5285b9175a12f90d784"),
    )
)
_TABLE_FOLDERS = ("FSDKaggle2018.meta", "meta", ".")
_TABLES = {
    "train": ("train_post_competition.csv", "train.csv"),
    "test": ("test_post_competition_scoring_clips.csv", "test_post_competition.csv"),
}
_RECORDING_COLUMNS = ("freesound_id", "fsID")
_REMEDY = "Fetch FSDKaggle2018.meta.zip of Zenodo record 2552860 and unpack it into --data.root."


@dataclass(kw_only=True, eq=False, repr=False)
class FsdKaggle2018(EmbeddingDataModule):
    """Retrieve the official test clips' classes from the official train clips.

    Queries are the test clips, the database is all train clips, verified by hand or not; `label_fraction` of each class
    is labelled for training. Validation queries are whole recordings of the database without a labelled clip; the rest
    of the database answers them. Train clips of a recording that is in the test set are left out, with a warning.

    Args:
        root: Folder of the release or of Kaggle's copy; None takes $EARMARK_FSD_KAGGLE2018_ROOT, then
            `data/FSDKaggle2018`. Clips are found by their stem, so a copy transcoded to another format serves.
        download: Whether to fetch the release, 4.6 GB, into the default folder when there is no corpus.
        verified_only: Whether to leave out train clips whose label was not verified by hand, some 60 %.
        val_fraction: Share of recordings of each class, of those without a labelled clip, that validation queries are.
        split_seed: Seed of drawing them.
    """

    root: str | None = None
    download: bool = False
    verified_only: bool = False
    val_fraction: float = 0.1
    split_seed: int = 0
    labels_per_class: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.val_fraction < 1:
            raise SplitError(f"val_fraction must be between 0 and 1; got {self.val_fraction}. Try 0.1.")

    @property
    def own_copy(self) -> str | None:
        """The folder that the user names, into which nothing is fetched."""
        return self.root or os.environ.get(ROOT_VARIABLE)

    @property
    def folder(self) -> Path:
        """Where the corpus lies."""
        return Path(self.own_copy or "data/FSDKaggle2018")

    @property
    def corpus_name(self) -> str:
        """FSDKaggle2018."""
        return "FSDKaggle2018"

    @property
    def variants(self) -> list[str]:
        """A database of verified clips only is said."""
        return ["verified"] * self.verified_only + super().variants

    def read_class_names(self) -> list[str]:
        """Return the labels of the train table, verified or not, in alphabetical order."""
        return sorted({row["label"] for row in self._train_rows()})

    def find_corpus(self) -> None:
        """Make sure the tables are there, or fetch the release.

        Raises:
            DatasetMissing: If a table is not there.
        """
        if self.download and not self.own_copy and not all(self._find_table(part) for part in _TABLES):
            _logger.warning("FSDKaggle2018 comes in %d archives, 4.6 GB together.", len(ARCHIVES))
            for archive in ARCHIVES:
                fetch_archive(archive, self.folder / archive.top_folder, f"--data.root DIR or ${ROOT_VARIABLE}")
        for part, names in _TABLES.items():
            if self._find_table(part) is None:
                raise DatasetMissing(
                    f"Expected FSDKaggle2018 in {self.folder.resolve()}: found no {' or '.join(names)} there or in "
                    f"{_TABLE_FOLDERS[0]}. Name the folder of the unpacked release with --data.root DIR or "
                    f"${ROOT_VARIABLE}; leave both out and set --data.download true to have 4.6 GB fetched from "
                    f"{_URL}; or run `python train.py fit --config demo.yaml`, which needs no corpus."
                )

    def read_items(self) -> list[AudioItem]:
        """Read train, then test clips, in the order of their tables; each is found by its stem.

        Raises:
            DatasetMissing: If tables or clips are not there.
            DatasetLayoutError: If a table lacks a column, has no lines, names a clip twice or leaves a field empty, or
                the test table has a label that the train table has not.
        """
        labels = {name: label for label, name in enumerate(self.class_names)}
        rows = {"train": self._train_rows(), "test": self._test_rows()}
        for part, expected in NUM_CLIPS.items():
            if len(rows[part]) != expected:
                _logger.warning("Not the whole corpus: %d %s clips, %d expected.", len(rows[part]), part, expected)
        if self.verified_only:
            rows["train"] = [row for row in rows["train"] if row["manually_verified"] == "1"]
        return self._items_of("train", rows["train"], labels) + self._items_of("test", rows["test"], labels)

    def assign_roles(self, items: Sequence[AudioItem], usable: np.ndarray) -> Roles:
        """Split as the corpus is split; draw labelled clips and validation queries from the database.

        Raises:
            SplitError: If there is no usable query or database, or a class has too few clips for the labels asked for.
        """
        recordings = np.array([item.recording for item in items])
        is_test = np.array([item.subset == "test" for item in items])
        is_other_take = usable & ~is_test & np.isin(recordings, recordings[usable & is_test])
        if is_other_take.any():
            _logger.warning("Left out %d train clips: they are of recordings in the test set.", is_other_take.sum())
        return self.split_by_query(items, usable & ~is_other_take, is_test, self.val_fraction, self.split_seed)

    def _train_rows(self) -> list[dict[str, str]]:
        if not self.verified_only:
            return self._rows("train", ("fname", "label"))
        rows = self._rows("train", ("fname", "label", "manually_verified"))
        odd = next((row for row in rows if row["manually_verified"] not in ("0", "1")), None)
        if odd is not None:
            raise DatasetLayoutError(
                f"{self._table('train')}: expected 0 or 1 in manually_verified, found {odd['manually_verified']!r} for "
                f"{odd['fname']}. {_REMEDY}"
            )
        return rows

    def _test_rows(self) -> list[dict[str, str]]:
        return [row for row in self._rows("test", ("fname", "label")) if row.get("usage") != "Ignored"]

    def _rows(self, part: str, columns: Sequence[str]) -> list[dict[str, str]]:
        self.find_corpus()
        path = self._table(part)
        rows = read_rows(path, columns, _REMEDY)
        seen: set[str] = set()
        for line, row in enumerate(rows, start=2):
            if not row["fname"] or not row["label"] or row["fname"] in seen:
                raise DatasetLayoutError(
                    f"{path}, line {line}: expected a file name not named before and a label, found {row['fname']!r} "
                    f"and {row['label']!r}. {_REMEDY}"
                )
            seen.add(row["fname"])
        return rows

    def _items_of(self, part: str, rows: Sequence[dict[str, str]], labels: dict[str, int]) -> list[AudioItem]:
        folder, table = self._audio_folder(part), self._table(part)
        unknown = next((row for row in rows if row["label"] not in labels), None)
        if unknown is not None:
            raise DatasetLayoutError(
                f"{table}: expected the {len(labels)} labels of the train table, found {unknown['label']!r} of "
                f"{unknown['fname']}. {_REMEDY}"
            )
        paths = find_named([row["fname"] for row in rows], clips_by_stem(folder.glob("*")), table, str(folder))
        items = []
        for row, path in zip(rows, paths, strict=True):
            name = f"{folder.name}/{path.name}"
            source = next((row[column] for column in _RECORDING_COLUMNS if row.get(column)), name)
            items.append(AudioItem(name, path, labels[row["label"]], source, part))
        return items

    def _table(self, part: str) -> Path:
        path = self._find_table(part)
        assert path is not None  # find_corpus has seen it
        return path

    def _find_table(self, part: str) -> Path | None:
        candidates = (self.folder / folder / name for name in _TABLES[part] for folder in _TABLE_FOLDERS)
        return next((path for path in candidates if path.is_file()), None)

    def _audio_folder(self, part: str) -> Path:
        released, kaggles = self.folder / f"FSDKaggle2018.audio_{part}", self.folder / f"audio_{part}"
        return kaggles if kaggles.is_dir() and not released.is_dir() else released
