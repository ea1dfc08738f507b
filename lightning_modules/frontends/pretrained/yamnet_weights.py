"""Find, fetch and convert the released weights of YAMNet.

Two releases exist: Keras (`yamnet.h5`, float) and TFLite (`yamnet.tflite`, int8 with batch normalisation
folded in). Both become the same state dict, kept as safetensors:

    python -m lightning_modules.frontends.pretrained.yamnet_weights yamnet.tflite checkpoints/yamnet.safetensors
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_modules.frontends.pretrained.batch_norm_folding import fold_batch_norm
from lightning_modules.frontends.pretrained.release import (
    Release,
    Shapes,
    WeightsMismatch,
    convert_from_command_line,
    shapes_of,
)

_NUM_LAYERS = 14
_BATCH_NORM_EPSILON = 1e-4


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


def _expected_shapes() -> Shapes:
    from lightning_modules.frontends.pretrained.yamnet import YamNetNetwork

    return shapes_of(YamNetNetwork)


RELEASE = Release(
    name="YAMNet",
    url="https://storage.googleapis.com/audioset/yamnet.h5",
    license="Apache-2.0",
    variable="EARMARK_YAMNET_WEIGHTS",
    option="--data.frontend.weights",
    default_path=Path("checkpoints/yamnet.safetensors"),
    converter="lightning_modules.frontends.pretrained.yamnet_weights",
    readers={".h5": _read_keras, ".tflite": _read_tflite},
    expected_shapes=_expected_shapes,
    num_bytes=15_296_092,
    sha256="13c3308955bbfaef262f175ac9c40e47b134573a93984f009220dd7cc12a1744",
)

if __name__ == "__main__":
    convert_from_command_line(RELEASE)
