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
