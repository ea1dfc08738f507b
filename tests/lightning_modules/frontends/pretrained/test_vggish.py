"""VGGish: patches by their known counts, the network against numpy, options by what they promise."""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_modules.frontends import VggIsh
from lightning_modules.frontends.pretrained.release import WeightsMismatch, WeightsMissing, read_weights
from lightning_modules.frontends.pretrained.vggish import RELEASE, TENSORFLOW_SCOPES, read_tensorflow
from tests.lightning_modules.frontends.conftest import VggIshFiles
from tests.lightning_modules.frontends.pretrained.test_vggish_post_processor import write_npz


@pytest.fixture(scope="module")
def front_end(vggish: VggIshFiles) -> VggIsh:
    return VggIsh(str(vggish.converted))


def noise(num_clips: int, seconds: float) -> torch.Tensor:
    return 0.1 * torch.randn(num_clips, round(seconds * 16_000), generator=torch.Generator().manual_seed(0))


def slow_embedding(variables: dict[str, np.ndarray], patches: np.ndarray) -> np.ndarray:
    """Run the network of the TensorFlow release on its own variables: channels last, kernels height x width first."""
    hidden = patches[..., None]
    pooled = {"vggish/conv1", "vggish/conv2", "vggish/conv3/conv3_2", "vggish/conv4/conv4_2"}
    for scope in TENSORFLOW_SCOPES:
        weight, bias = variables[f"{scope}/weights"], variables[f"{scope}/biases"]
        if weight.ndim == 4:
            height, width = hidden.shape[1:3]
            padded = np.pad(hidden, ((0, 0), (1, 1), (1, 1), (0, 0)))
            hidden = bias + sum(
                padded[:, row : row + height, column : column + width] @ weight[row, column]
                for row in range(3)
                for column in range(3)
            )
        else:
            hidden = hidden.reshape(len(hidden), -1) @ weight + bias
        if scope != "vggish/fc2":
            hidden = np.maximum(hidden, 0)
        if scope in pooled:
            batch, height, width, channels = hidden.shape
            hidden = hidden.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
    return hidden


@pytest.mark.parametrize(
    ("seconds", "patches"), [(0.0, 1), (0.01, 1), (0.975, 1), (0.976, 1), (1.935, 2), (5.0, 5), (10.0, 10)]
)
def test_short_waveforms_are_padded_and_rests_dropped(seconds: float, patches: int) -> None:
    waveform = noise(2, seconds)
    cut = VggIsh().patches(waveform)
    assert cut.shape == (2, patches, 96, 64)
    if seconds < 0.975:
        assert float(cut[:, -1, -1].max()) == pytest.approx(np.log(0.01), abs=1e-6)


def test_patches_stand_side_by_side() -> None:
    front_end, waveform = VggIsh(), noise(1, 3.0)
    log_mel = front_end.log_mel(waveform)[0]
    torch.testing.assert_close(front_end.patches(waveform)[0].flatten(0, 1), log_mel[: 3 * 96])


def test_the_network_equals_a_slow_one(vggish: VggIshFiles, front_end: VggIsh) -> None:
    waveform = noise(1, 2.0)
    patches = front_end.patches(waveform)[0].numpy()
    expected = slow_embedding(vggish.variables, patches)
    assert expected.shape == (2, 128)
    assert expected.std() > 0.1
    # single precision on both sides; sums of 12,288 terms
    np.testing.assert_allclose(front_end.frames(waveform)[0].numpy(), expected, atol=1e-4 * expected.std(), rtol=1e-4)


def test_frames_do_not_depend_on_how_patches_are_batched(vggish: VggIshFiles, front_end: VggIsh) -> None:
    waveform = noise(2, 1.95)
    frames = front_end(waveform, 16_000)
    assert frames.shape == (2, 2, front_end.frame_dim)
    # a surrounding module may put it into training mode
    other = VggIsh(str(vggish.converted), patches_per_batch=3).train()
    torch.testing.assert_close(other(waveform, 16_000), frames, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(other(waveform[1:], 16_000)[0], frames[1], atol=1e-4, rtol=1e-4)
    assert not any(parameter.requires_grad for parameter in other.parameters())
    assert other.settings() == front_end.settings()


def test_options_change_the_output_as_they_say(vggish: VggIshFiles, front_end: VggIsh, tmp_path: Path) -> None:
    waveform = noise(1, 1.0)
    raw = front_end.frames(waveform)
    assert float(raw.min()) < 0
    vectors, means = write_npz(tmp_path / "pca.npz")
    changed = VggIsh(
        str(vggish.converted), final_relu=True, post_process="floor", pca_weights=str(tmp_path / "pca.npz")
    )
    whitened = (raw[0].relu().numpy().astype(np.float64) - means) @ vectors.T
    exact = (whitened.clip(-2, 2) + 2) * 63.75
    levels = changed.frames(waveform)[0].numpy()
    # a level differs where single precision lands on the other side of a whole number
    assert np.abs(levels - np.floor(exact)).max() <= 1
    assert (levels == np.floor(exact)).mean() > 0.95
    settings = [front_end.settings(), changed.settings()]
    assert [setting["final_relu"] for setting in settings] == [False, True]
    assert settings[0]["pca_sha256"] is None
    assert settings[1]["pca_sha256"] is not None
    assert settings[0]["weights_sha256"] == settings[1]["weights_sha256"]


def test_a_wrong_rounding_is_refused(unchecked_types: None) -> None:
    with pytest.raises(ValueError, match="one of floor, round, found 'ceil'"):
        VggIsh(post_process="ceil")  # type: ignore[arg-type]


def test_missing_weights_say_what_to_get(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("EARMARK_VGGISH_WEIGHTS", "EARMARK_VGGISH_PCA_WEIGHTS"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(WeightsMissing, match=r"vggish-10086976\.pth .*vggish_model\.ckpt.*\$EARMARK_VGGISH_WEIGHTS"):
        VggIsh().prepare()
    Path("some.safetensors").touch()
    VggIsh("some.safetensors").prepare()
    with pytest.raises(WeightsMissing, match=r"vggish_pca_params\.npz.*\$EARMARK_VGGISH_PCA_WEIGHTS"):
        VggIsh("some.safetensors", post_process="round").prepare()


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
