"""TLWeak: front end by known constants and a slow oracle, the network against layers written out."""

import io
import math
import pickle
import pickletools
import struct
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules.frontends import TlWeak
from lightning_modules.frontends.pretrained.release import (
    WeightsMismatch,
    WeightsMissing,
    convert_weights,
    load_torch_file,
    read_weights,
)
from lightning_modules.frontends.pretrained.tlweak import RELEASE, TlWeakLogMel

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


CHANNELS = {
    1: (1, 16), 2: (16, 16), 4: (16, 32), 5: (32, 32), 7: (32, 64), 8: (64, 64), 10: (64, 128), 11: (128, 128),
    13: (128, 256), 14: (256, 256), 16: (256, 512), 18: (512, 1024),
}  # fmt: skip


def make_release(seed: int = 0) -> dict[str, Tensor]:
    """Make random weights under the release's names."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for layer, (channels, width) in CHANNELS.items():
        size = 2 if layer == 18 else 3
        kernel = torch.randn(width, channels, size, size, generator=generator)
        state[f"layer{layer}.0.weight"] = kernel * (2 / (channels * size**2)) ** 0.5
        state[f"layer{layer}.0.bias"] = torch.randn(width, generator=generator) / 10
        state[f"layer{layer}.1.weight"] = 0.5 + torch.rand(width, generator=generator)
        state[f"layer{layer}.1.bias"] = torch.randn(width, generator=generator) / 10
        state[f"layer{layer}.1.running_mean"] = torch.randn(width, generator=generator) / 10
        state[f"layer{layer}.1.running_var"] = 0.5 + torch.rand(width, generator=generator)
    state["layer19.0.weight"] = torch.randn(527, 1024, 1, 1, generator=generator) / 32
    state["layer19.0.bias"] = torch.randn(527, generator=generator)
    return state


@dataclass
class OldStorage:
    key: str
    num_values: int


@dataclass
class OldTensor:
    tensor: Tensor
    storage: OldStorage

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return torch._utils._rebuild_tensor, (self.storage, 0, tuple(self.tensor.shape), self.tensor.stride())


class OldDict(OrderedDict[str, OldTensor]):
    def __reduce__(self) -> Any:
        return OrderedDict, ([[name, value] for name, value in self.items()],)


class OldPickler(pickle.Pickler):
    """Leave the values of tensors to be written after the pickle."""

    def persistent_id(self, obj: object) -> object:
        if isinstance(obj, OldStorage):
            return ("storage", torch.FloatStorage, obj.key, "cuda:0", obj.num_values, None)
        return None


def pickle_as_python2(content: object) -> bytes:
    """Pickle as torch 0.3 did under Python 2, whose strings are bytes."""
    file = io.BytesIO()
    OldPickler(file, protocol=2).dump(content)
    pickled = file.getvalue()
    positions = [
        (operation.name, position) for operation, _, position in pickletools.genops(pickled) if position is not None
    ]
    pieces = []
    for (name, start), end in zip(positions, [position for _, position in positions[1:]] + [len(pickled)], strict=True):
        piece = pickled[start:end]
        if name == "BINUNICODE":  # code, length in four bytes, text
            piece = pickle.SHORT_BINSTRING + struct.pack("<B", len(piece) - 5) + piece[5:]
        pieces.append(piece)
    return b"".join(pieces)


def write_release(path: Path, state: dict[str, Tensor], prefix: str = "module.") -> None:
    """Write a state dict in the release's format: torch before zip files, Python 2."""
    storages = {
        name: OldStorage(str(140_000_000 + index), tensor.numel()) for index, (name, tensor) in enumerate(state.items())
    }
    header: tuple[object, ...] = (
        0x1950A86A20F9469CFC6C,
        1001,
        {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}},
        OldDict((prefix + name, OldTensor(tensor, storages[name])) for name, tensor in state.items()),
        [storage.key for storage in storages.values()],
    )
    values = [struct.pack("<q", tensor.numel()) + tensor.contiguous().numpy().tobytes() for tensor in state.values()]
    path.write_bytes(b"".join([pickle_as_python2(part) for part in header] + values))


def test_the_writer_writes_what_torch_reads(tmp_path: Path) -> None:
    state = make_release()
    write_release(tmp_path / "release.pkl", state)
    content = (tmp_path / "release.pkl").read_bytes()
    assert b"_rebuild_tensor\n" in content
    assert b"U\x16module.layer1.0.weight" in content
    read = load_torch_file(tmp_path / "release.pkl")
    assert read.keys() == {f"module.{name}" for name in state}
    torch.testing.assert_close(read["module.layer5.0.weight"], state["layer5.0.weight"])


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_release_converts_however_it_was_saved(tmp_path: Path, prefix: str) -> None:
    release = make_release()
    write_release(tmp_path / "release.pkl", release, prefix)
    convert_weights(RELEASE, tmp_path / "release.pkl", tmp_path / "tlweak.safetensors")
    state = read_weights(RELEASE, tmp_path / "tlweak.safetensors")
    scale = release["layer7.1.weight"][5] / (release["layer7.1.running_var"][5] + 1e-5).sqrt()
    torch.testing.assert_close(state["layers.6.0.weight"][5], release["layer7.0.weight"][5] * scale)
    torch.testing.assert_close(state["classifier.weight"], release["layer19.0.weight"][:, :, 0, 0])
    # saved again by today's torch, counters of batches and all
    counted = release | {f"layer{layer}.1.num_batches_tracked": torch.tensor(9) for layer in CHANNELS}
    torch.save({f"{prefix}{name}": tensor for name, tensor in counted.items()}, tmp_path / "again.pkl")
    torch.testing.assert_close(read_weights(RELEASE, tmp_path / "again.pkl"), state)


def test_a_missing_layer_or_array_is_named(tmp_path: Path) -> None:
    release = make_release()
    torch.save({name: tensor for name, tensor in release.items() if name != "layer5.1.bias"}, tmp_path / "weak.pkl")
    with pytest.raises(WeightsMismatch, match=r"can't be read \('layer5\.1\.bias'\)"):
        read_weights(RELEASE, tmp_path / "weak.pkl")
    torch.save({name: tensor for name, tensor in release.items() if "layer5." not in name}, tmp_path / "weak.pkl")
    with pytest.raises(WeightsMismatch, match=r"first layers\.4\.0\.bias: expected shape \(32,\), found None"):
        read_weights(RELEASE, tmp_path / "weak.pkl")


def test_another_network_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "weak.pkl")
    with pytest.raises(WeightsMismatch, match="can't be read"):
        read_weights(RELEASE, tmp_path / "weak.pkl")
    torch.save(make_release() | {"layer19.0.bias": torch.zeros(521)}, tmp_path / "weak.pkl")
    with pytest.raises(WeightsMismatch, match=r"classifier\.bias: expected shape \(527,\), found \(521,\)"):
        read_weights(RELEASE, tmp_path / "weak.pkl")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    write_release(tmp_path / "weak.pkl", make_release())
    content = (tmp_path / "weak.pkl").read_bytes()
    for kept in (10, 1000, len(content) // 2):
        (tmp_path / "weak.pkl").write_bytes(content[:kept])
        with pytest.raises(WeightsMismatch, match="can't be read"):
            read_weights(RELEASE, tmp_path / "weak.pkl")
