"""A checkpoint is there whole or not at all."""

from pathlib import Path

import pytest
import torch

from callbacks import atomic_file, checkpoint_file
from callbacks.checkpoint_file import CheckpointFile


def test_a_checkpoint_comes_back_without_unpickling_code(tmp_path: Path) -> None:
    path = tmp_path / "new" / "last.ckpt"
    CheckpointFile().save_checkpoint({"weights": torch.arange(3), "epoch": 4}, path)
    read = CheckpointFile().load_checkpoint(path, weights_only=True)
    assert read["weights"].tolist() == [0, 1, 2]
    assert read["epoch"] == 4
    assert [each.name for each in path.parent.iterdir()] == ["last.ckpt"]


def test_what_fails_half_way_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    CheckpointFile().save_checkpoint({"epoch": 1}, path)
    before = path.read_bytes()

    def write_half(place: Path, content: memoryview) -> int:
        with place.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(OSError, match="No space left"):
        CheckpointFile().save_checkpoint({"epoch": 2}, path)
    assert path.read_bytes() == before


def test_it_is_written_beside_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def write_file(path: Path, write: object) -> None:
        written.append(path)
        atomic_file.write_file(path, write)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoint_file, "write_file", write_file)
    monkeypatch.setattr("tempfile.mkstemp", lambda *_, **__: pytest.fail("written to the system's temporary folder"))
    CheckpointFile().save_checkpoint({"epoch": 1}, tmp_path / "last.ckpt")
    assert written == [tmp_path / "last.ckpt"]
