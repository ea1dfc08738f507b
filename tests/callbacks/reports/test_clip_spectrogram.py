"""Spectrograms to be looked at, of sound files made here."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from callbacks.reports.clip_spectrogram import RANGE_DB, ClipSpectrogram, clip_spectrogram

RATE_HZ = 16_000


def spectrogram_of(folder: Path, samples: np.ndarray) -> ClipSpectrogram:
    soundfile.write(folder / "clip.wav", samples, RATE_HZ)
    return clip_spectrogram(folder / "clip.wav")


@pytest.mark.parametrize("frequency_hz", [120.0, 1000.0, 7000.0])
def test_a_tone_lies_in_its_band_while_it_sounds(tmp_path: Path, frequency_hz: float) -> None:
    time = np.arange(2 * RATE_HZ) / RATE_HZ
    tone = 0.5 * np.sin(2 * np.pi * frequency_hz * time) * (time >= 1)
    shown = spectrogram_of(tmp_path, np.stack([tone, tone], axis=1))  # stereo
    assert shown.duration_seconds == 2
    assert shown.level_db.shape == (len(shown.band_edges) - 1, len(shown.time_edges) - 1)
    middles = (shown.time_edges[1:] + shown.time_edges[:-1]) / 2
    band = int(shown.level_db[:, middles > 1.2].mean(axis=1).argmax())
    assert shown.band_edges[band] <= frequency_hz <= shown.band_edges[band + 1]
    assert shown.level_db[band, middles < 0.8].max() == -RANGE_DB
    assert shown.level_db.max() == 0


@pytest.mark.parametrize("num_samples", [1, 63, 1000])
def test_short_clips_and_silence_are_drawn(tmp_path: Path, num_samples: int) -> None:
    shown = spectrogram_of(tmp_path, np.zeros(num_samples))
    assert shown.duration_seconds == pytest.approx(num_samples / RATE_HZ)
    assert np.isfinite(shown.level_db).all()
    assert (np.diff(shown.band_edges) > 0).all()
    assert shown.band_edges[0] > 0


def test_long_clips_have_a_bounded_number_of_columns(tmp_path: Path) -> None:
    shown = spectrogram_of(tmp_path, np.random.default_rng(0).uniform(-1, 1, 60 * RATE_HZ))
    assert 300 <= shown.level_db.shape[1] <= 600
    assert shown.duration_seconds == 60
