"""How samples of tracks are read, which segments tracks are cut into, and how the start of one is drawn."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from datamodules.caches.pcm_store import FULL_SCALE
from sound.errors import AudioFileError

SILENCE_RMS = 3e-4  # -70 dB of full scale, ten steps of 16-bit audio
_MAX_DRAWS = 1000
_FEW = 16  # of so many samples one is looked at first


@runtime_checkable  # or the shape checks of the tests can't be turned on
class TrackAudio(Protocol):
    """Samples of every track at one rate, wherever they come from."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the samples."""

    @property
    def lengths(self) -> np.ndarray:
        """Samples of each track, int64 [track]; 0 for one that was skipped."""

    @property
    def skipped(self) -> dict[int, str]:
        """Reason for each track that can't be decoded, by its position."""

    @property
    def sample_type(self) -> np.dtype:
        """What samples are without conversion: int16, with full scale at 32,768, or float32, with full scale at 1."""

    def read(self, track: int, start: int, out: np.ndarray) -> None:
        """Fill `out`, [time], with a track's samples from `start` on; zero outside the track, before it too.

        What `out` holds is `sample_type`, or float32.
        """


@dataclass(frozen=True)
class SegmentGrid:
    """Segments at a fixed hop over some tracks, numbered through, tracks one after another.

    The n-th segment of a track starts at n hops; none crosses the end of its track, and a track shorter than a segment
    has none.

    Attributes:
        tracks: Positions of the tracks.
        first: Number of the first segment of each of these tracks, and the number of all, int64 [track + 1].
        hop: Samples from start to start.
        num_samples: Samples of a segment.
    """

    tracks: np.ndarray
    first: np.ndarray
    hop: int
    num_samples: int

    def __len__(self) -> int:
        return int(self.first[-1])

    def locate(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the tracks of these segments, and the sample they start at."""
        position = np.searchsorted(self.first, numbers, side="right") - 1
        return self.tracks[position], (numbers - self.first[position]) * self.hop


def make_grid(lengths: np.ndarray, tracks: np.ndarray, num_samples: int, hop: int) -> SegmentGrid:
    """Cut some tracks into segments.

    Args:
        lengths: Samples of each track of the corpus.
        tracks: Positions of those to cut.
        num_samples: Samples of a segment.
        hop: Samples from start to start.
    """
    counts = count_segments(lengths[tracks], num_samples, hop)
    return SegmentGrid(tracks, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), hop, num_samples)


def count_segments(lengths: np.ndarray, num_samples: int, hop: int) -> np.ndarray:
    """Return how many segments tracks of these lengths have, int64."""
    return np.asarray(np.maximum(0, (lengths - num_samples) // hop + 1), np.int64)


def read_segments(audio: TrackAudio, grid: SegmentGrid, numbers: np.ndarray) -> np.ndarray:
    """Read segments, [batch, time], as the audio's `sample_type`; a run of successive ones of a track at once."""
    tracks, starts = grid.locate(numbers)
    out = np.empty((len(numbers), grid.num_samples), audio.sample_type)
    breaks = np.flatnonzero((np.diff(tracks) != 0) | (np.diff(starts) != grid.hop)) + 1
    for begin, end in zip([0, *breaks], [*breaks, len(numbers)], strict=True):
        if begin == end:
            continue
        passage = np.empty((end - begin - 1) * grid.hop + grid.num_samples, audio.sample_type)
        audio.read(int(tracks[begin]), int(starts[begin]), passage)
        out[begin:end] = np.lib.stride_tricks.sliding_window_view(passage, grid.num_samples)[:: grid.hop]
    return out


def is_silent(waveform: np.ndarray) -> bool:
    """Whether a waveform, 16-bit PCM or float32 [time], has less energy than is worth a fingerprint."""
    full_scale = FULL_SCALE if waveform.dtype == np.int16 else 1
    least = SILENCE_RMS**2 * len(waveform) * full_scale**2
    # a few samples have energy enough of nearly all that is not silent
    return _energy(waveform[::_FEW]) < least and _energy(waveform) < least


def _energy(waveform: np.ndarray) -> float:
    samples = waveform.astype(np.float32, copy=False)
    return float(np.dot(samples, samples))


def read_audible(
    draw: Callable[[int], tuple[int, int]], audio: TrackAudio, out: np.ndarray, before: int = 0, after: int = 0
) -> tuple[int, int]:
    """Draw until the passage drawn is not silent, and read it with what is around it.

    Args:
        draw: Returns track and start, given how often it was called before.
        audio: Tracks.
        out: Filled with the passage and as many samples around it, [time], as `audio.read` does.
        before: Samples of `out` before the passage.
        after: Samples of `out` after it.

    Returns:
        Track and start of the passage.

    Raises:
        AudioFileError: If a thousand passages were silent.
    """
    passage = out[before : len(out) - after]
    for attempt in range(_MAX_DRAWS):
        track, start = draw(attempt)
        audio.read(track, start - before, out)
        if not is_silent(passage):
            return track, start
    raise AudioFileError(
        f"Expected tracks with sound, found {_MAX_DRAWS} passages of {len(passage) / audio.sample_rate_hz:.2f} s in "
        "succession silent. Listen to the corpus: is it the right folder?"
    )
