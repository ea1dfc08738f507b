"""Weight files of any network: found, fetched, verified, checked and converted, or refused with a reason."""

import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from lightning_modules.frontends.pretrained.release import (
    Release,
    WeightsMismatch,
    WeightsMissing,
    convert_weights,
    find_weights,
    load_torch_file,
    read_weights,
    shapes_of,
    tensors_only,
    verify_checksum,
)
from storage.manifest import hash_file

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
TOY = Release(
    name="Toy",
    url="https://example.org/toy.pth",
    license="CC0-1.0",
    variable="EARMARK_TOY_WEIGHTS",
    option="--model.preprocessing.frontend.weights",
    default_path=Path("checkpoints/toy.safetensors"),
    converter="toy",
    readers={".pth": lambda path: tensors_only(load_torch_file(path))},
    expected_shapes=lambda: shapes_of(lambda: nn.Linear(3, 2)),
    num_bytes=1_500_000,
)


@pytest.fixture
def toy_file(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("EARMARK_TOY_WEIGHTS", raising=False)
    torch.save({"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2).double()}, in_tmp / "toy.pth")
    return in_tmp / "toy.pth"


def test_a_path_or_variable_is_used_as_it_is(toy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_weights(TOY, "toy.pth") == Path("toy.pth")
    monkeypatch.setenv("EARMARK_TOY_WEIGHTS", "toy.pth")
    assert find_weights(TOY, None) == Path("toy.pth")
    monkeypatch.setenv("EARMARK_TOY_WEIGHTS", "absent.pth")
    with pytest.raises(WeightsMissing, match=r"absent\.pth \(named by \$EARMARK_TOY_WEIGHTS\)"):
        find_weights(TOY, None)
    with pytest.raises(WeightsMissing, match="named by the config or command line"):
        find_weights(TOY, "typo.pth")


@pytest.mark.parametrize("sha256", [None, EMPTY_SHA256])
def test_leaving_the_path_out_is_advised_only_where_it_helps(toy_file: Path, sha256: str | None) -> None:
    with pytest.raises(WeightsMissing) as caught:
        find_weights(replace(TOY, sha256=sha256), "typo.pth")
    assert ("leave it out" in str(caught.value)) == (sha256 is not None)
    assert str(toy_file.parent) not in str(caught.value)


def test_a_release_is_fetched_verified_and_converted(toy_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    release = replace(TOY, url=toy_file.as_uri(), sha256=hash_file(toy_file).upper())
    assert find_weights(release, None) == Path("checkpoints/toy.safetensors")
    assert [path.name for path in Path("checkpoints").iterdir()] == ["toy.safetensors"]
    # said before it was fetched: where from, size, licence
    assert f"{toy_file.as_uri()} (1.5 MB, licence: CC0-1.0)" in caplog.text


def test_another_file_at_the_address_is_refused(toy_file: Path) -> None:
    release = replace(TOY, url=toy_file.as_uri(), sha256=EMPTY_SHA256)
    with pytest.raises(WeightsMismatch, match=f"with SHA-256 {EMPTY_SHA256} .* found {hash_file(toy_file)}"):
        find_weights(release, None)
    assert list(Path("checkpoints").iterdir()) == []


def test_no_network_says_where_to_put_the_weights(toy_file: Path) -> None:
    release = replace(TOY, url=(toy_file.parent / "nothing-here.pth").as_uri(), sha256=EMPTY_SHA256)
    with pytest.raises(
        WeightsMissing, match=r"--model\.preprocessing\.frontend\.weights PATH or \$EARMARK_TOY_WEIGHTS.*demo\.yaml"
    ):
        find_weights(release, None)


def test_nothing_is_fetched_without_a_checksum(toy_file: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"not fetched .* Get https://example\.org.*\$EARMARK_TOY_WEIGHTS"):
        find_weights(replace(TOY, url=toy_file.as_uri().replace("file://", "https://example.org")), None)
    assert not Path("checkpoints").exists()


def test_converted_weights_are_float_and_equal(toy_file: Path) -> None:
    convert_weights(TOY, toy_file, Path("out/toy.safetensors"))
    assert [path.name for path in Path("out").iterdir()] == ["toy.safetensors"]
    state = read_weights(TOY, Path("out/toy.safetensors"))
    assert state["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert state["bias"].dtype == torch.float32
    assert load_file("out/toy.safetensors").keys() == state.keys()


def test_a_failed_conversion_leaves_nothing(toy_file: Path) -> None:
    toy_file.write_bytes(b"nonsense")
    with pytest.raises(WeightsMismatch, match="can't be read"):
        convert_weights(TOY, toy_file, Path("out/toy.safetensors"))
    assert not Path("out").exists()
    with pytest.raises(WeightsMismatch, match=r"ends in \.safetensors, found out/toy\.pth"):
        convert_weights(TOY, toy_file, Path("out/toy.pth"))


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_a_truncated_file_is_refused(toy_file: Path, form: str, kept: float) -> None:
    content = load_torch_file(toy_file)
    path = toy_file.with_suffix(".safetensors" if form == "safetensors" else ".pth")
    if form == "safetensors":
        convert_weights(TOY, toy_file, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(WeightsMismatch, match=r"Expected Toy's weights in .*can't be read.*example\.org"):
        read_weights(TOY, path)


def test_other_shapes_are_named(toy_file: Path) -> None:
    torch.save({"weight": torch.zeros(2, 4), "bias": torch.zeros(2), "extra": torch.zeros(1)}, toy_file)
    with pytest.raises(
        WeightsMismatch, match=r"2 tensors differ, first extra: expected shape None, found \(1,\).*example\.org"
    ):
        read_weights(TOY, toy_file)


def test_an_unknown_kind_of_file_is_refused(toy_file: Path) -> None:
    with pytest.raises(WeightsMismatch, match=r"one of \.safetensors, \.pth; found toy\.onnx"):
        read_weights(TOY, Path("toy.onnx"))


class Intruder:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("intruded",)


def test_code_in_a_pickle_is_not_run(toy_file: Path) -> None:
    torch.save({"weight": Intruder()}, toy_file)
    with pytest.raises(WeightsMismatch, match="holds code or objects") as caught:
        read_weights(TOY, toy_file)
    assert "weights_only" not in str(caught.value)
    toy_file.write_bytes(pickle.dumps(Intruder(), protocol=2))
    with pytest.raises(WeightsMismatch, match="can't be read"):
        read_weights(TOY, toy_file)
    assert not Path("intruded").exists()


@pytest.mark.parametrize(
    ("content", "message"), [([torch.zeros(1)], "a dictionary was expected, found list"), ({"epoch": 3}, "epoch is no")]
)
def test_what_is_no_state_dict_is_refused(toy_file: Path, content: object, message: str) -> None:
    torch.save(content, toy_file)
    with pytest.raises(WeightsMismatch, match=message):
        read_weights(TOY, toy_file)


def test_a_checksum_is_compared_without_case(in_tmp: Path) -> None:
    Path("empty").write_bytes(b"")
    verify_checksum(Path("empty"), EMPTY_SHA256.upper(), "nothing")
    with pytest.raises(WeightsMismatch, match=rf"nothing with SHA-256 00 in empty, found {EMPTY_SHA256} \(0 bytes\)"):
        verify_checksum(Path("empty"), "00", "nothing")
