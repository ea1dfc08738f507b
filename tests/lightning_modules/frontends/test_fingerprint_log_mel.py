"""Log-mel pictures of segments: size, scale, and what they no longer depend on."""

import pytest
import torch
from torch import Tensor

from lightning_modules.frontends import FingerprintLogMel, LogMel


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_second_is_64_bands_by_100_frames_of_no_mean_and_unit_scale() -> None:
    frames = FingerprintLogMel()(noise(3, 16_000), 16_000)
    assert frames.shape == (3, 100, 64)
    torch.testing.assert_close(frames.mean(dim=1), torch.zeros(3, 64), atol=1e-4, rtol=0)
    torch.testing.assert_close(frames.square().mean(dim=(1, 2)), torch.ones(3), atol=1e-4, rtol=0)


def test_level_and_colour_do_not_count() -> None:
    front_end, waveform = FingerprintLogMel(floor_db=80.0), noise(2, 16_000)
    expected = front_end(waveform, 16_000)
    torch.testing.assert_close(front_end(waveform / 50, 16_000), expected, atol=1e-3, rtol=0)
    # what each band loses is the same in all frames, but for window edges
    coloured = waveform - 0.9 * torch.nn.functional.pad(waveform, (1, 0))[:, :-1]
    similarity = torch.nn.functional.cosine_similarity(
        front_end(coloured, 16_000).flatten(1), expected.flatten(1), dim=1
    )
    assert float(similarity.min()) > 0.9


def test_without_scaling_it_is_the_log_mel() -> None:
    plain = FingerprintLogMel(remove_band_mean=False, unit_scale=False, floor_db=60.0)
    expected = LogMel(window_samples=512, hop_samples=160, floor_db=60.0)(noise(2, 16_000), 16_000)[:, :100]
    assert torch.equal(plain(noise(2, 16_000), 16_000), expected)


def test_scale_alone_removes_the_mean_of_all_bands_together() -> None:
    frames = FingerprintLogMel(remove_band_mean=False)(noise(2, 16_000), 16_000)
    torch.testing.assert_close(frames.mean(dim=(1, 2)), torch.zeros(2), atol=1e-4, rtol=0)
    assert float(frames.mean(dim=1).abs().max()) > 0.1


def test_weak_parts_are_cut_off() -> None:
    waveform = noise(1, 16_000)
    waveform[:, :8000] *= 1e-3
    frames = FingerprintLogMel(remove_band_mean=False, unit_scale=False, floor_db=40.0)(waveform, 16_000)
    assert float(frames.max() - frames.min()) == pytest.approx(40.0, abs=1e-3)


def test_silence_is_all_zeros() -> None:
    frames = FingerprintLogMel()(torch.zeros(2, 16_000), 16_000)
    assert bool((frames == 0).all())


def test_segments_of_a_batch_do_not_touch_each_other() -> None:
    front_end, waveform = FingerprintLogMel(), noise(40, 16_000)
    waveform[::2] *= 100
    together = front_end(waveform, 16_000)
    for row in (0, 15, 16, 39):
        torch.testing.assert_close(together[row : row + 1], front_end(waveform[row : row + 1], 16_000))


@pytest.mark.parametrize("scaled", [False, True])
def test_networks_can_be_trained_on_the_frames(scaled: bool) -> None:
    layer = torch.nn.Linear(64, 2)
    layer(FingerprintLogMel(remove_band_mean=scaled, unit_scale=scaled)(noise(2, 16_000), 16_000)).sum().backward()
    assert layer.weight.grad is not None


def test_autocast_changes_nothing() -> None:
    front_end, waveform = FingerprintLogMel(), noise(2, 16_000)
    expected = front_end(waveform, 16_000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(front_end(waveform, 16_000), expected)


def test_settings_name_every_option() -> None:
    options = [{}, {"num_frames": 90}, {"remove_band_mean": False}, {"unit_scale": False}, {"floor_db": 30.0}]
    settings = [FingerprintLogMel(**each).settings() for each in options]  # type: ignore[arg-type]
    assert all(first != second for i, first in enumerate(settings) for second in settings[:i])


def test_short_segments_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 15840 samples, num_frames = 100; got 12000"):
        FingerprintLogMel()(noise(1, 12_000), 16_000)
