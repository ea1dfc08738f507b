"""TLWeak: front end by known constants and a slow oracle, the network against layers written out."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lightning_modules.frontends import TlWeak
from lightning_modules.frontends.pretrained.release import WeightsMissing
from lightning_modules.frontends.pretrained.tlweak import TlWeakLogMel
from tests.lightning_modules.frontends.pretrained.test_tlweak_weights import make_release, write_release

WIDTHS = (16, 16, 0, 32, 32, 0, 64, 64, 0, 128, 128, 0, 256, 256, 0, 512, 0)


def noise(num_clips: int, num_samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(num_clips, num_samples, generator=torch.Generator().manual_seed(0))


def slow_log_mel(waveform: np.ndarray) -> np.ndarray:
    """Compute frame by frame what librosa's documentation says of melspectrogram and power_to_db."""

    def mel(hertz: float) -> float:
        return 15 + 27 * math.log(hertz / 1000) / math.log(6.4) if hertz >= 1000 else hertz * 3 / 200

    def hertz(mels: float) -> float:
        return 1000 * 6.4 ** ((mels - 15) / 27) if mels >= 15 else mels * 200 / 3

    edges = [hertz(mel(22_050) * index / 129) for index in range(130)]
    bins = np.arange(513) * 44_100 / 1024
    bands = [
        np.maximum(0, np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)))
        * 2 / (upper - lower)
        for lower, centre, upper in zip(edges[:-2], edges[1:-1], edges[2:], strict=True)
    ]  # fmt: skip
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    mirrored = np.pad(waveform, 512, mode="reflect")
    power = [
        np.array(bands) @ np.abs(np.fft.rfft(mirrored[start : start + 1024] * window)) ** 2
        for start in range(0, len(waveform) + 1, 512)
    ]
    decibels = 10 * np.log10(np.maximum(1e-10, power))
    floored: np.ndarray = np.maximum(decibels, decibels.max() - 80)
    return floored


def test_log_mel_equals_the_slow_oracle() -> None:
    # loud, then nearly silent: the range is cut at -80 dB
    waveform = noise(1, 70_000) * torch.where(torch.arange(70_000) < 40_000, 1.0, 1e-6)
    ours = TlWeakLogMel()(waveform)[0].numpy()
    expected = slow_log_mel(waveform[0].double().numpy())
    assert ours.shape == (137, 128)
    assert (expected == expected.min()).mean() > 0.2
    np.testing.assert_allclose(ours, expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("num_samples", "log_mel_frames"),
    [(0, 128), (1, 128), (512, 128), (513, 128), (65_023, 128), (65_536, 129), (220_500, 431), (441_000, 862)],
)
def test_frame_counts(num_samples: int, log_mel_frames: int) -> None:
    log_mel = TlWeakLogMel()(noise(2, num_samples))
    assert log_mel.shape == (2, log_mel_frames, 128)
    assert bool(torch.isfinite(log_mel).all())


def test_missing_frames_are_zero_decibels_as_in_the_release() -> None:
    log_mel = TlWeakLogMel()(noise(1, 51_200))[0]
    assert bool((log_mel[101:] == 0).all())
    assert bool((log_mel[:101] != 0).any(dim=1).all())
    silence = TlWeakLogMel()(torch.zeros(1, 66_000))
    torch.testing.assert_close(silence, torch.full_like(silence, -100.0))


def test_clips_of_a_batch_do_not_touch_each_other() -> None:
    loud, quiet = noise(1, 70_000), 1e-4 * noise(1, 70_000).flip(1)
    front_end = TlWeakLogMel()
    torch.testing.assert_close(front_end(torch.cat([loud, quiet]))[1:], front_end(quiet))


def slow_layer18(release: dict[str, torch.Tensor], log_mel: torch.Tensor) -> torch.Tensor:
    """Run the release's layers one by one, in double precision, batch normalisation unfolded."""
    hidden = log_mel.double()[:, None]
    for layer in range(1, 19):
        if layer < 18 and WIDTHS[layer - 1] == 0:
            hidden = F.max_pool2d(hidden, 2)
            continue
        part = {name: release[f"layer{layer}.{name}"].double() for name in ("0.weight", "0.bias", "1.weight", "1.bias")}
        mean, variance = (release[f"layer{layer}.1.running_{name}"].double() for name in ("mean", "var"))
        hidden = F.conv2d(hidden, part["0.weight"], part["0.bias"], padding=0 if layer == 18 else 1)
        hidden = F.batch_norm(hidden, mean, variance, part["1.weight"], part["1.bias"], eps=1e-5).relu()
    return hidden


def test_frames_are_layer18_and_their_mean_the_papers_feature(tmp_path: Path) -> None:
    release = make_release()
    write_release(tmp_path / "tlweak.pkl", release)
    front_end = TlWeak(str(tmp_path / "tlweak.pkl"), clips_per_batch=2)
    waveform = noise(3, 220_500)
    frames = front_end(waveform, 44_100)
    assert frames.shape == (3, 5, front_end.frame_dim)
    hidden = slow_layer18(release, front_end.log_mel(waveform))
    assert hidden.shape == (3, 1024, 5, 1)
    scale = float(hidden.std())
    assert scale > 0.01
    feature = F.avg_pool2d(hidden, kernel_size=hidden.shape[2:])[:, :, 0, 0]
    torch.testing.assert_close(frames.mean(dim=1).double(), feature, atol=1e-4 * scale, rtol=1e-4)
    torch.testing.assert_close(frames.double(), hidden[..., 0].transpose(1, 2), atol=1e-4 * scale, rtol=1e-4)
    # the classifier is the release's 1x1 convolution
    logits = F.conv2d(hidden, release["layer19.0.weight"].double(), release["layer19.0.bias"].double())
    scores = front_end.scores(waveform)
    torch.testing.assert_close(scores.double(), torch.sigmoid(logits)[..., 0].transpose(1, 2), atol=1e-4, rtol=0)
    # a surrounding module may be put into training mode
    torch.testing.assert_close(front_end.train()(waveform, 44_100), frames)


def test_a_short_clip_gives_one_frame_and_settings_name_the_weights(tmp_path: Path) -> None:
    settings = []
    for seed in (0, 1):
        path = tmp_path / f"{seed}.pkl"
        write_release(path, make_release(seed))
        front_end = TlWeak(str(path))
        settings.append(front_end.settings())
        assert front_end(noise(1, 1000), 44_100).shape == (1, 1, 1024)
    assert settings[0] != settings[1]


def test_missing_weights_say_what_to_get(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EARMARK_TLWEAK_WEIGHTS", raising=False)
    with pytest.raises(
        WeightsMissing,
        match=r"weak_feature_extractor.*none stated.*mx-h64-1024_0d3-1\.17\.pkl.*\$EARMARK_TLWEAK_WEIGHTS",
    ):
        TlWeak().prepare()
