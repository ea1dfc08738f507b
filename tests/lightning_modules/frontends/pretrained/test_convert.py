"""The command that converts released weights."""

import sys
from pathlib import Path

import pytest
import torch

from lightning_modules.frontends.pretrained import convert
from storage.manifest import hash_file
from tests.lightning_modules.frontends.pretrained.test_release import TOY


@pytest.fixture
def toy_file(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(convert._RELEASES, "toy", TOY)
    torch.save({"weight": torch.zeros(2, 3), "bias": torch.ones(2)}, in_tmp / "toy.pth")
    return in_tmp / "toy.pth"


def test_it_knows_every_release() -> None:
    assert sorted(convert._RELEASES) == ["tlweak", "vggish", "vggish_pca", "yamnet"]


def test_the_command_line_converts(toy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["convert", "toy", "toy.pth", "--sha256", hash_file(toy_file)])
    convert.main()
    assert Path("checkpoints/toy.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.pth"], "found no file there"),
        (["toy.pth", "toy.bin"], "Expected a destination"),
        (["toy.pth", "--sha256", "00"], "Expected Toy with SHA-256 00"),
    ],
)
def test_the_command_line_says_what_is_wrong(
    toy_file: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["convert", "toy", *arguments])
    with pytest.raises(SystemExit, match=message):
        convert.main()
