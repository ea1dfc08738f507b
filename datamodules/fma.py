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
from pathlib import Path
from typing import Literal, get_args

from datamodules.clips import OnBadAudio
from datamodules.distortion.noise import NoiseOptions
from datamodules.distortion.query_conditions import QueryOptions
from datamodules.distortion.rooms import RoomOptions
from datamodules.errors import DatasetLayoutError, DatasetMissing, SplitError
from datamodules.fingerprint_data import MUSAN_NOISE, PAPER_QUERIES, SIMULATED_ROOMS, FingerprintDataModule
from datamodules.tracks import Track
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
        name: What to call numbers measured on this copy; None is `FMA` and the subset indexed.
        cache_dir: Folder of decoded audio and of simulated rooms.
        cache: Whether tracks are decoded once, to 2 bytes a sample; otherwise each time a part is wanted.
        batch_size: Segments a batch, on each process.
        eval_batch_size: Queries, or segments of the database, a batch.
        segments_per_epoch: Segments trained on in an epoch, over all processes; None takes `segments_per_track`.
        segments_per_track: Segments of each track trained on in an epoch.
        sample_rate_hz: Rate of all audio; files of another rate are resampled.
        segment_seconds: Length of a segment.
        context_seconds: Served before segments and queries, for reverberation to come from.
        max_offset_seconds: Served on both sides of segments to train on.
        hop_seconds: From segment to segment of the database.
        query_seconds: Length of a query.
        queries_per_condition: Test queries of each condition.
        val_share: Share of the tracks to train on that validation gets; 0 is no validation.
        seed: Seed of training segments and of the tracks for validation.
        on_bad_audio: `skip` lists tracks that can't be decoded and leaves them out; `raise` stops at the first.
        num_workers: Processes that fetch batches.
        noise: Noise to train and to test with.
        rooms: Rooms to train and to test with.
        queries: Conditions that queries are asked under.
    """

    def __init__(
        self,
        root: str | None = None,
        train_subset: Subset = "small",
        index_subset: Subset = "medium",
        train_split: TrainSplit = "all",
        name: str | None = None,
        cache_dir: str = "cache",
        cache: bool = True,
        batch_size: int = 128,
        eval_batch_size: int = 256,
        segments_per_epoch: int | None = None,
        segments_per_track: int = 10,
        sample_rate_hz: int = 16_000,
        segment_seconds: float = 1.0,
        context_seconds: float = 1.0,
        max_offset_seconds: float = 0.05,
        hop_seconds: float = 0.1,
        query_seconds: float = 1.0,
        queries_per_condition: int = 1000,
        val_share: float = 0.05,
        seed: int = 0,
        on_bad_audio: OnBadAudio = "skip",
        num_workers: int = 0,
        noise: NoiseOptions = MUSAN_NOISE,
        rooms: RoomOptions = SIMULATED_ROOMS,
        queries: QueryOptions = PAPER_QUERIES,
    ) -> None:
        super().__init__(
            name, cache_dir, cache, batch_size, eval_batch_size, segments_per_epoch, segments_per_track, sample_rate_hz,
            segment_seconds, context_seconds, max_offset_seconds, hop_seconds, query_seconds, queries_per_condition,
            val_share, seed, on_bad_audio, num_workers, noise, rooms, queries,
        )  # fmt: skip
        for option, value, choices in (
            ("train_subset", train_subset, Subset), ("index_subset", index_subset, Subset),
            ("train_split", train_split, TrainSplit),
        ):  # fmt: skip
            if value not in get_args(choices):
                raise SplitError(
                    f"{option} must be {' or '.join(get_args(choices))}; got {value!r}. Set --data.{option} to one."
                )
        self.root = Path(root or os.environ.get(ROOT_VARIABLE) or "data/fma")
        self.train_subset: Subset = train_subset
        self.index_subset: Subset = index_subset
        self.train_split: TrainSplit = train_split

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
        for number, subset, split in sorted(read_table(self.root / TABLE)):
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
                tracks.append(Track(path.relative_to(self.root).as_posix(), path, is_trained, rank <= index_rank))
        if not tracks:
            raise DatasetMissing(
                f"Expected tracks as fma_*/000/000002.mp3 in {self.root.resolve()}; {TABLE} names {num_missing}, none "
                f"of which is there. {_REMEDY}, or name another folder with --data.root or ${ROOT_VARIABLE}."
            )
        if num_missing or num_broken:
            _logger.warning(
                "%s: left out %d tracks of the table that have no file, and %d known to be broken.",
                self.root, num_missing, num_broken,
            )  # fmt: skip
        return tracks

    def _find_files(self) -> dict[str, Path]:
        """Return the audio files by stem."""
        if not (self.root / TABLE).is_file():
            raise DatasetMissing(
                f"Expected FMA in {self.root.resolve()}: found no {TABLE} there. {_REMEDY}, or name another folder "
                f"with --data.root or ${ROOT_VARIABLE}."
            )
        # Of several files of a track the last is kept: in alphabetical order smaller subsets come after larger ones,
        # and fma_full, which has whole tracks instead of clips, first.
        files = sorted(self.root.glob("fma_*/[0-9][0-9][0-9]/*"))
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
