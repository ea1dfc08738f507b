"""Segments to train on, queries, and the database, each a whole batch at a time, as `compact_batch.py` has it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.batches.compact_batch import NO_ROOM
from datamodules.distortion.noise import NoisePool
from datamodules.distortion.query_conditions import Condition, Passages
from datamodules.distortion.rooms import RoomSet
from datamodules.splits.segments import SegmentGrid, TrackAudio, read_audible, read_segments


@dataclass(frozen=True)
class SegmentShape:
    """Samples of a segment to train on, and around it.

    Attributes:
        context: Before it, for reverberation to come from.
        offset: On both sides, for its pair to be shifted by.
        segment: Its own.
    """

    context: int
    offset: int
    segment: int


class _BatchDataset(Dataset[dict[str, Tensor]], ABC):
    """Fetch whole batches."""

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        return {name: value[0] for name, value in self.__getitems__([number]).items()}

    @abstractmethod
    def __getitems__(self, numbers: Sequence[int]) -> dict[str, Tensor]: ...


class TrainSegments(_BatchDataset):
    """Segments at arbitrary places of tracks, with noise and a room for each.

    Item i of epoch e has the number e * items + i, and all about it is drawn from (seed, e, i). An epoch goes through
    all tracks in turn; a track that comes again is cut elsewhere, so that a batch seldom has the same music twice.

    Args:
        audio: Tracks.
        tracks: Positions of those trained on.
        noise: Noise to train with.
        rooms: Rooms to train with.
        first_room: Position of the first of them in the table of all rooms.
        shape: Samples of a segment.
        num_items: Segments an epoch.
        seed: Seed of all draws.
    """

    def __init__(
        self,
        audio: TrackAudio,
        tracks: np.ndarray,
        noise: NoisePool,
        rooms: RoomSet,
        first_room: int,
        shape: SegmentShape,
        num_items: int,
        seed: int,
    ) -> None:
        self._audio, self._tracks, self._noise, self._shape = audio, tracks, noise, shape
        self._num_rooms, self._first_room = len(rooms.names), first_room
        self._num_items = num_items
        self._seed = seed
        self._num_rounds = -(-num_items // len(tracks))
        self._order = (-1, np.zeros(0, np.int64), np.zeros(0, np.int64))  # epoch, track of each item, first round

    def __len__(self) -> int:
        return self._num_items

    def __getitems__(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """Return the batch of the items of these numbers."""
        shape, size = self._shape, len(numbers)
        before, after = shape.context + shape.offset, shape.offset
        waveform = np.empty((size, before + shape.segment + after), self._audio.sample_type)
        noise = np.empty((size, shape.segment), self._noise.sample_type)
        room = np.empty(size, np.int64)
        for row, number in enumerate(numbers):
            epoch, item = divmod(number, self._num_items)
            generator = np.random.default_rng([self._seed, epoch, item])
            read_audible(self._draw_segment(epoch, item, generator), self._audio, waveform[row], before, after)
            self._noise.draw(generator, noise[row])
            room[row] = self._first_room + generator.integers(self._num_rooms)
        return {
            "waveform": torch.from_numpy(waveform),
            "noise": torch.from_numpy(noise),
            "room": torch.from_numpy(room),
            "item_index": torch.from_numpy(np.array(numbers, np.int64) % self._num_items),
        }

    def _draw_segment(self, epoch: int, item: int, generator: np.random.Generator) -> Callable[[int], tuple[int, int]]:
        """Return what draws track and start of an item."""
        order, first_round = self._order_of(epoch)
        turn, own = (item // len(self._tracks) + first_round[order[item]]) % self._num_rounds, int(order[item])

        def draw(attempt: int) -> tuple[int, int]:
            """A place within its turn's part of the track; where that is silent, anywhere."""
            position = own if attempt < 20 else int(generator.integers(len(self._tracks)))
            share = (turn + generator.random()) / self._num_rounds if attempt < 5 else generator.random()
            track = int(self._tracks[position])
            return track, int(share * (int(self._audio.lengths[track]) - self._shape.segment + 1))

        return draw

    def _order_of(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        if self._order[0] != epoch:
            generator = np.random.default_rng([self._seed, epoch])
            rounds = [generator.permutation(len(self._tracks)) for _ in range(self._num_rounds)]
            first_round = generator.integers(self._num_rounds, size=len(self._tracks))
            self._order = (epoch, np.concatenate(rounds)[: self._num_items], first_round)
        return self._order[1], self._order[2]


class DatabaseSegments(_BatchDataset):
    """All segments of the database, tracks one after another.

    Args:
        audio: Tracks.
        grid: Segments.
    """

    def __init__(self, audio: TrackAudio, grid: SegmentGrid) -> None:
        self._audio = audio
        self._grid = grid

    def __len__(self) -> int:
        return len(self._grid)

    def __getitems__(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """Return the batch of the segments of these numbers."""
        item_index = np.array(numbers, np.int64)
        tracks, starts = self._grid.locate(item_index)
        return {
            "waveform": torch.from_numpy(read_segments(self._audio, self._grid, item_index)),
            "track": torch.from_numpy(tracks),
            "start_seconds": torch.from_numpy(starts / self._audio.sample_rate_hz),
            "item_index": torch.from_numpy(item_index),
        }


class Queries(_BatchDataset):
    """The same passages under every condition, conditions one after another.

    A passage has the same noise at every SNR, and rooms are drawn by passage, too.

    Args:
        audio: Tracks.
        passages: What is asked for.
        conditions: Distortions.
        noise: Noise to mix with.
        rooms: Rooms to ask in.
        first_room: Position of the first of them in the table of all rooms.
        context: Samples before the passage.
        num_samples: Samples of a passage.
        seed: Seed of noise and rooms.

    Raises:
        SplitError: If a condition wants rooms that there are none of.
    """

    def __init__(
        self,
        audio: TrackAudio,
        passages: Passages,
        conditions: Sequence[Condition],
        noise: NoisePool,
        rooms: RoomSet,
        first_room: int,
        context: int,
        num_samples: int,
        seed: Sequence[int],
    ) -> None:
        self._audio, self._passages, self._noise, self._first_room = audio, passages, noise, first_room
        self._conditions = list(conditions)
        self._context, self._num_samples = context, num_samples
        self._seed = list(seed)
        self._candidates = [_candidate_rooms(rooms, condition) for condition in conditions]

    def __len__(self) -> int:
        return len(self._conditions) * len(self._passages.starts)

    def __getitems__(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """Return the batch of the queries of these numbers."""
        item_index = np.array(numbers, np.int64)
        condition, passage = np.divmod(item_index, len(self._passages.starts))
        tracks, starts = self._passages.tracks[passage], self._passages.starts[passage]
        waveform = np.empty((len(numbers), self._context + self._num_samples), self._audio.sample_type)
        noise = np.zeros((len(numbers), self._num_samples), self._noise.sample_type)
        room = np.full(len(numbers), NO_ROOM, np.int64)
        for row, (kind, query) in enumerate(zip(condition, passage, strict=True)):
            self._audio.read(int(tracks[row]), int(starts[row]) - self._context, waveform[row])
            generator = np.random.default_rng([*self._seed, query])
            share = generator.random()
            if len(self._candidates[kind]):
                room[row] = self._first_room + self._candidates[kind][int(share * len(self._candidates[kind]))]
            if self._conditions[kind].snr_db is not None:
                self._noise.draw(generator, noise[row])
        snr_db = np.array([0.0 if asked.snr_db is None else asked.snr_db for asked in self._conditions], np.float32)
        return {
            "waveform": torch.from_numpy(waveform),
            "noise": torch.from_numpy(noise),
            "room": torch.from_numpy(room),
            "snr_db": torch.from_numpy(snr_db[condition]),
            "has_noise": torch.tensor([self._conditions[kind].snr_db is not None for kind in condition]),
            "has_room": torch.tensor([len(self._candidates[kind]) > 0 for kind in condition]),
            "condition": torch.from_numpy(condition),
            "track": torch.from_numpy(tracks),
            "start_seconds": torch.from_numpy(starts / self._audio.sample_rate_hz),
            "is_repeated": torch.from_numpy(self._passages.is_repeated[passage]),
            "item_index": torch.from_numpy(item_index),
        }


def _candidate_rooms(rooms: RoomSet, condition: Condition) -> np.ndarray:
    if condition.is_measured:
        return rooms.measured()
    return np.zeros(0, np.int64) if condition.t60_seconds is None else rooms.nearest(condition.t60_seconds)
