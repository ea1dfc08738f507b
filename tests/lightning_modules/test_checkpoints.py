"""A checkpoint is read whole and without running what it may hold, or refused with one line."""

import importlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_modules.checkpoints import CheckpointError, RestorableModule, load_module, read_checkpoint
from lightning_modules.trusted_classes import UntrustedClass
from tests.faults import cut, flip_byte

CPU = torch.device("cpu")


class Linear(RestorableModule):
    def __init__(self, num_features: int = 3, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(num_features, num_features)
        self.inner = inner


class Hostile:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (self.command,)


def write(path: Path, **more: object) -> dict[str, Tensor]:
    weights = {name: torch.ones_like(weight) for name, weight in Linear().state_dict().items()}
    torch.save({"state_dict": weights, "epoch": 3, **more}, path)
    return weights


def test_a_whole_one_is_read(tmp_path: Path) -> None:
    weights = write(tmp_path / "a.ckpt")
    content = read_checkpoint(tmp_path / "a.ckpt")
    assert content["epoch"] == 3
    assert all(torch.equal(content["state_dict"][name], weights[name]) for name in weights)


def test_one_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    write(path)
    content = path.read_bytes()
    for num_bytes in (1, 20, len(content) // 2, len(content) - 1, len(content)):
        cut(path, num_bytes)
        with pytest.raises(CheckpointError, match=rf"a\.ckpt: expected .* \({len(content) - num_bytes} bytes"):
            read_checkpoint(path)
        path.write_bytes(content)


def test_a_flipped_byte_is_noticed_or_harmless(tmp_path: Path) -> None:
    """torch alone returns other weights where a byte of theirs is flipped."""
    path = tmp_path / "a.ckpt"
    weights = write(path, padding=torch.zeros(500))
    content = path.read_bytes()
    num_noticed = 0
    for position in np.linspace(0, len(content) - 1, 80).astype(int).tolist():
        flip_byte(path, position)
        try:
            found = read_checkpoint(path)["state_dict"]
        except CheckpointError:
            num_noticed += 1
        else:
            assert all(torch.equal(found[name], weights[name]) for name in weights)
        path.write_bytes(content)
    assert num_noticed > 40


@pytest.mark.parametrize("where", ["state_dict", "hyper_parameters", "callbacks"])
def test_code_is_not_run_but_refused(tmp_path: Path, where: str) -> None:
    path, ran = tmp_path / "a.ckpt", tmp_path / "ran"
    write(path, **{where: {"a": Hostile(f"touch {ran}")}})
    with pytest.raises(CheckpointError, match="found code or objects, which are not loaded") as caught:
        read_checkpoint(path)
    assert "weights_only=False" not in str(caught.value)  # as torch advises
    assert not ran.exists()
    assert torch.load(path, weights_only=False)  # it would have
    assert ran.exists()


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("years of work")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with (tmp_path / "arrays.ckpt").open("wb") as file:
        np.savez(file, a=np.zeros(3))
    for name, message in (
        ("missing.ckpt", "found no file there"),
        ("text.ckpt", "found something else"),
        ("list.ckpt", "found no state_dict"),
        ("arrays.ckpt", "found a damaged one"),
    ):
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(tmp_path / name)


def test_a_module_comes_back_as_its_checkpoint_describes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARMARK_TRUSTED_PACKAGES", "mine, tests")
    path = tmp_path / "a.ckpt"
    described = {
        "_instantiator": "pytorch_lightning.cli.instantiate_module",
        "_class_path": f"{Linear.__module__}.Linear",
        "num_features": 3,
        "inner": {"class_path": "torch.nn.Identity"},
    }
    write(path, hyper_parameters=described)
    loaded = load_module(path, Linear, CPU)
    assert isinstance(loaded.inner, nn.Identity)
    assert loaded.layer.weight.detach().eq(1).all()
    for wrong in ({"num_features": 4}, {"num_features": "many"}, {"novel": 1}):
        write(path, hyper_parameters={**described, **wrong})
        with pytest.raises(
            CheckpointError, match="expected a checkpoint of Linear, found one that it can't be made from"
        ):
            load_module(path, Linear, CPU)
        for earlier in (wrong, {**described, "frontend": {"class_path": "torch.nn.Identity"}}):
            write(path, hyper_parameters=earlier)
            with pytest.raises(CheckpointError, match=r"expected a checkpoint with .* found one of an earlier layout"):
                load_module(path, Linear, CPU)


@pytest.mark.parametrize("key", ["_class_path", "inner"])
def test_a_strangers_class_is_neither_made_nor_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    (tmp_path / "stranger.py").write_text(
        "from pathlib import Path\nimport torch\nPath(__file__).with_name('imported').touch()\n"
        "class Evil(torch.nn.Module):\n"
        "    def __init__(self): super().__init__(); Path(__file__).with_name('made').touch()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("EARMARK_TRUSTED_PACKAGES", "tests")
    importlib.invalidate_caches()
    described: dict[str, object] = {"_class_path": f"{Linear.__module__}.Linear"}
    described[key] = "stranger.Evil" if key == "_class_path" else {"class_path": "stranger.Evil"}
    write(tmp_path / "a.ckpt", hyper_parameters=described)
    with pytest.raises(UntrustedClass, match=r"a\.ckpt: expected classes of .*; found stranger\.Evil"):
        load_module(tmp_path / "a.ckpt", Linear, CPU)
    assert not (tmp_path / "imported").exists()
    described["inner"] = "stranger.Evil"  # the short form of a class_path
    described["_class_path"] = f"{Linear.__module__}.Linear"
    write(tmp_path / "a.ckpt", hyper_parameters=described)
    with pytest.raises(UntrustedClass, match=r"found stranger\.Evil"):
        load_module(tmp_path / "a.ckpt", Linear, CPU)
    assert not (tmp_path / "made").exists()
    sys.modules.pop("stranger", None)
