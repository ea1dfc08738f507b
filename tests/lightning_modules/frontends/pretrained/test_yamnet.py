"""YAMNet: front end by its known constants, network against the TFLite interpreter, classes on real clips."""

import csv
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from lightning_modules.frontends import YamNet
from lightning_modules.frontends.pretrained.audioset_log_mel import PATCH_FRAMES
from lightning_modules.frontends.pretrained.release import (
    WeightsMismatch,
    convert_weights,
    find_weights,
    read_weights,
)
from lightning_modules.frontends.pretrained.yamnet import RELEASE, YamNetNetwork, pad_to_whole_patches
from storage.manifest import hash_file
from tests.conftest import SHARED

TFLITE = SHARED / "weights" / "yamnet.tflite"
ESC10 = SHARED / "data" / "ESC-10"
needs_weights = pytest.mark.skipif(not TFLITE.is_file(), reason=f"YAMNet's TFLite release is not at {TFLITE}")
needs_corpus = pytest.mark.skipif(not (ESC10 / "meta" / "esc50.csv").is_file(), reason=f"ESC-10 is not at {ESC10}")


@pytest.fixture(scope="module")
def yamnet() -> YamNet:
    model = YamNet(str(TFLITE))
    model.load()
    return model


def clips_of(category: str) -> list[Path]:
    with (ESC10 / "meta" / "esc50.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["category"] == category]
    return [ESC10 / "audio" / f"{Path(row['filename']).stem}.ogg" for row in rows]


@pytest.mark.parametrize(("seconds", "patches"), [(0.01, 1), (0.975, 1), (0.98, 2), (1.455, 2), (5.0, 10), (10.0, 20)])
def test_waveforms_are_padded_to_whole_patches(seconds: float, patches: int) -> None:
    padded = pad_to_whole_patches(torch.ones(1, round(seconds * 16_000)), 48)
    frames = YamNet().log_mel(padded).shape[1]
    assert (frames - PATCH_FRAMES) % 48 == 0
    assert 1 + (frames - PATCH_FRAMES) // 48 == patches


def test_patches_need_not_overlap() -> None:
    waveform = torch.randn(2, 80_000, generator=torch.Generator().manual_seed(0))
    overlapping, apart = YamNet().patches(waveform), YamNet(patch_hop_frames=96).patches(waveform)
    assert apart.shape[1] == 6
    torch.testing.assert_close(apart[:, :5], overlapping[:, ::2])
    assert YamNet(patch_hop_frames=96).patches(waveform[:, :1]).shape[1] == 1
    with pytest.raises(ValueError, match="at least 1; got 0"):
        YamNet(patch_hop_frames=0)


def test_stride_two_pads_as_tensorflow_does() -> None:
    layer = YamNetNetwork().layers[0]
    assert isinstance(layer, nn.Sequential)
    convolution = layer[0]
    assert isinstance(convolution, nn.Conv2d)
    with torch.no_grad():
        convolution.weight.fill_(1)
        convolution.bias.zero_()  # type: ignore[union-attr]
    ones = convolution(torch.ones(1, 1, 4, 5))[0, 0]
    # an even size is padded on the far side only, an odd one on both
    assert ones.tolist() == [[6, 9, 6], [4, 6, 4]]


def test_restored_weights_need_no_file(tmp_path: Path) -> None:
    write_keras_release(tmp_path / "a.h5")
    read = YamNet(str(tmp_path / "a.h5"))
    waveform = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    frames = read.frames(waveform)
    restored = YamNet(str(tmp_path / "gone.h5"))
    restored.load_state_dict(read.state_dict())
    assert torch.equal(restored.frames(waveform), frames)


def test_other_weights_than_those_at_hand_are_refused(tmp_path: Path) -> None:
    for seed, name in enumerate(("a.h5", "b.h5")):
        write_keras_release(tmp_path / name, seed)
    first, same, other = (YamNet(str(tmp_path / name)) for name in ("a.h5", "a.h5", "b.h5"))
    for each in (first, same, other):
        each.load()
    same.load_state_dict(first.state_dict())
    with pytest.raises(RuntimeError, match=r"YAMNet's weights that the model was trained with, found others"):
        other.load_state_dict(first.state_dict())


@needs_weights
@needs_corpus
def test_every_layer_agrees_with_the_tflite_interpreter(yamnet: YamNet) -> None:
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = interpreter_module.Interpreter(str(TFLITE), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    waveform, _ = soundfile.read(clips_of("dog")[0], dtype="float32")
    waveform = torch.from_numpy(waveform)
    excerpt = pad_to_whole_patches(torch.nn.functional.pad(resample(waveform), (0, 15_600)), 48)[0, :15_600]
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], excerpt.numpy())
    interpreter.invoke()
    named = {detail["name"].split(";")[0]: detail["index"] for detail in interpreter.get_tensor_details()}

    log_mel = torch.from_numpy(interpreter.get_tensor(named["yamnet_frames/tf_op_layer_Log/Log"]).copy())
    # the release's mel matrix is int8, ours is float: close, not equal
    ours = yamnet.log_mel(excerpt[None])[0]
    assert float((ours - log_mel).abs().mean()) < 0.05

    activations: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output: activations.append(output.detach()))
        for module in yamnet.network.modules()
        if isinstance(module, nn.ReLU)
    ]
    embedding = yamnet.network.embed(log_mel[None])
    for hook in hooks:
        hook.remove()
    names = ["layer1/relu/Relu"]
    names += [
        f"layer{layer}/{kind}/relu/Relu" for layer in range(2, 15) for kind in ("depthwise_conv", "pointwise_conv")
    ]
    assert len(activations) == len(names) == 27
    for name, activation in zip(names, activations, strict=True):
        expected = torch.from_numpy(interpreter.get_tensor(named[f"yamnet_frames/{name}"]).copy()).permute(0, 3, 1, 2)
        # the interpreter rounds activations to int8 before most layers; a wrong layer is off by its own size
        relative = float((activation - expected).norm() / expected.norm())
        assert relative < 0.05, f"{name}: relative error {relative:.3f}"
    pooled = torch.from_numpy(interpreter.get_tensor(named["yamnet_frames/global_average_pooling2d/Mean"]).copy())
    assert float(torch.cosine_similarity(embedding.detach(), pooled)) > 0.999
    scores = torch.sigmoid(yamnet.network.classifier(embedding))[0].detach()
    expected_scores = torch.from_numpy(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].copy())
    assert int(scores.argmax()) == int(expected_scores.argmax())
    torch.testing.assert_close(scores, expected_scores, atol=0.05, rtol=0)


@needs_weights
@needs_corpus
@pytest.mark.parametrize(
    ("category", "display_name"), [("dog", "Dog"), ("rain", "Rain"), ("rooster", "Chicken, rooster")]
)
def test_a_dog_is_a_dog(yamnet: YamNet, category: str, display_name: str) -> None:
    with (SHARED / "weights" / "yamnet_class_map.csv").open() as file:
        classes = [row["display_name"] for row in csv.DictReader(file)]
    right = 0
    clips = clips_of(category)[:10]
    for clip in clips:
        waveform, _ = soundfile.read(clip, dtype="float32")
        # the loudest patch speaks; classes above a class ("Animal") and silence around it score beside it
        scores = yamnet.scores(resample(torch.from_numpy(waveform)))[0].amax(dim=0)
        right += display_name in [classes[label] for label in scores.topk(5).indices.tolist()]
    assert right >= 8, f"{right} of {len(clips)} clips"


@needs_weights
@needs_corpus
def test_nearest_neighbours_on_esc10(yamnet: YamNet) -> None:
    with (ESC10 / "meta" / "esc50.csv").open() as file:
        rows = list(csv.DictReader(file))
    labels = torch.tensor([int(row["target"]) for row in rows])
    means = []
    for row in rows:
        waveform, sample_rate_hz = soundfile.read(
            ESC10 / "audio" / f"{Path(row['filename']).stem}.ogg", dtype="float32"
        )
        means.append(yamnet(torch.from_numpy(waveform)[None], sample_rate_hz)[0].mean(dim=0))
    unit = torch.nn.functional.normalize(torch.stack(means), dim=1)
    cosine = (unit @ unit.T).fill_diagonal_(-1)
    accuracy = float((labels[cosine.argmax(dim=1)] == labels).double().mean())
    assert accuracy == pytest.approx(0.965, abs=0.01)


def resample(waveform: Tensor) -> Tensor:
    import torchaudio.functional

    resampled: Tensor = torchaudio.functional.resample(waveform[None], 44_100, 16_000)
    return resampled


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
    release = replace(RELEASE, url=(in_tmp / "release.h5").as_uri(), sha256=hash_file(in_tmp / "release.h5"))
    assert find_weights(release, None) == Path("checkpoints/yamnet.safetensors")
    assert [path.name for path in Path("checkpoints").iterdir()] == ["yamnet.safetensors"]


def test_settings_change_with_the_weights(tmp_path: Path) -> None:
    settings = []
    for seed in (0, 1):
        path = tmp_path / f"{seed}.h5"
        write_keras_release(path, seed)
        settings.append(YamNet(str(path)).settings())
    assert settings[0] != settings[1]
