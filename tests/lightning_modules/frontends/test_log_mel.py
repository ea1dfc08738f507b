"""Log-mel front ends."""

import pytest
import torch

from lightning_modules.frontends import FrontEnd, LogMel, LogMelStatistics


@pytest.mark.parametrize("front_end", [LogMel(num_mels=32), LogMelStatistics(num_mels=32)])
@pytest.mark.parametrize("seconds", [0.001, 0.5, 2.0])
def test_frames_have_the_declared_size_for_any_length(front_end: FrontEnd, seconds: float) -> None:
    torch.manual_seed(0)
    frames = front_end(torch.randn(2, max(1, round(seconds * 16_000))), 16_000)
    assert frames.shape[0] == 2
    assert frames.shape[1] >= 1
    assert frames.shape[2] == front_end.frame_dim
    assert bool(torch.isfinite(frames).all())


def test_clips_of_a_batch_do_not_touch_each_other() -> None:
    torch.manual_seed(0)
    loud, quiet = torch.randn(1, 16_000), 1e-4 * torch.randn(1, 16_000)
    front_end = LogMel()
    together = front_end(torch.cat([loud, quiet]), 16_000)
    torch.testing.assert_close(together[1:], front_end(quiet, 16_000))


def test_gain_shifts_the_mean_only() -> None:
    torch.manual_seed(0)
    waveform = 0.1 * torch.randn(1, 32_000)
    front_end = LogMelStatistics()
    quiet, loud = front_end(waveform, 16_000)[0, 0], front_end(10 * waveform, 16_000)[0, 0]
    expected = torch.cat([torch.full((64,), 20.0), torch.zeros(128)])
    torch.testing.assert_close(loud - quiet, expected, atol=1e-2, rtol=0)


def test_another_rate_is_resampled() -> None:
    seconds = torch.arange(44_100) / 44_100
    sine = torch.sin(2 * torch.pi * 440 * seconds)[None]
    at_16k = torch.sin(2 * torch.pi * 440 * torch.arange(16_000) / 16_000)[None]
    ours, expected = LogMel()(sine, 44_100), LogMel()(at_16k, 16_000)
    assert ours.shape == expected.shape
    band = int(expected.mean(dim=1).argmax())
    torch.testing.assert_close(ours[0, 2:-2, band], expected[0, 2:-2, band], atol=0.1, rtol=0)


def test_settings_name_every_option() -> None:
    assert LogMel().settings() != LogMel(num_mels=32).settings()
    assert LogMel().settings() != LogMel(floor_db=60.0).settings()
    assert LogMel().settings() != LogMelStatistics().settings()
    assert LogMel().settings() == LogMel().settings()


def test_an_inverted_tone_has_its_pitch_and_level() -> None:
    front_end = LogMel()
    tone = 0.2 * torch.sin(2 * torch.pi * 1000 * torch.arange(80_000) / 16_000)[None]
    frames = front_end(tone, 16_000)
    waveform = front_end.invert(frames)
    assert waveform.shape == (1, frames.shape[1] * 512 - 1)
    peak_hz = float(torch.fft.rfft(waveform[0]).abs().argmax()) * 16_000 / waveform.shape[1]
    assert peak_hz == pytest.approx(1000, abs=70)  # a band there is 70 Hz wide
    assert float(waveform.square().mean().sqrt()) == pytest.approx(0.2 / 2**0.5, rel=0.2)


@pytest.mark.parametrize("name", ["chirp", "burst"])
def test_inverted_frames_are_found_again(name: str) -> None:
    torch.manual_seed(0)
    front_end = LogMel(hop_samples=256)
    seconds = torch.arange(48_000) / 16_000
    noise = 0.1 * torch.randn(48_000)
    waves = {"chirp": 0.3 * torch.sin(2 * torch.pi * (200 * seconds + 500 * seconds**2)), "burst": noise}
    waveform = torch.where((seconds > 0.5) & (seconds < 2), waves[name], 0.0)[None]
    frames = front_end(waveform, 16_000)
    again = front_end(front_end.invert(frames), 16_000)
    assert again.shape == frames.shape
    loudest = frames > frames.max() - 40
    error_db = float((again - frames)[loudest].abs().mean())
    assert error_db < 3.5  # measured 2.3 for the chirp, 0.5 for the burst
    for other in (torch.zeros(1, 48_000), 0.1 * torch.randn(1, 48_000)):
        assert float((front_end(other, 16_000) - frames)[loudest].abs().mean()) > 2 * max(error_db, 0.5)


def test_inverted_silence_is_silent_and_inversion_repeats() -> None:
    torch.manual_seed(0)
    front_end = LogMel()
    frames = front_end(torch.stack([torch.zeros(16_000), torch.randn(16_000)]), 16_000)
    waveform = front_end.invert(frames)
    assert bool((waveform[0] == 0).all())
    assert float(waveform[1].abs().max()) <= 1
    torch.manual_seed(1)
    assert torch.equal(front_end.invert(frames), waveform)


def test_decibels_that_no_waveform_has_are_clamped() -> None:
    front_end = LogMel(num_mels=32)
    frames = torch.full((1, 20, 32), -30.0)
    frames[:, 5:15, 8] = 1e6
    frames[:, :, 20] = -1e6
    waveform = front_end.invert(frames)
    assert bool(torch.isfinite(waveform).all())
    assert float(waveform.abs().max()) <= 1
    # full scale, with 80 dB below it silent: 0.375 * 1024^2 is 55.95 dB
    clamped = torch.where(frames > 0, 55.94637, torch.where(frames < -50, -100.0, frames))
    torch.testing.assert_close(front_end.invert(clamped), waveform, atol=1e-3, rtol=0)
    # a wave at full scale stays below the ceiling
    square = torch.sign(torch.sin(2 * torch.pi * 100 * torch.arange(16_000) / 16_000))[None]
    assert float(front_end(square, 16_000).max()) < 55.95


def test_frames_that_cannot_be_inverted_are_refused() -> None:
    statistics = LogMelStatistics(num_mels=32)
    with pytest.raises(ValueError, match=r"num_mels=32 values; got 96.*statistics can't be inverted"):
        statistics.invert(statistics(torch.randn(1, 16_000), 16_000))
    front_end = LogMel(window_samples=512)
    with pytest.raises(ValueError, match="at most half of window_samples; got 512 and 512"):
        front_end.invert(front_end(torch.randn(1, 16_000), 16_000))
