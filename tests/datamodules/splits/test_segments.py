"""Segments lie a hop apart, within their tracks; silence is not drawn."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from datamodules.splits.segments import SILENCE_RMS, is_silent, make_grid, read_audible, read_segments
from sound.errors import AudioFileError

LENGTHS = np.array([1_000, 99, 350, 0, 100, 119])


@dataclass
class ArrayAudio:
    """Tracks in memory; counts how often it is read."""

    waveforms: list[np.ndarray]
    sample_rate_hz: int = 16_000
    skipped: dict[int, str] = field(default_factory=dict)
    num_reads: int = 0

    @property
    def sample_type(self) -> np.dtype:
        return self.waveforms[0].dtype

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(waveform) for waveform in self.waveforms])

    def read(self, track: int, start: int, out: np.ndarray) -> None:
        self.num_reads += 1
        padded = np.pad(self.waveforms[track], 2_000)
        out[:] = padded[2_000 + start : 2_000 + start + len(out)]


def _audio() -> ArrayAudio:
    generator = np.random.default_rng(0)
    return ArrayAudio([generator.standard_normal(length).astype(np.float32) for length in LENGTHS])


def test_no_segment_crosses_the_end_of_its_track() -> None:
    grid = make_grid(LENGTHS, np.arange(6), 100, 20)
    tracks, starts = grid.locate(np.arange(len(grid)))
    expected = [(track, start) for track, length in enumerate(LENGTHS) for start in range(0, length - 100 + 1, 20)]
    assert list(zip(tracks.tolist(), starts.tolist(), strict=True)) == expected
    assert (starts + 100 <= LENGTHS[tracks]).all()


def test_tracks_are_those_chosen() -> None:
    grid = make_grid(LENGTHS, np.array([2, 4]), 100, 20)
    assert len(grid) == 14
    assert grid.locate(np.array([12, 13]))[0].tolist() == [2, 4]
    assert grid.locate(np.array([12, 13]))[1].tolist() == [240, 0]


@pytest.mark.parametrize("numbers", [range(60), [3, 4, 5, 45, 46, 47, 59], [7, 2, 2, 58, 0], [59]])
def test_segments_are_read_as_if_one_by_one(numbers: list[int]) -> None:
    audio = _audio()
    grid = make_grid(LENGTHS, np.arange(6), 100, 20)
    wanted = np.array(numbers)
    found = read_segments(audio, grid, wanted)
    for row, track, start in zip(found, *grid.locate(wanted), strict=True):
        np.testing.assert_array_equal(row, audio.waveforms[track][start : start + 100])


def test_successive_segments_are_read_at_once() -> None:
    audio = _audio()
    grid = make_grid(LENGTHS, np.arange(6), 100, 20)
    read_segments(audio, grid, np.arange(len(grid)))
    assert audio.num_reads == 4  # tracks that have segments


def test_silence_is_told_from_faint_sound() -> None:
    assert is_silent(np.full(100, 0.9 * SILENCE_RMS, np.float32))
    assert not is_silent(np.full(100, 1.1 * SILENCE_RMS, np.float32))


def test_silence_of_stored_samples_is_that_of_their_values() -> None:
    generator = np.random.default_rng(0)
    levels = np.linspace(5, 15, 40)  # on both sides of 9.83 steps
    stored = [np.rint(level * generator.standard_normal(1_000)).astype(np.int16) for level in levels]
    rms = [np.sqrt(np.mean((samples / 32_768.0) ** 2)) for samples in stored]
    expected = [bool(value < SILENCE_RMS) for value in rms]
    assert 5 < sum(expected) < 35
    assert [is_silent(samples) for samples in stored] == expected
    assert [is_silent(samples / np.float32(32_768)) for samples in stored] == expected


def test_a_short_sound_between_the_samples_looked_at_first_is_heard() -> None:
    waveform = np.zeros(1_000, np.int16)
    waveform[7] = 1_000
    assert not is_silent(waveform)
    assert is_silent(waveform // 100)


def test_silent_passages_are_drawn_again() -> None:
    audio = ArrayAudio([np.concatenate([np.zeros(500), np.ones(100)]).astype(np.float32)])
    attempts: list[int] = []

    def draw(attempt: int) -> tuple[int, int]:
        attempts.append(attempt)
        return 0, 100 * attempt

    out = np.empty(160, np.float32)
    assert read_audible(draw, audio, out, before=50, after=10) == (0, 500)  # what is around it doesn't count
    assert attempts == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(out, np.concatenate([np.zeros(50), np.ones(100), np.zeros(10)]))
    with pytest.raises(AudioFileError, match="silent"):
        read_audible(lambda _: (0, 0), audio, out[:100])
