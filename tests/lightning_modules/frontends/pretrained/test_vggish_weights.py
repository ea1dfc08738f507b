"""VGGish's weight files: both releases give the same state, anything else is refused with a reason."""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_modules.frontends.pretrained.release import WeightsMismatch, read_weights
from lightning_modules.frontends.pretrained.vggish_weights import RELEASE, read_tensorflow
from tests.lightning_modules.frontends.conftest import VggIshFiles

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None


class StandIn:
    """Answers as TensorFlow's reader of a checkpoint would."""

    def __init__(self, variables: Mapping[str, np.ndarray]) -> None:
        self.variables = variables

    def has_tensor(self, name: str) -> bool:
        return name in self.variables

    def get_tensor(self, name: str) -> np.ndarray:
        return self.variables[name]


def test_both_releases_give_the_same_state(vggish: VggIshFiles) -> None:
    converted = read_weights(RELEASE, vggish.converted)
    # what a checkpoint of training adds is left out
    variables = vggish.variables | {"global_step": np.zeros(())}
    state = read_tensorflow(Path("vggish_model.ckpt"), lambda _path: StandIn(variables))
    assert state.keys() == converted.keys()
    for name, tensor in state.items():
        assert torch.equal(tensor, converted[name]), name


def test_a_missing_variable_is_named(vggish: VggIshFiles) -> None:
    variables = {name: array for name, array in vggish.variables.items() if name != "vggish/fc1/fc1_2/biases"}
    with pytest.raises(KeyError, match="no variable vggish/fc1/fc1_2/biases"):
        read_tensorflow(Path("vggish_model.ckpt"), lambda _path: StandIn(variables))


def test_without_tensorflow_the_checkpoint_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(WeightsMismatch, match=r"pip install earmark\[tensorflow\].*torch release"):
        read_weights(RELEASE, tmp_path / "vggish_model.ckpt")


def test_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "vgg11.pth")
    with pytest.raises(
        WeightsMismatch, match=r"18 tensors differ, first embeddings\.0\.bias: expected shape \(4096,\)"
    ):
        read_weights(RELEASE, tmp_path / "vgg11.pth")


@pytest.mark.skipif(not HAS_TENSORFLOW, reason="TensorFlow is not installed: pip install earmark[tensorflow]")
def test_a_checkpoint_that_tensorflow_wrote_converts(vggish: VggIshFiles, tmp_path: Path) -> None:
    raw_ops = pytest.importorskip("tensorflow").raw_ops
    path = tmp_path / "vggish_model.ckpt"
    names = sorted(vggish.variables)
    # the first checkpoint format, one file, as the release
    raw_ops.Save(filename=str(path), tensor_names=names, data=[vggish.variables[name] for name in names])
    assert [file.name for file in tmp_path.iterdir()] == ["vggish_model.ckpt"]
    converted = read_weights(RELEASE, vggish.converted)
    for name, tensor in read_weights(RELEASE, path).items():
        assert torch.equal(tensor, converted[name]), name
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(WeightsMismatch, match="can't be read"):
        read_weights(RELEASE, path)
