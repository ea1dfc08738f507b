"""Weight files: both releases convert, anything else is refused with a reason."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from lightning_modules.frontends import YamNet
from lightning_modules.frontends.pretrained.release import (
    WeightsMismatch,
    convert_weights,
    find_weights,
    read_weights,
    weights_checksum,
)
from lightning_modules.frontends.pretrained.yamnet import YamNetNetwork
from lightning_modules.frontends.pretrained.yamnet_weights import RELEASE


def write_keras_release(path: Path, seed: int = 0) -> dict[str, np.ndarray]:
    """Write random weights in the layout of yamnet.h5: a group a layer, arrays height x width x in x out."""
    rng = np.random.default_rng(seed)

    def kernel(*shape: int) -> np.ndarray:
        fan_in = int(np.prod(shape[:-1])) if shape[-1] > 1 else 9
        return rng.normal(scale=(2 / fan_in) ** 0.5, size=shape).astype(np.float32)

    arrays: dict[str, np.ndarray] = {}

    def add_batch_norm(prefix: str, channels: int) -> None:
        for name in ("beta", "moving_mean"):
            arrays[f"{prefix}/{prefix}/{name}:0"] = rng.normal(size=channels).astype(np.float32)
        arrays[f"{prefix}/{prefix}/moving_variance:0"] = rng.uniform(0.5, 2, channels).astype(np.float32)

    arrays["layer1/conv/layer1/conv/kernel:0"] = kernel(3, 3, 1, 32)
    add_batch_norm("layer1/conv/bn", 32)
    channels = 32
    for layer, out in enumerate([64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024], start=2):
        depthwise, pointwise = f"layer{layer}/depthwise_conv", f"layer{layer}/pointwise_conv"
        arrays[f"{depthwise}/{depthwise}/depthwise_kernel:0"] = kernel(3, 3, channels, 1)
        add_batch_norm(f"{depthwise}/bn", channels)
        arrays[f"{pointwise}/{pointwise}/kernel:0"] = kernel(1, 1, channels, out)
        add_batch_norm(f"{pointwise}/bn", out)
        channels = out
    arrays["dense/dense/kernel:0"] = kernel(1024, 521)
    arrays["dense/dense/bias:0"] = rng.normal(size=521).astype(np.float32)
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return arrays


def test_keras_release_converts(tmp_path: Path) -> None:
    arrays = write_keras_release(tmp_path / "yamnet.h5")
    convert_weights(RELEASE, tmp_path / "yamnet.h5", tmp_path / "out" / "yamnet.safetensors")
    state = read_weights(RELEASE, tmp_path / "out" / "yamnet.safetensors")
    YamNetNetwork().load_state_dict(state)
    kernel = arrays["layer3/depthwise_conv/layer3/depthwise_conv/depthwise_kernel:0"]
    variance = arrays["layer3/depthwise_conv/bn/layer3/depthwise_conv/bn/moving_variance:0"]
    expected = kernel[1, 2, 5, 0] / np.sqrt(variance[5] + 1e-4)
    assert float(state["layers.2.0.weight"][5, 0, 1, 2]) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(state["classifier.weight"].numpy(), arrays["dense/dense/kernel:0"].T)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["yamnet.safetensors"]


def test_a_layer_that_is_missing_is_named(tmp_path: Path) -> None:
    write_keras_release(tmp_path / "yamnet.h5")
    with h5py.File(tmp_path / "yamnet.h5", "a") as file:
        del file["layer7"]
    with pytest.raises(WeightsMismatch, match="layer7/depthwise_conv"):
        read_weights(RELEASE, tmp_path / "yamnet.h5")


def test_another_shape_is_refused(tmp_path: Path) -> None:
    write_keras_release(tmp_path / "yamnet.h5")
    with h5py.File(tmp_path / "yamnet.h5", "a") as file:
        del file["dense"]
        file["dense/dense/kernel:0"] = np.zeros((1024, 527), np.float32)
        file["dense/dense/bias:0"] = np.zeros(527, np.float32)
    with pytest.raises(WeightsMismatch, match=r"expected shape \(521,\), found \(527,\)"):
        read_weights(RELEASE, tmp_path / "yamnet.h5")


@pytest.mark.parametrize("name", ["yamnet.h5", "yamnet.safetensors"])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str) -> None:
    write_keras_release(tmp_path / "yamnet.h5")
    convert_weights(RELEASE, tmp_path / "yamnet.h5", tmp_path / "yamnet.safetensors")
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsMismatch, match=r"can't be read|tensors differ"):
        read_weights(RELEASE, tmp_path / name)


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "yamnet.onnx").write_bytes(b"")
    with pytest.raises(WeightsMismatch, match=r"one of \.safetensors, \.h5, \.tflite"):
        read_weights(RELEASE, tmp_path / "yamnet.onnx")


def test_the_keras_release_is_fetched_verified_and_converted(in_tmp: Path) -> None:
    write_keras_release(in_tmp / "release.h5")
    release = replace(RELEASE, url=(in_tmp / "release.h5").as_uri(), sha256=weights_checksum(in_tmp / "release.h5"))
    assert find_weights(release, None) == Path("checkpoints/yamnet.safetensors")
    assert [path.name for path in Path("checkpoints").iterdir()] == ["yamnet.safetensors"]


def test_settings_change_with_the_weights(tmp_path: Path) -> None:
    settings = []
    for seed in (0, 1):
        path = tmp_path / f"{seed}.h5"
        write_keras_release(path, seed)
        settings.append(YamNet(str(path)).settings())
    assert settings[0] != settings[1]
