"""Passages that come again are found, and nothing else is."""

import numpy as np
import pytest

from datamodules.splits.repeats import MIN_CORRELATION, find_repeats

RATE_HZ = 2_000


def _slow(waveform: np.ndarray, start: int, count: int, threshold: float) -> bool:
    passage = waveform[start : start + count]
    for other in range(len(waveform) - count + 1):
        if abs(other - start) >= RATE_HZ // 2:
            candidate = waveform[other : other + count]
            if passage @ candidate > threshold * np.linalg.norm(passage) * np.linalg.norm(candidate):
                return True
    return False


def _noise(seed: int, seconds: float) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ)).astype(np.float32)


def test_looped_passages_are_repeated_and_others_are_not() -> None:
    loop = _noise(0, 1.5)
    track = np.concatenate([loop, 0.3 * loop, _noise(1, 3.0)])  # the second time at another level
    starts = np.array([0, 500, 3_500, 6_500, 9_000])
    found = find_repeats(track, starts, 2_000, RATE_HZ, MIN_CORRELATION)
    assert found.tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_equals_correlating_with_every_place(threshold: float) -> None:
    loop = _noise(3, 0.8)
    track = np.concatenate([loop, loop + 0.8 * _noise(4, 0.8), np.zeros(700, np.float32), loop + 0.3 * _noise(5, 0.8)])
    starts = np.arange(0, 5_000, 500)
    found = find_repeats(track, starts, 600, RATE_HZ, threshold)
    assert found.tolist() == [_slow(track.astype(np.float64), start, 600, threshold) for start in starts.tolist()]
    assert 0 < found.sum() < len(found)


def test_the_passage_itself_and_its_near_shifts_do_not_count() -> None:
    time = np.arange(3 * RATE_HZ) / RATE_HZ
    chirp = np.sin(2 * np.pi * (100 * time + 60 * time**2)).astype(np.float32)
    assert not find_repeats(chirp, np.array([0, 1_000, 4_000]), 1_000, RATE_HZ, MIN_CORRELATION).any()
    tone = np.sin(2 * np.pi * 100 * time).astype(np.float32)  # every period is a repeat
    assert find_repeats(tone, np.array([0, 1_000, 4_000]), 1_000, RATE_HZ, MIN_CORRELATION).all()
    short = tone[: RATE_HZ // 2 + 400]  # no place is half a second away
    assert not find_repeats(short, np.array([0, 300]), 1_000, RATE_HZ, MIN_CORRELATION).any()


def test_digital_silence_is_no_repeat() -> None:
    track = np.concatenate([_noise(0, 1.0), np.zeros(4_000, np.float32)])
    assert find_repeats(track, np.array([0]), 1_000, RATE_HZ, MIN_CORRELATION).tolist() == [False]
