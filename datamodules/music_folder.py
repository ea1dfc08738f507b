"""Any folder of music, searched through with all its folders."""

from dataclasses import dataclass
from pathlib import Path

from datamodules.csv_table import read_rows
from datamodules.errors import DatasetLayoutError, DatasetMissing, SplitError
from datamodules.splits.track_roles import Track, path_share
from datamodules.tracks import FingerprintDataModule
from sound.audio import AUDIO_SUFFIXES, find_audio_files

_SPLITS = ("train", "test")


@dataclass(kw_only=True, eq=False, repr=False)
class MusicFolder(FingerprintDataModule):
    """Find segments of a user's own tracks; all are indexed.

    Args:
        root: Folder of tracks, in folders of any depth.
        split_file: CSV with the columns filename (relative to the folder) and split (train or test); tracks it doesn't
            name are left out. Without it, a hash of the path decides, so that a track stays on its side when others are
            added.
        train_share: Share of the tracks trained on, where there is no split file.
    """

    root: str
    split_file: str | None = None
    train_share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.train_share < 1:
            raise SplitError(f"train_share must be between 0 and 1; got {self.train_share}. Try 0.5.")

    @property
    def folder(self) -> Path:
        """Where the corpus lies."""
        return Path(self.root)

    @property
    def corpus_name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    def list_tracks(self) -> list[Track]:
        """Return the tracks, ordered by name.

        Raises:
            DatasetMissing: If the folder has no audio, or not a track that the split file names.
            DatasetLayoutError: If the split file lacks a column, has an unknown split or names a track twice.
        """
        files = {path.relative_to(self.folder).as_posix(): path for path in find_audio_files(self.folder)}
        if not files:
            raise DatasetMissing(
                f"Expected audio ({', '.join(AUDIO_SUFFIXES)}) in {self.folder.resolve()} or its folders; found none. "
                "Correct --data.root."
            )
        if not self.split_file:
            split = {name: "train" if path_share(name) < self.train_share else "test" for name in files}
        else:
            split = _read_split(Path(self.split_file))
        absent = sorted(split.keys() - files.keys())
        if absent:
            raise DatasetMissing(
                f"{self.split_file} names {len(absent)} files that are not in {self.folder}, first {absent[0]}. Names "
                "are relative to the folder; correct them or restore the files."
            )
        return [Track(name, files[name], split[name] == "train", True) for name in sorted(split)]


def _read_split(path: Path) -> dict[str, str]:
    rows = read_rows(path, ("filename", "split"), "Correct --data.split_file, or leave it out.")
    split: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        if row["filename"] in split or row["split"] not in _SPLITS:
            raise DatasetLayoutError(
                f"{path}, line {line}: expected a file not named before, and {' or '.join(_SPLITS)}; found "
                f"{row['filename']!r} and {row['split']!r}. Correct the line."
            )
        split[row["filename"]] = row["split"]
    return split
