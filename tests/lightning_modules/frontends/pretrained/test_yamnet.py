"""YAMNet: front end by its known constants, network against the TFLite interpreter, classes on real clips."""

import csv
from pathlib import Path

import pytest
import soundfile
import torch
from torch import Tensor, nn

from lightning_modules.frontends import YamNet
from lightning_modules.frontends.pretrained.audioset_log_mel import PATCH_FRAMES
from lightning_modules.frontends.pretrained.yamnet import YamNetNetwork, pad_to_whole_patches
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
