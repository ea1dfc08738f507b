"""A user's own clips in `class/clip.ext` folders, with or without a split file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.csv_table import read_rows
from datamodules.errors import DatasetLayoutError, DatasetMissing, SplitError
from datamodules.labelled_clips import EmbeddingDataModule
from datamodules.splits.roles import AudioItem, Roles, draw_recordings
from sound.audio import AUDIO_SUFFIXES

_SPLITS = ("query", "database")


@dataclass(kw_only=True, eq=False, repr=False)
class AudioFolder(EmbeddingDataModule):
    """Retrieve clips of any length, sample rate and format from a folder with one sub-folder a class.

    Without a split file, `query_fraction` of the recordings of each class become queries, drawn by a seed, and as many
    of the rest validation queries. Every clip counts as a recording of its own unless the split file says otherwise.

    Args:
        root: Folder with one sub-folder a class.
        split_file: CSV with the columns filename (relative to `root`), split (query or database) and, where several
            clips were cut from one recording, recording. Clips it does not name are left out.
        query_fraction: Share of recordings of each class that become queries where there is no split file.
        split_seed: Seed of that draw.
    """

    root: str
    split_file: str | None = None
    query_fraction: float = 0.2
    split_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.query_fraction < 1:
            raise SplitError(f"query_fraction must be between 0 and 1; got {self.query_fraction}.")

    @property
    def folder(self) -> Path:
        """Where the corpus lies."""
        return Path(self.root)

    @property
    def corpus_name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    def read_class_names(self) -> list[str]:
        """Return the names of the sub-folders that hold audio, or that the split file names, in alphabetical order."""
        rows = self._split_rows(Path(self.split_file)) if self.split_file else {}
        named = [Path(name) for name in rows] if self.split_file else self._clips()
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
        clips = {path.relative_to(self.folder).as_posix(): path for path in self._clips()}
        labels = {name: label for label, name in enumerate(self.class_names)}
        if not self.split_file:
            return [AudioItem(name, path, labels[path.parent.name], name, "") for name, path in sorted(clips.items())]
        rows = self._split_rows(Path(self.split_file))
        unknown = [name for name in rows if name not in clips]
        if unknown:
            raise DatasetMissing(
                f"{self.split_file} names {len(unknown)} files that are not in {self.folder}, first {unknown[0]}. "
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
        if not self.split_file:
            is_query = draw_recordings(items, usable, self.query_fraction, self.split_seed)
        else:
            is_query = np.array([item.subset == "query" for item in items])
        return self.split_by_query(items, usable, is_query, self.query_fraction, self.split_seed + 1)

    def _clips(self) -> list[Path]:
        if not self.folder.is_dir():
            raise DatasetMissing(
                f"Expected a folder with one sub-folder a class at {self.folder.resolve()}; there is none. Correct "
                "--data.root."
            )
        clips = [path for path in sorted(self.folder.glob("*/*")) if path.suffix.lower() in AUDIO_SUFFIXES]
        if not clips:
            raise DatasetMissing(
                f"Expected clips as class/clip.ext in {self.folder.resolve()}, with ext one of "
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
