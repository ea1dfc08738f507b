"""Laws of coder files: everything returns, nothing partial stays, everything foreign is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from retrieval.codes import CoderFileError, PcaSignHash, StraightThroughProductQuantizer, load_coder, save_coder
from storage.errors import FileNotWritten
from tests.faults import limited_file_size
from tests.retrieval.codes.makers import CODERS, draw, fitted, make

each_coder = pytest.mark.parametrize("name", CODERS)


def rewrite(path: Path, tensors: dict[str, Tensor] | None = None, **changes: Any) -> None:
    """Write the coder of `path` anew, with changes to its description."""
    description = {"version": 1, "coder": "PcaSignHash", "options": {"dim": 8, "num_bits": 4}} | changes
    save_file(tensors or load_file(path), path, metadata={"coder": json.dumps(description)})


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "coder.safetensors"
    save_coder(fitted("pca_sign", num_bits=4), path)
    return path


@each_coder
def test_a_written_coder_returns_with_options_state_and_codes(name: str, tmp_path: Path) -> None:
    coder, path, vectors = make(name, seed=3), tmp_path / "new" / "folder" / "coder.safetensors", draw(50, 8, seed=1)
    coder.fit(draw(300, 8))
    save_coder(coder, path)
    restored = load_coder(path)
    assert type(restored) is type(coder)
    assert restored.options() == coder.options()
    assert restored.is_fitted
    assert all(torch.equal(restored.state_dict()[key], tensor) for key, tensor in coder.state_dict().items())
    assert torch.equal(restored.encode(vectors), coder.encode(vectors))
    assert [entry.name for entry in path.parent.iterdir()] == ["coder.safetensors"]


@each_coder
def test_options_are_all_that_the_constructor_takes(name: str) -> None:
    coder = make(name, seed=3)
    again = type(coder)(**coder.options())  # type: ignore[arg-type]
    assert again.options() == coder.options()
    assert json.loads(json.dumps(coder.options())) == coder.options()


@each_coder
def test_float64_coders_return_in_float64(name: str, tmp_path: Path) -> None:
    coder, vectors = fitted(name), draw(50, 8, seed=1)
    save_coder(coder, tmp_path / "coder")
    restored = load_coder(tmp_path / "coder")
    assert all(torch.equal(restored.state_dict()[key], tensor) for key, tensor in coder.state_dict().items())
    assert {tensor.dtype for tensor in restored.state_dict().values()} == {torch.float64, torch.bool}
    assert torch.equal(restored.encode(vectors), coder.encode(vectors))


@each_coder
def test_unfitted_coders_return_unfitted(name: str, tmp_path: Path) -> None:
    save_coder(make(name), tmp_path / "coder")
    restored = load_coder(tmp_path / "coder")
    assert not restored.is_fitted
    restored.fit(draw(300, 8))
    assert restored.is_fitted


def test_trainable_codebooks_return_trainable(tmp_path: Path) -> None:
    save_coder(fitted("straight_through"), tmp_path / "coder")
    restored = load_coder(tmp_path / "coder")
    assert isinstance(restored, StraightThroughProductQuantizer)
    assert restored.codebooks.requires_grad


def test_writing_again_replaces(written: Path) -> None:
    save_coder(fitted("itq"), written)
    assert type(load_coder(written)).__name__ == "IterativeQuantization"
    assert [entry.name for entry in written.parent.iterdir()] == [written.name]


def test_a_write_that_fails_leaves_what_was_there(written: Path) -> None:
    before = written.read_bytes()
    with limited_file_size(100), pytest.raises(FileNotWritten, match="too large; the earlier one is as it was"):
        save_coder(fitted("itq"), written)
    assert written.read_bytes() == before
    assert [entry.name for entry in written.parent.iterdir()] == [written.name]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for missing in (tmp_path / "nothing", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"Expected a coder in .*Write one with save_coder"):
            load_coder(missing)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_truncated_files_are_refused(written: Path, share: float) -> None:
    content = written.read_bytes()
    written.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CoderFileError, match="expected a coder, found something else"):
        load_coder(written)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign"
    torch.save(PcaSignHash(8, 4).state_dict(), path)
    with pytest.raises(CoderFileError, match="found something else"):
        load_coder(path)
    for metadata in (None, {"format": "pt"}, {"coder": "no json"}, {"coder": "5"}, {"coder": "{}"}):
        save_file({"weight": torch.zeros(2)}, path, metadata=metadata)
        with pytest.raises(CoderFileError, match="found something else"):
            load_coder(path)


def test_files_of_a_later_version_are_refused(written: Path) -> None:
    rewrite(written, version=2)
    with pytest.raises(CoderFileError, match=r"expected version 1 or earlier, found 2\. Update this project"):
        load_coder(written)


@pytest.mark.parametrize("version", ["1", None, [1], 1.5])
def test_versions_are_whole_numbers(written: Path, version: object) -> None:
    rewrite(written, version=version)
    with pytest.raises(CoderFileError, match="expected version 1 or earlier"):
        load_coder(written)


@pytest.mark.parametrize("coder", ["Nothing", "save_coder", "CoderFileError", "CodebookFit", "os", "", None, 3, ["x"]])
def test_only_coders_of_this_project_are_made(written: Path, coder: object) -> None:
    rewrite(written, coder=coder)
    with pytest.raises(CoderFileError, match="expected one of this project's coders"):
        load_coder(written)


@pytest.mark.parametrize(
    "changes",
    [
        {"coder": "Coder"},  # abstract
        {"coder": "SpectralHash"},  # other buffers
        {"options": {"dim": 8}},
        {"options": {"dim": 8, "num_bits": 4, "secret": 1}},
        {"options": {"dim": 8, "num_bits": 5}},  # other shapes
        {"options": {"dim": 4, "num_bits": 8}},
        {"options": {"dim": None, "num_bits": 4}},
        {"options": [8, 4]},
        {"options": None},
        {"tensors": {"weight": torch.zeros(8, 4)}},
    ],
)
def test_descriptions_that_do_not_fit_the_state_are_refused(written: Path, changes: dict[str, Any]) -> None:
    rewrite(written, **changes)
    with pytest.raises(CoderFileError, match=r"found (a damaged one|something else)"):
        load_coder(written)
