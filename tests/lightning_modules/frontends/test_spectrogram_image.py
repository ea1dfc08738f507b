"""Clips as pictures, against a slow spectrogram in double precision, and back to sound."""

import math

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from lightning_modules.frontends import LogMel, SpectrogramImage

SMALL = SpectrogramImage(num_bins=64, num_frames=48, window_samples=512, fft_samples=1024, hop_samples=160)


def released() -> SpectrogramImage:
    return SpectrogramImage("linear", 13_107, window_samples=512, fft_samples=512, hop_samples=256)


def chirp(num_samples: int, sample_rate_hz: int) -> Tensor:
    """Rise from 200 to 3200 Hz, silent in the last quarter."""
    seconds = torch.arange(num_samples, dtype=torch.float64) / sample_rate_hz
    rate = 3000 / (num_samples / sample_rate_hz)
    wave = 0.3 * torch.sin(2 * torch.pi * (200 * seconds + rate / 2 * seconds**2))
    wave[3 * num_samples // 4 :] = 0
    return wave.float()[None]


def slow_linear_image(waveform: np.ndarray) -> np.ndarray:
    """Compute frame by frame what the published code's parameters say: FFT 512, hop 256, Nyquist's bin left out."""
    padded = np.pad(waveform.astype(np.float64), 256, mode="reflect")
    window = scipy.signal.get_window("hann", 512, fftbins=True)
    starts = range(0, len(padded) - 512 + 1, 256)
    power = np.array([np.abs(np.fft.rfft(padded[start : start + 512] * window)) ** 2 for start in starts])
    decibels = 10 * np.log10(np.maximum(power[:, :256], 1e-10))
    decibels = np.maximum(decibels, decibels.max() - 80)
    image: np.ndarray = (decibels - decibels.min()) / (decibels.max() - decibels.min())
    return image


def test_linear_image_equals_the_slow_oracle() -> None:
    waveform = np.random.default_rng(0).normal(scale=0.1, size=65_535) * np.linspace(0, 1, 65_535) ** 4
    ours = released()(torch.from_numpy(waveform).float()[None], 13_107)[0]
    expected = slow_linear_image(waveform.astype(np.float32))
    assert expected.shape == (256, 256)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-4, rtol=0)


def test_mel_bands_are_triangles_on_the_scale_of_equation_2_4() -> None:
    filters = SpectrogramImage().mel_filters.double()
    assert filters.shape == (1025, 256)
    assert float(filters.sum(dim=0).min()) > 0.1
    mel = 2595 * math.log10(1 + 8000 / 700) * torch.arange(258, dtype=torch.float64) / 257
    edges_hz = 700 * (10 ** (mel / 2595) - 1)
    hertz = torch.arange(1025, dtype=torch.float64)[:, None] * 16_000 / 2048
    rising = (hertz - edges_hz[:-2]) / (edges_hz[1:-1] - edges_hz[:-2])
    falling = (edges_hz[2:] - hertz) / (edges_hz[2:] - edges_hz[1:-1])
    torch.testing.assert_close(filters, torch.minimum(rising, falling).clamp(min=0), atol=1e-3, rtol=0)


def test_defaults_cover_five_seconds_and_the_release_exactly() -> None:
    assert SpectrogramImage().num_samples == 80_127  # 127 more than 5 s at 16 kHz
    assert released().num_samples == 65_535


@pytest.mark.parametrize("image", [SMALL, released()], ids=["mel", "linear"])
@pytest.mark.parametrize("num_samples", [1, 100, 7_679, 100_000])
def test_any_clip_fills_the_picture_and_the_range(image: SpectrogramImage, num_samples: int) -> None:
    torch.manual_seed(0)
    frames = image.frames(0.1 * torch.randn(2, num_samples))
    assert frames.shape == (2, image.num_frames, image.frame_dim)
    assert bool((frames.amin(dim=(1, 2)) == 0).all())
    assert bool((frames.amax(dim=(1, 2)) == 1).all())


def test_short_clips_are_padded_and_long_ones_cut() -> None:
    torch.manual_seed(0)
    waveform = torch.randn(1, 10_000)
    short, long = waveform[:, :3000], waveform
    padded = torch.cat([short, torch.zeros(1, SMALL.num_samples - 3000)], dim=1)
    assert torch.equal(SMALL.frames(short), SMALL.frames(padded))
    assert torch.equal(SMALL.frames(long), SMALL.frames(long[:, : SMALL.num_samples]))


@pytest.mark.parametrize("image", [SMALL, released()], ids=["mel", "linear"])
@pytest.mark.parametrize("num_samples", [0, 1, 80_000])
def test_digital_silence_is_zero_beside_sound_too(image: SpectrogramImage, num_samples: int) -> None:
    assert bool((image.frames(torch.zeros(2, num_samples)) == 0).all())
    if num_samples:
        frames = image.frames(torch.cat([torch.ones(1, num_samples), torch.zeros(1, num_samples)]))
        assert float(frames[0].amax()) == 1
        assert bool((frames[1] == 0).all())


@pytest.mark.parametrize("gain", [0.5, 0.01])
def test_gain_changes_nothing(gain: float) -> None:
    waveform = chirp(SMALL.num_samples, 16_000)
    torch.testing.assert_close(SMALL.frames(gain * waveform), SMALL.frames(waveform), atol=1e-4, rtol=0)


def test_clips_of_a_batch_do_not_touch_each_other() -> None:
    torch.manual_seed(0)
    loud, quiet = torch.randn(1, 7_000), 1e-3 * chirp(7_000, 16_000)
    together = SMALL.frames(torch.cat([loud, quiet]))
    torch.testing.assert_close(together[:1], SMALL.frames(loud), atol=1e-5, rtol=0)
    torch.testing.assert_close(together[1:], SMALL.frames(quiet), atol=1e-5, rtol=0)


def test_the_floor_sets_the_contrast() -> None:
    waveform = chirp(SMALL.num_samples, 16_000)
    steep = SpectrogramImage("mel", 16_000, 64, 48, 512, 1024, 160, floor_db=40.0).frames(waveform)
    # 20 dB below the maximum is a half of 40 dB and three quarters of 80 dB
    torch.testing.assert_close(steep, (2 * SMALL.frames(waveform) - 1).clamp(min=0), atol=1e-4, rtol=0)


def test_settings_name_every_option() -> None:
    settings = released().settings()
    assert settings == {
        "front_end": "SpectrogramImage", "revision": 1, "scale": "linear", "sample_rate_hz": 13_107, "num_bins": 256,
        "num_frames": 256, "window_samples": 512, "fft_samples": 512, "hop_samples": 256, "floor_db": 80.0,
    }  # fmt: skip
    assert SpectrogramImage().settings() != SMALL.settings()


def test_nothing_of_it_is_saved_but_the_window() -> None:
    assert list(SpectrogramImage().state_dict()) == ["spectrogram.window"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_bins": 0}, "num_bins must be positive; got 0"),
        ({"hop_samples": -1}, "hop_samples must be positive; got -1"),
        ({"floor_db": 0.0}, "floor_db must be positive"),
        ({"window_samples": 1023}, "window_samples must be even, .* got 1023 and 2048"),
        ({"fft_samples": 1500}, "fft_samples a multiple of it; got 1024 and 1500"),
        ({"fft_samples": 1024}, r"every mel band must hold an FFT bin; \d+ of 256 hold none.*2048 or more"),
        ({"scale": "linear"}, r"fft_samples must be twice num_bins; got 2048 and 256\. Set fft_samples to 512"),
        ({"num_frames": 3}, r"must exceed half of fft_samples by 2; got 3 \* 313 and 2048"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpectrogramImage(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("image", [SpectrogramImage(), released()], ids=["mel", "linear"])
def test_an_inverted_tone_has_its_pitch(image: SpectrogramImage) -> None:
    seconds = torch.arange(image.num_samples) / image.sample_rate_hz
    tone = torch.sin(2 * torch.pi * 1000 * seconds)[None]
    waveform = image.invert(image.frames(tone))
    assert waveform.shape == tone.shape
    assert float(waveform.abs().max()) == pytest.approx(0.5, abs=1e-5)
    spectrum = torch.fft.rfft(waveform[0]).abs()
    peak_hz = float(spectrum.argmax()) * image.sample_rate_hz / image.num_samples
    # one mel band is 17 Hz wide there, an FFT bin of the release 25.6 Hz
    assert peak_hz == pytest.approx(1000, abs=17)


@pytest.mark.parametrize("image", [SpectrogramImage(), released()], ids=["mel", "linear"])
def test_an_inverted_picture_looks_like_the_picture(image: SpectrogramImage) -> None:
    torch.manual_seed(0)
    burst = 0.1 * torch.randn(1, image.num_samples)
    burst[:, : image.num_samples // 2] = 0
    frames = image.frames(torch.cat([chirp(image.num_samples, image.sample_rate_hz), burst]))
    again = image.frames(image.invert(frames))
    noise = image.frames(torch.randn(1, image.num_samples))
    for picture, found in zip(frames, again, strict=True):
        loudest = picture > 0.5
        error_db = 80 * float((found - picture)[loudest].abs().mean())
        assert error_db < 3  # measured 0.6 to 1.5
        assert 80 * float((noise[0] - picture)[loudest].abs().mean()) > 2 * error_db
        assert 80 * float(picture[loudest].abs().mean()) > 10 * error_db  # silence


def test_inversion_repeats_and_keeps_clips_apart() -> None:
    torch.manual_seed(0)
    frames = SMALL.frames(torch.cat([chirp(7_000, 16_000), torch.randn(1, 7_000)]))
    waveform = SMALL.invert(frames)
    torch.manual_seed(1)
    assert torch.equal(SMALL.invert(frames), waveform)
    torch.testing.assert_close(SMALL.frames(SMALL.invert(frames[1:])), SMALL.frames(waveform[1:]), atol=1e-3, rtol=0)


def test_an_empty_picture_is_silent_and_a_full_one_is_finite() -> None:
    pictures = torch.stack([torch.zeros(48, 64), -torch.ones(48, 64), torch.ones(48, 64)])
    waveform = SMALL.invert(pictures)
    assert bool((waveform[:2] == 0).all())
    assert bool(torch.isfinite(waveform).all())
    assert float(waveform[2].abs().max()) == pytest.approx(0.5, abs=1e-5)


def test_values_outside_the_range_are_clamped() -> None:
    frames = SMALL.frames(chirp(SMALL.num_samples, 16_000))
    wild = torch.where(frames > 0.8, frames + 10, torch.where(frames < 0.2, frames - 10, frames))
    clamped = torch.where(frames > 0.8, 1.0, torch.where(frames < 0.2, 0.0, frames))
    assert torch.equal(SMALL.invert(wild), SMALL.invert(clamped))


@pytest.mark.parametrize("front_end", [SMALL, LogMel(hop_samples=256)], ids=["image", "log-mel"])
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16, torch.float64])
def test_frames_of_any_precision_are_inverted(front_end: SpectrogramImage | LogMel, precision: torch.dtype) -> None:
    waveform = front_end.invert(front_end.frames(chirp(7_000, 16_000)).to(precision))
    assert waveform.dtype == torch.float32
    assert float(waveform.abs().max()) > 0.1


def test_frames_of_another_front_end_are_refused() -> None:
    with pytest.raises(ValueError, match="num_bins=64 values; got 256"):
        SMALL.invert(torch.rand(1, 48, 256))
