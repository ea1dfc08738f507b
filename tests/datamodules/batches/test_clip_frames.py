"""Frames come in the order of the cache, cut or repeated to one number."""

from pathlib import Path

import numpy as np
import pytest

from datamodules.batches.clip_frames import ClipFrames, own_frames
from sound.errors import AudioFileError

# Clips of 2, 5, 0 and 1 frames; frame f is [f, 10 f].
OFFSETS = np.array([0, 2, 7, 7, 8])
FRAMES = np.outer(np.arange(8), [1, 10]).astype(np.float32)


def _first_values(frames_per_clip: int, *clips: int) -> list[list[float]]:
    served = ClipFrames(FRAMES, OFFSETS, frames_per_clip)[np.array(clips)]
    assert served.shape == (len(clips), frames_per_clip, 2)
    np.testing.assert_array_equal(served[:, :, 1], 10 * served[:, :, 0])
    values: list[list[float]] = served[:, :, 0].tolist()
    return values


def test_long_clips_are_cut_and_short_ones_repeated_from_their_start() -> None:
    assert _first_values(3, 0, 1, 3) == [[0, 1, 0], [2, 3, 4], [7, 7, 7]]
    assert _first_values(5, 1, 0) == [[2, 3, 4, 5, 6], [0, 1, 0, 1, 0]]
    assert _first_values(1, 3, 1, 1) == [[7], [2], [2]]


def test_any_number_of_frames_begins_with_every_smaller_number() -> None:
    clips = np.array([0, 1, 3])
    most = ClipFrames(FRAMES, OFFSETS, 12)[clips]
    for frames_per_clip in range(1, 12):
        np.testing.assert_array_equal(ClipFrames(FRAMES, OFFSETS, frames_per_clip)[clips], most[:, :frames_per_clip])


def test_no_clip_is_an_empty_batch() -> None:
    assert ClipFrames(FRAMES, OFFSETS, 3)[np.zeros(0, np.int64)].shape == (0, 3, 2)


def test_clip_without_frames_is_refused() -> None:
    with pytest.raises(AudioFileError, match=r"at least one frame .* clip 2 has none"):
        ClipFrames(FRAMES, OFFSETS, 3)[np.array([0, 2])]


def test_frames_on_disk_are_copied_for_the_batch_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", FRAMES)
    mapped = np.load(tmp_path / "frames.npy", mmap_mode="r")
    served = ClipFrames(mapped, OFFSETS, 4)[np.array([1, 0])]
    assert not np.shares_memory(served, mapped)
    served[:] = -1  # a read-only map would refuse
    np.testing.assert_array_equal(mapped, FRAMES)


def test_short_clips_are_padded_with_0_where_asked_for() -> None:
    clips = ClipFrames(FRAMES, OFFSETS, 3, "pad")
    assert clips[np.array([0, 1, 3])][:, :, 0].tolist() == [[0, 1, 0], [2, 3, 4], [7, 0, 0]]
    assert clips.num_frames.tolist() == [2, 3, 0, 1]
    assert clips.num_frames.dtype == np.int64
    assert FRAMES[7, 1] == 70  # nothing was written to the cache


def test_own_frames_are_those_before_padding() -> None:
    assert own_frames(np.array([2, 0, 3]), 3).tolist() == [[True, True, False], [False] * 3, [True] * 3]
