"""Sound from spectrograms: mel power is reproduced, spectra are found again, nothing is random."""

import pytest
import torch
import torchaudio.functional
from torch import Tensor

from lightning_modules.frontends.griffin_lim import find_waveform, power_above_floor, unmix_mel


def power_of(waveform: Tensor, window_samples: int, hop_samples: int) -> Tensor:
    window = torch.hann_window(window_samples)
    spectrum = torch.stft(waveform, window_samples, hop_samples, window=window, return_complex=True)
    return spectrum.abs().square().transpose(1, 2)


def test_power_above_the_floor_is_that_beyond_it() -> None:
    decibels = torch.tensor([[[-90.0, -80.0, -70.0, 0.0]]])
    power = power_above_floor(decibels, torch.full((1, 1, 1), -80.0))
    torch.testing.assert_close(power, torch.tensor([[[0.0, 0.0, 9e-8, 1 - 1e-8]]]), atol=1e-13, rtol=1e-5)


def test_unmixed_mel_power_is_never_negative_and_gives_the_mel_power_back() -> None:
    torch.manual_seed(0)
    filters = torchaudio.functional.melscale_fbanks(513, 0.0, 8000.0, 64, 16_000)
    power = 10 ** (8 * torch.rand(2, 1, 513) - 8) * torch.rand(2, 20, 513)
    mel_power = power @ filters
    unmixed = unmix_mel(mel_power, filters)
    assert float(unmixed.min()) >= 0
    error_db = (10 * torch.log10(unmixed @ filters / mel_power)).abs()
    # bins that differ by up to 80 dB from their neighbours, worse than any sound
    assert float(error_db.mean()) < 0.8  # measured 0.50; least squares cut off at zero have 1.96
    assert float(error_db.median()) < 0.05  # measured 0.025


def test_bands_and_bins_without_partner_are_left_silent() -> None:
    filters = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.0, 0.5], [0.0, 0.0, 1.0]])  # band 1 is empty
    unmixed = unmix_mel(torch.tensor([[[2.0, 1.0, 4.0], [0.0, 0.0, 0.0]]]), filters)
    assert bool(torch.isfinite(unmixed).all())
    assert float(unmixed[0, 0, 0]) == 0
    assert bool((unmixed[0, 1] == 0).all())
    torch.testing.assert_close((unmixed @ filters)[0, 0, [0, 2]], torch.tensor([2.0, 4.0]), atol=0.05, rtol=0)


@pytest.mark.parametrize(("window_samples", "hop_samples"), [(512, 256), (512, 128), (1024, 313)])
def test_the_waveform_found_has_the_power_asked_for(window_samples: int, hop_samples: int) -> None:
    torch.manual_seed(0)
    power = power_of(0.1 * torch.randn(1, 16_000), window_samples, hop_samples)
    waveform = find_waveform(power, window_samples, hop_samples)
    found = power_of(waveform, window_samples, hop_samples)
    assert found.shape == power.shape
    error = (found.sqrt() - power.sqrt()).norm() / power.sqrt().norm()
    assert float(error) < 0.25  # measured 0.09 to 0.14; silence has 1


def test_the_same_power_gives_the_same_waveform() -> None:
    torch.manual_seed(0)
    power = torch.rand(2, 10, 257)
    first = find_waveform(power, 512, 256)
    torch.manual_seed(1)
    assert torch.equal(find_waveform(power, 512, 256), first)


@pytest.mark.parametrize("num_frames", [1, 2, 3, 10])
@pytest.mark.parametrize("hop_samples", [32, 200, 256])
def test_any_number_of_frames_gives_the_samples_that_they_need(num_frames: int, hop_samples: int) -> None:
    torch.manual_seed(0)
    waveform = find_waveform(torch.rand(1, num_frames, 257), 512, hop_samples)
    assert waveform.shape == (1, num_frames * hop_samples - 1)
    assert bool(torch.isfinite(waveform).all())


def test_silence_is_silent() -> None:
    assert bool((find_waveform(torch.zeros(1, 5, 257), 512, 256) == 0).all())


def test_windows_that_hardly_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at most half of window_samples; got 300 and 512\. .* hop of 256 or less"):
        find_waveform(torch.rand(1, 5, 257), 512, 300)
