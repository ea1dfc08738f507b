"""Distortions: exact ratios, no delay, echoes of the context, and what silence does."""

import pytest
import torch
from torch import Tensor

from lightning_modules.frontends import Distortion
from lightning_modules.frontends.distortion import add_noise, reverberate
from tests.draws import draw, seeded

RATE, SEGMENT, CONTEXT, OFFSET = 1000, 200, 150, 20
ROWS = 6


def make(noise: float = 1.0, reverb: float = 1.0, offset: float = 1.0) -> Distortion:
    return Distortion(
        RATE, SEGMENT / RATE, CONTEXT / RATE, OFFSET / RATE,
        noise_probability=noise, reverb_probability=reverb, offset_probability=offset,
    )  # fmt: skip


def make_room(num_rows: int, length: int = 90, seed: int = 2) -> Tensor:
    room = 0.3 * draw(num_rows, length, seed=seed) * torch.exp(-torch.arange(length) / 30)
    room[:, 0] = 1
    return room


def snr_db(signal: Tensor, noisy: Tensor) -> Tensor:
    added = noisy.double() - signal.double()
    return 10 * torch.log10(signal.double().square().sum(dim=1) / added.square().sum(dim=1))


def query(has_noise: bool, has_room: bool, waveform: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
    waveform = draw(ROWS, CONTEXT + SEGMENT) if waveform is None else waveform
    noise = 7 * draw(ROWS, SEGMENT, seed=1) if noise is None else noise
    ratios = torch.tensor([0.0, 5.0, 10.0, 15.0, 20.0, -3.0])
    yes = torch.ones(ROWS, dtype=torch.bool)
    return make().distort_query(waveform, noise, make_room(ROWS), ratios, yes & has_noise, yes & has_room)


@pytest.mark.parametrize("has_room", [False, True])
def test_the_ratio_is_that_of_what_is_heard(has_room: bool) -> None:
    heard, noisy = query(False, has_room), query(True, has_room)
    expected = torch.tensor([0.0, 5.0, 10.0, 15.0, 20.0, -3.0], dtype=torch.float64)
    torch.testing.assert_close(snr_db(heard, noisy), expected, atol=1e-3, rtol=0)


def test_reverberation_is_a_full_convolution_with_the_context() -> None:
    waveform, room = draw(ROWS, CONTEXT + SEGMENT), make_room(ROWS)
    expected = torch.zeros(ROWS, CONTEXT + SEGMENT, dtype=torch.float64)
    for delay in range(room.shape[1]):
        shifted = torch.nn.functional.pad(waveform.double(), (delay, 0))[:, : CONTEXT + SEGMENT]
        expected += room[:, delay, None].double() * shifted
    torch.testing.assert_close(query(False, True, waveform).double(), expected[:, CONTEXT:], atol=1e-5, rtol=0)


def test_a_room_that_only_passes_sound_delays_nothing() -> None:
    waveform = draw(3, CONTEXT + SEGMENT)
    for length in (1, 2, 777):
        room = torch.zeros(3, length)
        room[:, 0] = 1
        torch.testing.assert_close(reverberate(waveform, room), waveform, atol=1e-5, rtol=0)


def test_echoes_of_what_came_before_are_heard() -> None:
    click = torch.zeros(ROWS, CONTEXT + SEGMENT)
    click[:, CONTEXT - 10] = 1
    heard = query(False, True, click)
    torch.testing.assert_close(heard[:, :80], make_room(ROWS)[:, 10:], atol=1e-5, rtol=0)
    assert float(heard[:, 80:].abs().max()) < 1e-5  # nothing wraps around


def test_only_what_is_asked_for_is_distorted() -> None:
    waveform, noise = draw(4, CONTEXT + SEGMENT), draw(4, SEGMENT, seed=1)
    has_noise, has_room = torch.tensor([0, 1, 0, 1]).bool(), torch.tensor([0, 0, 1, 1]).bool()
    heard = make().distort_query(waveform, noise, make_room(4), torch.full((4,), 6.0), has_noise, has_room)
    wet = reverberate(waveform, make_room(4))[:, CONTEXT:]
    torch.testing.assert_close(heard[0], waveform[0, CONTEXT:], atol=0, rtol=0)
    torch.testing.assert_close(heard[2], wet[2], atol=1e-6, rtol=0)
    dry = torch.stack([waveform[1, CONTEXT:], wet[3]])
    torch.testing.assert_close(snr_db(dry, heard[[1, 3]]), torch.full((2,), 6.0).double(), atol=1e-3, rtol=0)
    assert torch.equal(waveform, draw(4, CONTEXT + SEGMENT))  # the batch is left as it was


def test_silence_stays_finite() -> None:
    silence = torch.zeros(ROWS, CONTEXT + SEGMENT)
    assert bool((query(True, True, silence) == 0).all())
    quiet_noise = query(True, False, noise=torch.zeros(ROWS, SEGMENT))
    torch.testing.assert_close(quiet_noise, query(False, False), atol=0, rtol=0)
    nearly = add_noise(draw(1, SEGMENT), 1e-15 * draw(1, SEGMENT, seed=1), torch.tensor([3.0]))
    torch.testing.assert_close(snr_db(draw(1, SEGMENT), nearly), torch.tensor([3.0]).double(), atol=1e-3, rtol=0)


def test_training_segments_are_clean_and_shifted_within_bounds() -> None:
    distortion = make(noise=0.0, reverb=0.0)
    num_rows = 2000
    positions = torch.arange(distortion.num_samples, dtype=torch.float32).expand(num_rows, -1)
    noise, room = draw(num_rows, SEGMENT), make_room(num_rows, 4)
    clean, distorted = distortion(positions, noise, room, seeded())
    assert torch.equal(clean, positions[:, CONTEXT + OFFSET : CONTEXT + OFFSET + SEGMENT])
    shift = distorted - clean
    assert bool((shift == shift[:, :1]).all())
    counts = torch.bincount(shift[:, 0].long() + OFFSET)
    assert len(counts) == 2 * OFFSET + 1
    assert float(counts.min()) > 0.4 * num_rows / len(counts)  # uniform, ends included
    _, still = make(0.0, 0.0, 0.0)(positions, noise, room, seeded())
    assert torch.equal(still, clean)


def test_distortions_come_as_often_as_stated_and_independently() -> None:
    distortion = make(noise=0.7, reverb=0.4, offset=0.0)
    num_rows = 3000
    waveform, noise, room = draw(num_rows, distortion.num_samples), draw(num_rows, SEGMENT, seed=1), make_room(num_rows)
    clean, distorted = distortion(waveform, noise, room, seeded())
    wet = reverberate(waveform[:, OFFSET:-OFFSET], room)[:, CONTEXT:]
    is_dry = (distorted - clean).abs().amax(dim=1) < 1e-5
    is_wet = (distorted - wet).abs().amax(dim=1) < 1e-4
    assert float(is_dry.float().mean()) == pytest.approx(0.3 * 0.6, abs=0.03)
    assert float(is_wet.float().mean()) == pytest.approx(0.3 * 0.4, abs=0.03)
    ratio_if_dry, ratio_if_wet = snr_db(clean, distorted), snr_db(wet, distorted)
    # the added noise tells which it was
    gain = ((distorted - wet) * noise).sum(dim=1) / noise.square().sum(dim=1)
    added_to_wet = (distorted - wet - gain[:, None] * noise).abs().amax(dim=1) < 1e-3
    ratios = torch.where(added_to_wet, ratio_if_wet, ratio_if_dry)[~is_dry & ~is_wet]
    assert float(ratios.min()) > -0.01
    assert float(ratios.max()) < 20.01
    assert float(ratios.mean()) == pytest.approx(10, abs=0.5)
    assert float((added_to_wet & ~is_wet).float().mean()) == pytest.approx(0.7 * 0.4, abs=0.03)


def test_the_generator_alone_decides() -> None:
    distortion = make(0.5, 0.5)
    batch = (draw(8, distortion.num_samples), draw(8, SEGMENT, seed=1), make_room(8))
    first, again, other = (distortion(*batch, seeded(seed))[1] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_autocast_changes_nothing() -> None:
    expected = query(True, True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(query(True, True), expected)


def test_wrong_lengths_and_options_are_refused() -> None:
    distortion = make()
    with pytest.raises(ValueError, match=r"Expected waveforms of 390 samples.*got 389.*context and offset"):
        distortion(draw(2, 389), draw(2, SEGMENT), make_room(2), seeded())
    yes = torch.ones(2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"Expected waveforms of 350 samples.*got 349"):
        distortion.distort_query(draw(2, 349), draw(2, SEGMENT), make_room(2), torch.zeros(2), yes, yes)
    with pytest.raises(ValueError, match=r"must be from 0 to 1; got 0\.8, 1\.5 and 1\.0"):
        Distortion(reverb_probability=1.5)
    with pytest.raises(ValueError, match="min_snr_db no higher than max_snr_db"):
        Distortion(min_snr_db=21.0)
