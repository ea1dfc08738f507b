"""What every corpus of tracks shares: decoded audio, noise, rooms, the split, and loaders for fingerprints."""

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from datamodules.base import CorpusDataModule, OnBadAudio
from datamodules.batches.compact_batch import BatchExpander, first_rooms
from datamodules.batches.dealing import processes_and_rank
from datamodules.batches.fingerprint_datasets import DatabaseSegments, Queries, SegmentShape, TrainSegments
from datamodules.batches.resumable_loader import EpochSampler, ResumableLoader
from datamodules.caches.pcm_store import open_or_make_store
from datamodules.distortion.noise import NoiseFiles, NoiseOptions, NoisePool, find_noise
from datamodules.distortion.query_conditions import Passages, QueryOptions, draw_passages, list_conditions
from datamodules.distortion.rooms import RoomOptions, RoomSet, open_rooms
from datamodules.errors import SplitError
from datamodules.progress import show_progress
from datamodules.splits.segments import SegmentGrid, TrackAudio, count_segments, make_grid
from datamodules.splits.track_roles import Track, TrackRoles, assign_roles
from sound.streamed_audio import StreamedAudio

_logger = logging.getLogger(__name__)

MUSAN_NOISE = NoiseOptions()
SIMULATED_ROOMS = RoomOptions()
PAPER_QUERIES = QueryOptions()


@dataclass(kw_only=True, eq=False, repr=False)
class FingerprintDataModule(CorpusDataModule):
    """Serve segments of tracks with noise and rooms to distort them with, queries, and the database they are found in.

    A corpus says where its tracks are, and which are trained on and indexed.

    Args:
        cache_dir: Folder of decoded audio and of simulated rooms.
        cache: Whether tracks are decoded once, to 2 bytes a sample (115 MB an hour at 16 kHz); otherwise what is wanted
            is decoded each time, at some ten times the cost.
        batch_size: Segments a batch, on each process; each makes a pair once it is distorted.
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
        noise: Noise to train and to test with.
        rooms: Rooms to train and to test with.
        queries: Conditions that queries are asked under.
    """

    batch_size: int = 128
    on_bad_audio: OnBadAudio = "skip"
    cache: bool = True
    eval_batch_size: int = 256
    segments_per_epoch: int | None = None
    segments_per_track: int = 10
    sample_rate_hz: int = 16_000
    segment_seconds: float = 1.0
    context_seconds: float = 1.0
    max_offset_seconds: float = 0.05
    hop_seconds: float = 0.1
    query_seconds: float = 1.0
    queries_per_condition: int = 1000
    val_share: float = 0.05
    seed: int = 0
    noise: NoiseOptions = MUSAN_NOISE
    rooms: RoomOptions = SIMULATED_ROOMS
    queries: QueryOptions = PAPER_QUERIES

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.val_share < 1:
            raise SplitError(f"val_share must be at least 0 and below 1; got {self.val_share}. Try 0.05.")
        lengths = (self.segment_seconds, self.hop_seconds, self.query_seconds)
        around = (self.context_seconds, self.max_offset_seconds)
        if min(lengths) <= 0 or min(around) < 0:
            raise SplitError(
                "segment_seconds, hop_seconds and query_seconds must be above 0, context_seconds and "
                f"max_offset_seconds not below; got {', '.join(map(str, lengths))} and {', '.join(map(str, around))}. "
                "Leave them out for 1, 0.1, 1, 1 and 0.05."
            )
        self._tracks: list[Track] | None = None
        self._audio: TrackAudio | None = None
        self._roles: TrackRoles | None = None
        self._noise_pools: dict[str, NoisePool] = {}
        self._room_sets: dict[str, tuple[RoomSet, int]] = {}  # with the first one's position in the table of all
        self._expander: BatchExpander | None = None
        self._passages: Passages | None = None

    # What a corpus defines.

    @abstractmethod
    def list_tracks(self) -> list[Track]:
        """Return every track that is trained on or indexed, in an order that never changes.

        Raises:
            DatasetMissing: If the corpus is not there.
        """

    # What it serves.

    @property
    def tracks(self) -> list[Track]:
        """Every track that is trained on or indexed."""
        if self._tracks is None:
            self._tracks = self.list_tracks()
        return self._tracks

    @property
    def track_names(self) -> list[str]:
        """Name of each of `tracks`; a batch's `track` is a position in it."""
        return [track.name for track in self.tracks]

    @property
    def conditions(self) -> list[str]:
        """Name of each condition that queries are asked under."""
        return [condition.name for condition in list_conditions(self.queries)]

    @property
    def audio(self) -> TrackAudio:
        """Samples of all tracks; there are some after `setup`.

        Raises:
            RuntimeError: Before `setup`.
        """
        if self._audio is None:
            raise RuntimeError("Call setup() before asking for audio.")
        return self._audio

    @property
    def roles(self) -> TrackRoles:
        """Which tracks are trained on, indexed and asked for; there are some after `setup`.

        Raises:
            RuntimeError: Before `setup`.
        """
        if self._roles is None:
            raise RuntimeError("Call setup() before asking for roles.")
        return self._roles

    @property
    def database(self) -> SegmentGrid:
        """Segments of the indexed tracks."""
        return self._grid(self.roles.indexed)

    def num_segments(self, track: int) -> int:
        """Return how many segments the track at this position has; 0 if it was skipped or is too short."""
        segment, hop = self._samples(self.segment_seconds), self._samples(self.hop_seconds)
        return int(count_segments(self.audio.lengths[track : track + 1], segment, hop)[0])

    def prepare_data(self) -> None:
        """Decode tracks and noise and simulate rooms, on one process a machine."""
        self._open()

    def setup(self, stage: str | None = None) -> None:
        """Open what `prepare_data` has made and assign roles; the same in every stage."""
        if self._roles is not None:
            return
        audio, noise_audio, noise_files, (train_rooms, test_rooms) = self._open()
        is_usable = audio.lengths >= self._samples(self.segment_seconds)
        roles = assign_roles(self.tracks, is_usable, self.val_share, self.seed)
        num_train = len(noise_files.train)
        self._noise_pools = {
            "train": NoisePool(noise_audio, np.arange(num_train)),
            "test": NoisePool(noise_audio, np.arange(num_train, num_train + len(noise_files.test))),
        }
        first_train, first_test = first_rooms(train_rooms, test_rooms)
        self._room_sets = {"train": (train_rooms, first_train), "test": (test_rooms, first_test)}
        self._expander = BatchExpander(train_rooms, test_rooms)
        self._audio, self._roles = audio, roles
        num_short = int((~is_usable).sum()) - len(audio.skipped)
        _logger.info(
            "%s: %d tracks, %.1f h; %d to train on, %d for validation, %d indexed as %d segments, %d to ask for; left "
            "out %d that can't be decoded and %d shorter than a segment.",
            self.data_name, len(self.tracks), audio.lengths.sum() / self.sample_rate_hz / 3600, len(roles.train),
            len(roles.val), len(roles.indexed), len(self.database), len(roles.query), len(audio.skipped), num_short,
        )  # fmt: skip

    def expand(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what a loader has served as it is documented, on the device it is on; again changes nothing.

        Raises:
            RuntimeError: Before `setup`.
        """
        if self._expander is None:
            raise RuntimeError("Call setup() before asking for batches.")
        return self._expander(batch)

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """Expand what Lightning has brought to the device."""
        return self.expand(batch)

    def train_dataloader(self) -> ResumableLoader:
        """Segments to train on, drawn anew each epoch.

        Raises:
            SplitError: If an epoch has fewer segments than a batch.
        """
        num_items = self.segments_per_epoch or self.segments_per_track * len(self.roles.train)
        num_processes, rank = processes_and_rank(self.trainer)
        if num_items // num_processes < self.batch_size:
            raise SplitError(
                f"An epoch must have a batch of {self.batch_size} segments for each of {num_processes} processes; got "
                f"{num_items} segments in all. Raise --data.segments_per_track, or lower --data.batch_size."
            )
        shape = SegmentShape(
            self._samples(self.context_seconds), self._samples(self.max_offset_seconds),
            self._samples(self.segment_seconds),
        )  # fmt: skip
        dataset = TrainSegments(
            self.audio, self.roles.train, self._noise_pools["train"], *self._room_sets["train"], shape, num_items,
            self.seed,
        )  # fmt: skip
        sampler = EpochSampler(num_items, num_processes, rank)
        return ResumableLoader(dataset, sampler, self.batch_size, self.num_workers)

    def evaluated(self, stage: Literal["val", "test"]) -> Sequence[Queries | DatabaseSegments]:
        """Return queries, then the database that has what they are of.

        In validation they are of tracks kept out of training, the database is of these, noise and rooms are training's;
        in the test they are of indexed tracks that are not trained on.
        """
        if stage == "test":
            asked = self._ask(self.test_passages(), "test", (self.queries.seed, 2))
            return [asked, DatabaseSegments(self.audio, self.database)]
        if len(self.roles.val) == 0:
            return []
        seed = (self.queries.seed, 1)
        query_samples = self._samples(self.query_seconds)
        passages = draw_passages(self.audio, self.roles.val, self.queries.num_val, query_samples, seed)
        return [self._ask(passages, "train", seed), DatabaseSegments(self.audio, self._grid(self.roles.val))]

    def predicted(self) -> DatabaseSegments:
        """Return all segments of the indexed tracks."""
        return DatabaseSegments(self.audio, self.database)

    @property
    def num_evaluated(self) -> int:
        """Queries, or segments of the database, a batch."""
        return self.eval_batch_size

    def test_passages(self) -> Passages:
        """Return what test queries ask for; drawn once."""
        if self._passages is None:
            query_samples = self._samples(self.query_seconds)
            count, seed = self.queries_per_condition, (self.queries.seed, 2)
            self._passages = draw_passages(self.audio, self.roles.query, count, query_samples, seed)
        return self._passages

    def _open(self) -> tuple[TrackAudio, TrackAudio, NoiseFiles, tuple[RoomSet, RoomSet]]:
        """Open tracks, noise (files to train with, then to test with) and rooms, making what is not there."""
        corpus, cache_dir = type(self).__name__.lower(), Path(self.cache_dir)
        paths = [track.path for track in self.tracks]
        noise_files = find_noise(self.noise)
        rooms = open_rooms(self.rooms, self.queries.room_t60_seconds, cache_dir, self.sample_rate_hz)
        noise_paths = [*noise_files.train, *noise_files.test]
        noise_audio = open_or_make_store(cache_dir, "noise", noise_paths, self.sample_rate_hz, "skip")
        audio: TrackAudio
        if self.cache:
            audio = open_or_make_store(cache_dir, corpus, paths, self.sample_rate_hz, self.on_bad_audio)
        else:
            with show_progress() as progress:
                watch = partial(progress.track, description="Measuring tracks", total=len(paths))
                audio = StreamedAudio(paths, self.sample_rate_hz, self.on_bad_audio, watch)
        return audio, noise_audio, noise_files, rooms

    def _ask(self, passages: Passages, part: str, seed: Sequence[int]) -> Queries:
        return Queries(
            self.audio, passages, list_conditions(self.queries), self._noise_pools[part], *self._room_sets[part],
            self._samples(self.context_seconds), self._samples(self.query_seconds), seed,
        )  # fmt: skip

    def _grid(self, tracks: np.ndarray) -> SegmentGrid:
        segment, hop = self._samples(self.segment_seconds), self._samples(self.hop_seconds)
        return make_grid(self.audio.lengths, tracks, segment, hop)

    def _samples(self, seconds: float) -> int:
        return round(seconds * self.sample_rate_hz)
