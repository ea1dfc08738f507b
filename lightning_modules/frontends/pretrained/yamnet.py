"""YAMNet: log-mel front end and MobileNet-v1 network of Google's AudioSet event classifier.

Hershey et al., CNN architectures for large-scale audio classification (2017); Howard et al., MobileNets
(2017). The front end is the release's: patches of 96 log-mel frames every 48, offset 0.001 in the logarithm;
see `audioset_log_mel`.

Two releases exist: Keras (`yamnet.h5`, float) and TFLite (`yamnet.tflite`, int8 with batch normalisation
folded in). Both become the same state dict, kept as safetensors by

    python -m lightning_modules.frontends.pretrained.convert yamnet FILE
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lightning_modules.frontends.pretrained.audioset_log_mel import (
    HOP_SAMPLES,
    PATCH_FRAMES,
    SAMPLE_RATE_HZ,
    AudioSetLogMel,
    cut_patches,
    samples_of,
)
from lightning_modules.frontends.pretrained.batch_norm_folding import fold_batch_norm
from lightning_modules.frontends.pretrained.front_end import PretrainedFrontEnd, unloaded
from lightning_modules.frontends.pretrained.release import (
    Release,
    WeightsMismatch,
    shapes_of,
)

NUM_CLASSES = 521
_LOG_OFFSET = 1e-3
# (stride, output channels) of layers 2 to 14, each a depthwise and a pointwise convolution.
_SEPARABLE_LAYERS = (
    (1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), (1, 512), (1, 512), (1, 512), (1, 512), (1, 512),
    (2, 1024), (1, 1024),
)  # fmt: skip
_NUM_LAYERS = 14
_BATCH_NORM_EPSILON = 1e-4


class YamNet(PretrainedFrontEnd):
    """Embed audio with YAMNet: one 1024-d frame for each 0.96 s patch, patches 0.48 s apart unless told otherwise.

    The input is padded with zeros to whole patches, so any length gives at least one frame; 5 s give 10.

    Args:
        weights: A `.safetensors` file that `convert` wrote, the Keras release (`yamnet.h5`) or the
            TFLite release (`yamnet.tflite`). Left out, the environment variable EARMARK_YAMNET_WEIGHTS is
            used, then `checkpoints/yamnet.safetensors`, fetched from the Keras release if absent.
        patches_per_batch: Patches that go through the network together; a matter of speed and memory only.
        patch_hop_frames: Log-mel frames, 10 ms each, from patch to patch; the release's 48, or 96 for patches that
            don't overlap.

    Raises:
        ValueError: If `patch_hop_frames` is below 1.
    """

    sample_rate_hz = SAMPLE_RATE_HZ
    frame_dim = 1024
    network: "YamNetNetwork"

    def __init__(self, weights: str | None = None, patches_per_batch: int = 8, patch_hop_frames: int = 48) -> None:
        if patch_hop_frames < 1:
            raise ValueError(f"patch_hop_frames must be at least 1; got {patch_hop_frames}. YAMNet's own is 48.")
        super().__init__(RELEASE, unloaded(YamNetNetwork), weights)
        self.patch_hop_frames = patch_hop_frames
        self.patches_per_batch = patches_per_batch
        self.log_mel = AudioSetLogMel(_LOG_OFFSET)

    def settings(self) -> dict[str, object]:
        """Return the checksum of the weight file and the hop."""
        return {
            "front_end": "yamnet",
            "revision": 1,
            "weights_sha256": self.weights_sha256(),
            "patch_hop_frames": self.patch_hop_frames,
        }

    @torch.inference_mode()
    def frames(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frame feature"]:
        """Embed waveforms at 16 kHz."""
        self.load()
        patches = self.patches(waveform)
        embeddings = [self.network.embed(part) for part in patches.flatten(0, 1).split(self.patches_per_batch)]
        return torch.cat(embeddings).reshape(*patches.shape[:2], self.frame_dim)

    @torch.inference_mode()
    def scores(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frame label"]:
        """Return the probability of each of the 521 AudioSet classes, a patch; classes are not exclusive."""
        return torch.sigmoid(self.network.classifier(self.frames(waveform)))

    def patches(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch patch frame mel"]:
        """Cut the log-mel spectrogram of zero-padded waveforms into patches."""
        padded = pad_to_whole_patches(waveform, self.patch_hop_frames)
        return cut_patches(self.log_mel(padded), self.patch_hop_frames)


def pad_to_whole_patches(waveform: Float[Tensor, "batch time"], patch_hop_frames: int) -> Float[Tensor, "batch padded"]:
    """Append zeros until the last patch is complete."""
    first = samples_of(PATCH_FRAMES)
    hop = patch_hop_frames * HOP_SAMPLES
    num_more = max(0, math.ceil((waveform.shape[1] - first) / hop))
    return F.pad(waveform, (0, first + num_more * hop - waveform.shape[1]))


class YamNetNetwork(nn.Module):
    """The convolutional network, with batch normalisation folded into biased convolutions."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Sequential(_SameConv(1, 32, stride=2), nn.ReLU())]
        channels = 32
        for stride, out_channels in _SEPARABLE_LAYERS:
            layers.append(
                nn.Sequential(
                    _SameConv(channels, channels, stride=stride, groups=channels),
                    nn.ReLU(),
                    nn.Conv2d(channels, out_channels, kernel_size=1),
                    nn.ReLU(),
                )
            )
            channels = out_channels
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(YamNet.frame_dim, NUM_CLASSES)

    def embed(self, patches: Float[Tensor, "batch frame mel"]) -> Float[Tensor, "batch feature"]:
        """Return the mean over time and frequency of the last layer."""
        images = patches.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        hidden: Tensor = self.layers(images)
        return hidden.mean(dim=(2, 3))


class _SameConv(nn.Conv2d):
    """3x3 convolution padded as TensorFlow's SAME: at stride 2 an even size is padded on the far side only."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, groups: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, stride=stride, groups=groups)

    def forward(self, image: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch out h w"]:
        rows, columns = (_same_padding(size, self.stride[0]) for size in image.shape[2:])
        return super().forward(F.pad(image, (*columns, *rows)))


def _same_padding(size: int, stride: int) -> tuple[int, int]:
    total = max(0, (math.ceil(size / stride) - 1) * stride + 3 - size)
    return total // 2, total - total // 2


def _network_names() -> dict[tuple[int, str], str]:
    """Map (layer, kind of convolution) of the releases to a convolution of the network."""
    names = {(1, "conv"): "layers.0.0"}
    for layer in range(2, _NUM_LAYERS + 1):
        names[layer, "depthwise_conv"] = f"layers.{layer - 1}.0"
        names[layer, "pointwise_conv"] = f"layers.{layer - 1}.2"
    return names


def _read_keras(path: Path) -> dict[str, Tensor]:
    import h5py

    arrays: dict[str, Tensor] = {}
    with h5py.File(path) as file:

        def collect(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset):
                arrays[name] = torch.from_numpy(np.asarray(item, dtype=np.float32))

        file.visititems(collect)
    state: dict[str, Tensor] = {}
    for (layer, kind), target in _network_names().items():

        def find(ending: str, prefix: str = f"layer{layer}/{kind}") -> Tensor:
            matches = [array for name, array in arrays.items() if re.search(rf"(^|/){prefix}/{ending}(:0)?$", name)]
            if len(matches) != 1:
                raise KeyError(f"{len(matches)} arrays named {prefix}/{ending}")
            return matches[0]

        if kind == "depthwise_conv":  # height, width, channel, 1
            kernel = find("depthwise_kernel").permute(2, 3, 0, 1)
        else:  # height, width, in, out
            kernel = find("kernel").permute(3, 2, 0, 1)
        weight, bias = fold_batch_norm(
            kernel, find("bn/moving_mean"), find("bn/moving_variance"), find("bn/beta"), _BATCH_NORM_EPSILON
        )
        state[f"{target}.weight"], state[f"{target}.bias"] = weight, bias
    dense = [array for name, array in arrays.items() if re.search(r"(dense|logits)/(kernel|bias)(:0)?$", name)]
    for array in dense:
        state["classifier.weight" if array.ndim == 2 else "classifier.bias"] = (
            array.T.contiguous() if array.ndim == 2 else array
        )
    return state


def _read_tflite(path: Path) -> dict[str, Tensor]:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise WeightsMismatch(
            f"Reading {path} needs the TFLite interpreter; none is installed. Run `pip install earmark[tflite]`, or "
            "use the Keras release."
        ) from error
    interpreter = Interpreter(str(path))
    targets = _network_names()
    state: dict[str, Tensor] = {}
    for detail in interpreter.get_tensor_details():
        name, shape = detail["name"].split(";")[0], tuple(detail["shape"])
        match = re.search(r"/layer(\d+)/(\w*conv)/(bn/FusedBatchNormV3|Conv2D)$", name)
        if match:
            target = targets[int(match[1]), match[2]]
            tensor = _dequantize(interpreter.get_tensor(detail["index"]), detail["quantization_parameters"])
            if tensor.ndim == 1:
                state[f"{target}.bias"] = tensor
            elif match[2] == "depthwise_conv":  # 1, height, width, channel
                state[f"{target}.weight"] = tensor.permute(3, 0, 1, 2)
            else:  # out, height, width, in
                state[f"{target}.weight"] = tensor.permute(0, 3, 1, 2)
        elif name.endswith("/dense/MatMul") and len(shape) == 2 and shape[0] > 1:
            state["classifier.weight"] = _dequantize(
                interpreter.get_tensor(detail["index"]), detail["quantization_parameters"]
            )
        elif len(shape) == 1 and shape[0] == 521:
            state["classifier.bias"] = torch.from_numpy(interpreter.get_tensor(detail["index"]).copy())
    return {name: tensor.contiguous() for name, tensor in state.items()}


def _dequantize(values: np.ndarray, quantization: Mapping[str, np.ndarray]) -> Tensor:
    """Undo int8 quantization; a float tensor has no scales and is returned as it is."""
    scales = quantization["scales"]
    if scales.size == 0:
        return torch.from_numpy(values.astype(np.float32))
    shape = [1] * values.ndim
    if scales.size > 1:
        shape[int(quantization["quantized_dimension"])] = scales.size
    offset = quantization["zero_points"].reshape(shape)
    return torch.from_numpy(((values.astype(np.float32) - offset) * scales.reshape(shape)).astype(np.float32))


RELEASE = Release(
    name="YAMNet",
    url="https://storage.googleapis.com/audioset/yamnet.h5",
    license="Apache-2.0",
    variable="EARMARK_YAMNET_WEIGHTS",
    option="--model.preprocessing.frontend.weights",
    default_path=Path("checkpoints/yamnet.safetensors"),
    converter="yamnet",
    readers={".h5": _read_keras, ".tflite": _read_tflite},
    expected_shapes=lambda: shapes_of(YamNetNetwork),
    num_bytes=15_296_092,
    sha256="13c3308955bbfaef262f175ac9c40e47b134573a93984f009220dd7cc12a1744",
)
