"""Any folder of music, searched through with all its folders."""

from pathlib import Path

from datamodules.clips import OnBadAudio
from datamodules.csv_table import read_rows
from datamodules.distortion.noise import NoiseOptions
from datamodules.distortion.query_conditions import QueryOptions
from datamodules.distortion.rooms import RoomOptions
from datamodules.errors import DatasetLayoutError, DatasetMissing, SplitError
from datamodules.fingerprint_data import MUSAN_NOISE, PAPER_QUERIES, SIMULATED_ROOMS, FingerprintDataModule
from datamodules.tracks import Track, find_audio_files, path_share
from sound.audio import AUDIO_SUFFIXES

_SPLITS = ("train", "test")


class MusicFolder(FingerprintDataModule):
    """Find segments of a user's own tracks; all are indexed.

    Args:
        root: Folder of tracks, in folders of any depth.
        split_file: CSV with the columns filename (relative to the folder) and split (train or test); tracks it doesn't
            name are left out. Without it, a hash of the path decides, so that a track stays on its side when others are
            added.
        train_share: Share of the tracks trained on, where there is no split file.
        name: What to call numbers measured on this copy; None is the folder's.
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
        root: str,
        split_file: str | None = None,
        train_share: float = 0.5,
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
        if not 0 < train_share < 1:
            raise SplitError(f"train_share must be between 0 and 1; got {train_share}. Try 0.5.")
        self.root = Path(root)
        self.split_file = Path(split_file) if split_file else None
        self.train_share = train_share

    @property
    def corpus_name(self) -> str:
        """The folder's name."""
        return self.root.resolve().name

    def list_tracks(self) -> list[Track]:
        """Return the tracks, ordered by name.

        Raises:
            DatasetMissing: If the folder has no audio, or not a track that the split file names.
            DatasetLayoutError: If the split file lacks a column, has an unknown split or names a track twice.
        """
        files = {path.relative_to(self.root).as_posix(): path for path in find_audio_files(self.root)}
        if not files:
            raise DatasetMissing(
                f"Expected audio ({', '.join(AUDIO_SUFFIXES)}) in {self.root.resolve()} or its folders; found none. "
                "Correct --data.root."
            )
        if self.split_file is None:
            split = {name: "train" if path_share(name) < self.train_share else "test" for name in files}
        else:
            split = _read_split(self.split_file)
        absent = sorted(split.keys() - files.keys())
        if absent:
            raise DatasetMissing(
                f"{self.split_file} names {len(absent)} files that are not in {self.root}, first {absent[0]}. Names "
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
