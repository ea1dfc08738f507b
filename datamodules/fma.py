"""FMA: music from the Free Music Archive, as MP3; small, medium and large are clips of 30 s.

Defferrard et al., FMA: a dataset for music analysis (ISMIR 2017). The layout of the release:

    fma_metadata/tracks.csv     a header of two rows, a third with the index's name, one row a track; columns
                                (set, subset): small, medium or large, the smallest that has the track;
                                (set, split): training, validation or test
    fma_small/000/000002.mp3    folder fma_small, fma_medium, fma_large or fma_full, then the number's first digits
"""

import csv
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from datamodules.errors import DatasetLayoutError, DatasetMissing
from datamodules.splits.track_roles import Track
from datamodules.tracks import FingerprintDataModule
from sound.audio import AUDIO_SUFFIXES

_logger = logging.getLogger(__name__)

ROOT_VARIABLE = "EARMARK_FMA_ROOT"
TABLE = "fma_metadata/tracks.csv"
Subset = Literal["small", "medium", "large"]
TrainSplit = Literal["all", "training"]
SUBSETS: tuple[str, ...] = get_args(Subset)  # each holds those before it
# Clips of another length than 30 s or without audio, as the release's issue tracker lists them.
BROKEN_TRACKS = frozenset({
    1486, 5574, 65753, 80391, 98558, 98559, 98560, 98565, 98566, 98567, 98568, 98569, 98571, 99134, 105247, 108924,
    108925, 126981, 127336, 133297, 143992,
})  # fmt: skip
_REMEDY = (
    "Fetch FMA (fma_metadata.zip 342 MiB; fma_small.zip 7.2 GiB, 8,000 clips; fma_medium.zip 22 GiB, 25,000; "
    "fma_large.zip 93 GiB, 106,574; https://github.com/mdeff/fma) and unpack the table's archive and a subset's there"
)
_MAX_FIELD = 2**24  # biographies of artists are among the fields


@dataclass(kw_only=True, eq=False, repr=False)
class Fma(FingerprintDataModule):
    """Find segments of FMA's tracks.

    Trained on `train_subset`, searched in `index_subset`, which holds more; what is asked for is not trained on. Tracks
    of the table that have no file, and those known to be broken, are left out with a count.

    Args:
        root: Folder of the release; None takes $EARMARK_FMA_ROOT, then `data/fma`. Clips are found by their number, so
            a copy transcoded to another format serves.
        train_subset: Tracks trained on: those of this subset and of smaller ones.
        index_subset: Tracks indexed, likewise, as far as they are there.
        train_split: `training` trains on that official split only, for which both subsets may be the same; `all` on the
            whole subset.
    """

    root: str | None = None
    train_subset: Subset = "small"
    index_subset: Subset = "medium"
    train_split: TrainSplit = "all"

    @property
    def folder(self) -> Path:
        """Where the corpus lies."""
        return Path(self.root or os.environ.get(ROOT_VARIABLE) or "data/fma")

    @property
    def corpus_name(self) -> str:
        """FMA and the subset that is indexed."""
        return f"FMA {self.index_subset}"

    def list_tracks(self) -> list[Track]:
        """Return the tracks of both subsets that there are files of, ordered by number.

        Raises:
            DatasetMissing: If there is no table, or none of the tracks.
            DatasetLayoutError: If the table is not as the release has it.
        """
        files = self._find_files()
        train_rank, index_rank = SUBSETS.index(self.train_subset), SUBSETS.index(self.index_subset)
        tracks, num_missing, num_broken = [], 0, 0
        for number, subset, split in sorted(read_table(self.folder / TABLE)):
            rank = SUBSETS.index(subset)
            if rank > max(train_rank, index_rank):
                continue
            if number in BROKEN_TRACKS:
                num_broken += 1
                continue
            path = files.get(f"{number:06d}")
            if path is None:
                num_missing += 1
                continue
            is_trained = rank <= train_rank and self.train_split in ("all", split)
            if is_trained or rank <= index_rank:
                tracks.append(Track(path.relative_to(self.folder).as_posix(), path, is_trained, rank <= index_rank))
        if not tracks:
            raise DatasetMissing(
                f"Expected tracks as fma_*/000/000002.mp3 in {self.folder.resolve()}; {TABLE} names {num_missing}, "
                f"none of which is there. {_REMEDY}, or name another folder with --data.root or ${ROOT_VARIABLE}."
            )
        if num_missing or num_broken:
            _logger.warning(
                "%s: left out %d tracks of the table that have no file, and %d known to be broken.",
                self.folder, num_missing, num_broken,
            )  # fmt: skip
        return tracks

    def _find_files(self) -> dict[str, Path]:
        """Return the audio files by stem."""
        if not (self.folder / TABLE).is_file():
            raise DatasetMissing(
                f"Expected FMA in {self.folder.resolve()}: found no {TABLE} there. {_REMEDY}, or name another folder "
                f"with --data.root or ${ROOT_VARIABLE}."
            )
        # Of several files of a track the last is kept: in alphabetical order smaller subsets come after larger ones,
        # and fma_full, which has whole tracks instead of clips, first.
        files = sorted(self.folder.glob("fma_*/[0-9][0-9][0-9]/*"))
        return {path.stem: path for path in files if path.suffix.lower() in AUDIO_SUFFIXES}


def read_table(path: Path) -> list[tuple[int, str, str]]:
    """Read number, subset and split of each track.

    Raises:
        DatasetLayoutError: If columns are missing, or a row is damaged.
    """
    limit = csv.field_size_limit(_MAX_FIELD)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(_parse(csv.reader(file), path))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetLayoutError(f"{path}: expected a CSV file in UTF-8, found it unreadable ({error}).") from error
    finally:
        csv.field_size_limit(limit)


def _parse(rows: Iterable[list[str]], path: Path) -> Iterator[tuple[int, str, str]]:
    remedy = f"Unpack {TABLE} from fma_metadata.zip again."
    lines = iter(rows)
    groups, fields, index = (next(lines, []) for _ in range(3))
    columns = list(zip(groups, fields, strict=False))
    if ("set", "subset") not in columns or ("set", "split") not in columns or index[:1] != ["track_id"]:
        raise DatasetLayoutError(
            f"{path}: expected a header of two rows with the columns (set, subset) and (set, split), and a third that "
            f"begins with track_id; found {columns[:6]} and {index[:1]}. {remedy}"
        )
    subset, split = columns.index(("set", "subset")), columns.index(("set", "split"))
    for row in filter(None, lines):
        if len(row) != len(columns) or not row[0].isdigit() or row[subset] not in SUBSETS:
            raise DatasetLayoutError(
                f"{path}: expected {len(columns)} fields, a track's number and a subset of {', '.join(SUBSETS)} in "
                f"each row; found {len(row)} fields in the row that begins with {row[0]!r}. {remedy}"
            )
        yield int(row[0]), row[subset], row[split]
