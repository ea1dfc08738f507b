"""The log-mel front end of VGGish and YAMNet: known constants, and a slow oracle in double precision."""

import math

import numpy as np
import pytest
import torch

from lightning_modules.frontends.pretrained.audioset_log_mel import (
    AudioSetLogMel,
    cut_patches,
    mel_triangles,
    samples_of,
)


def slow_log_mel(waveform: np.ndarray, log_offset: float) -> np.ndarray:
    """Compute frame by frame and band by band what the papers and releases describe."""
    window = [0.5 - 0.5 * math.cos(2 * math.pi * sample / 400) for sample in range(400)]
    frames = []
    for start in range(0, len(waveform) - 400 + 1, 160):
        magnitude = np.abs(np.fft.rfft(waveform[start : start + 400] * window, 512))
        frames.append([math.log(band @ magnitude + log_offset) for band in slow_mel_bands()])
    return np.array(frames)


def slow_mel_bands() -> list[np.ndarray]:
    def mel(hertz: float) -> float:
        return 1127 * math.log(1 + hertz / 700)

    edges = [mel(125) + index * (mel(7500) - mel(125)) / 65 for index in range(66)]
    bands = []
    for lower, centre, upper in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
        band = np.zeros(257)
        for fft_bin in range(1, 257):
            position = mel(fft_bin * 16_000 / 512)
            if lower < position < upper:
                near = lower if position <= centre else upper
                band[fft_bin] = (position - near) / (centre - near)
        bands.append(band)
    return bands


@pytest.mark.parametrize("log_offset", [0.01, 0.001])
def test_frames_equal_the_slow_oracle(log_offset: float) -> None:
    waveform = np.random.default_rng(0).normal(scale=0.1, size=3000)
    ours = AudioSetLogMel(log_offset)(torch.from_numpy(waveform).float()[None])[0]
    np.testing.assert_allclose(ours.numpy(), slow_log_mel(waveform, log_offset), atol=1e-4, rtol=0)


def test_mel_triangles_equal_the_slow_ones() -> None:
    np.testing.assert_allclose(mel_triangles().T.numpy(), np.array(slow_mel_bands()), atol=1e-6, rtol=0)


def test_mel_triangles_are_linear_in_mel_and_leave_out_dc() -> None:
    filters = mel_triangles().double()
    assert filters.shape == (257, 64)
    assert bool((filters >= 0).all())
    assert float(filters.max()) <= 1
    assert bool((filters[0] == 0).all())
    # Within the band, neighbouring triangles that are linear in mel sum to one at every frequency.
    hertz = torch.linspace(0, 8000, 257)
    inner = (hertz > 160) & (hertz < 7200)
    torch.testing.assert_close(
        filters[inner].sum(dim=1), torch.ones(int(inner.sum()), dtype=torch.float64), atol=1e-5, rtol=0
    )
    assert bool((filters[(hertz < 125) | (hertz > 7500)] == 0).all())


@pytest.mark.parametrize("log_offset", [0.01, 0.001])
def test_silence_is_the_logarithm_of_the_offset(log_offset: float) -> None:
    log_mel = AudioSetLogMel(log_offset)(torch.zeros(1, 160_000))
    assert log_mel.shape == (1, 998, 64)  # 10 s
    torch.testing.assert_close(log_mel, torch.full_like(log_mel, math.log(log_offset)))


def test_log_mel_of_a_sine_peaks_in_its_band_at_its_time() -> None:
    time = torch.arange(16_000) / 16_000
    waveform = torch.where(time < 0.5, torch.sin(2 * torch.pi * 1000 * time), torch.zeros(()))
    log_mel = AudioSetLogMel(0.001)(waveform[None])[0]
    assert log_mel.shape == (98, 64)  # 1 + (16000 - 400) // 160
    centre = int(mel_triangles()[round(1000 / 31.25)].argmax())
    assert int(log_mel[10].argmax()) == centre
    # frame 49 covers samples 7840 to 8240 and still hears the sine, frame 50 starts at 8000 and doesn't
    assert float(log_mel[49, centre]) > 0
    assert float(log_mel[50:].max()) == pytest.approx(np.log(0.001), abs=1e-4)


def test_patches_keep_time_and_bands_apart() -> None:
    assert samples_of(96) == 15_600
    log_mel = torch.arange(250)[None, :, None] * 100.0 + torch.arange(64)
    patches = cut_patches(log_mel, hop_frames=48)
    assert patches.shape == (1, 4, 96, 64)
    assert float(patches[0, 2, 10, 7]) == (2 * 48 + 10) * 100 + 7
