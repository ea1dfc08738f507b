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
from tests.draws import draw_double as draw
from tests.faults import limited_file_size
from tests.retrieval.codes.makers import CODERS, fitted, fitted_on, make

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
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_written_coder_returns_with_options_state_and_codes(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    path, vectors = tmp_path / "new" / "folder" / "coder.safetensors", draw(50, 8, seed=1)
    coder = fitted_on(draw(300, 8).to(dtype), make(name, seed=3))
    save_coder(coder, path)
    restored = load_coder(path)
    assert type(restored) is type(coder)
    assert restored.options() == coder.options()
    assert restored.is_fitted
    assert {tensor.dtype for tensor in restored.state_dict().values()} == {dtype, torch.bool}
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


VERSION, KIND = "expected version 1 or earlier", "expected one of this project's coders"
DAMAGED = "found (a damaged one|something else)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, r"expected version 1 or earlier, found 2\. Update this project"),
        *[({"version": version}, VERSION) for version in ("1", None, [1], 1.5)],
        *[({"coder": name}, KIND) for name in ("Nothing", "save_coder", "CoderFileError", "CodebookFit", "os", "")],
        *[({"coder": name}, KIND) for name in (None, 3, ["x"])],
        ({"coder": "Coder"}, DAMAGED),  # abstract
        ({"coder": "SpectralHash"}, DAMAGED),  # other buffers
        ({"options": {"dim": 8}}, DAMAGED),
        ({"options": {"dim": 8, "num_bits": 4, "secret": 1}}, DAMAGED),
        ({"options": {"dim": 8, "num_bits": 5}}, DAMAGED),  # other shapes
        ({"options": {"dim": 4, "num_bits": 8}}, DAMAGED),
        ({"options": {"dim": None, "num_bits": 4}}, DAMAGED),
        ({"options": [8, 4]}, DAMAGED),
        ({"options": None}, DAMAGED),
        ({"tensors": {"weight": torch.zeros(8, 4)}}, DAMAGED),
    ],
)
def test_descriptions_of_no_coder_of_this_project_are_refused(
    written: Path, changes: dict[str, Any], message: str
) -> None:
    rewrite(written, **changes)
    with pytest.raises(CoderFileError, match=message):
        load_coder(written)
