"""TLWeak's weight files: the release converts, from Python 2 too, anything else is refused with a reason."""

import io
import pickle
import pickletools
import struct
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.frontends.pretrained.release import (
    WeightsMismatch,
    convert_weights,
    load_torch_file,
    read_weights,
)
from lightning_modules.frontends.pretrained.tlweak_weights import RELEASE

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
