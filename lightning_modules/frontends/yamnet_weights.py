"""Find, fetch and convert the released weights of YAMNet.

Two releases exist: Keras (`yamnet.h5`, float) and TFLite (`yamnet.tflite`, int8 with batch normalisation
folded in). Both become the same state dict, kept as safetensors:

    python -m lightning_modules.frontends.yamnet_weights yamnet.tflite checkpoints/yamnet.safetensors
"""

import argparse
import functools
import hashlib
import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

_logger = logging.getLogger(__name__)

WEIGHTS_VARIABLE = "EARMARK_YAMNET_WEIGHTS"
DEFAULT_PATH = Path("checkpoints/yamnet.safetensors")
RELEASE_URL = "https://storage.googleapis.com/audioset/yamnet.h5"
RELEASE_BYTES = 15_296_092
RELEASE_SHA256 = "13c3308955bbfaef262f175ac9c40e47b134573a93984f009220dd7cc12a1744"
RELEASE_LICENSE = "Apache-2.0"
_NUM_LAYERS = 14
_BATCH_NORM_EPSILON = 1e-4


class WeightsError(RuntimeError):
    """A file of pretrained weights can't be used."""


class WeightsMissing(WeightsError):
    """There is no such file, and it could not be fetched."""


class WeightsMismatch(WeightsError):
    """The file is damaged or holds another network."""


def find_weights(path: str | None) -> Path:
    """Locate the weight file: the path given, else the environment variable, else the default, else fetch it.

    Raises:
        WeightsMissing: If the file named doesn't exist, or none is named and the release can't be fetched.
        WeightsMismatch: If what was fetched is not the release.
    """
    named = path or os.environ.get(WEIGHTS_VARIABLE)
    if named:
        if not Path(named).is_file():
            source = "the config or command line" if path else f"${WEIGHTS_VARIABLE}"
            raise WeightsMissing(
                f"Expected YAMNet's weights at {named} (named by {source}), found no file there. Correct the path, "
                f"or leave it out to have {RELEASE_URL} fetched."
            )
        return Path(named)
    if not DEFAULT_PATH.is_file():
        _fetch_release(DEFAULT_PATH)
    return DEFAULT_PATH


def weights_checksum(path: Path) -> str:
    """Return the SHA-256 of a weight file."""
    return _checksum(path, path.stat().st_mtime_ns)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict of `YamNetNetwork` from safetensors, the Keras release or the TFLite release.

    Raises:
        WeightsMismatch: If the file can't be read or is not a YAMNet.
    """
    readers: dict[str, Callable[[Path], dict[str, Tensor]]] = {
        ".safetensors": load_file,
        ".h5": _read_keras,
        ".tflite": _read_tflite,
    }
    if path.suffix not in readers:
        raise WeightsMismatch(f"Expected YAMNet's weights as one of {', '.join(readers)}; found {path}.")
    try:
        state = readers[path.suffix](path)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise WeightsMismatch(
            f"Expected the YAMNet release in {path}; it can't be read ({error}). Fetch it again."
        ) from error
    _check_shapes(state, path)
    return state


def convert_weights(source: Path, destination: Path) -> None:
    """Write any readable weight file as safetensors; the destination appears only when complete."""
    state = read_weights(source)
    destination.parent.mkdir(parents=True, exist_ok=True)
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.partial")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, partial)
    partial.replace(destination)


def fold_batch_norm(
    kernel: Tensor, mean: Tensor, variance: Tensor, beta: Tensor, epsilon: float = _BATCH_NORM_EPSILON
) -> tuple[Tensor, Tensor]:
    """Turn an unbiased convolution and its batch normalisation (no scale) into a biased convolution.

    Args:
        kernel: Weights, output channel first.
        mean: Running mean, a channel.
        variance: Running variance, a channel.
        beta: Offset, a channel.
        epsilon: What the normalisation adds to the variance.

    Returns:
        Weights and bias of the convolution.
    """
    scale = torch.rsqrt(variance + epsilon)
    return kernel * scale.reshape(-1, 1, 1, 1), beta - mean * scale


def _fetch_release(destination: Path) -> None:
    release = destination.with_name("yamnet.h5")
    _logger.warning(
        "Fetching YAMNet's weights: %.1f MB, licence %s, from %s to %s",
        RELEASE_BYTES / 1e6, RELEASE_LICENSE, RELEASE_URL, destination.resolve(),
    )  # fmt: skip
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(RELEASE_URL, str(release), hash_prefix=RELEASE_SHA256)
    except OSError as error:
        raise WeightsMissing(
            f"YAMNet's weights are missing and {RELEASE_URL} can't be reached ({error}). Put yamnet.h5, "
            "yamnet.tflite or a converted file anywhere and name it with --data.frontend.weights PATH or "
            f"${WEIGHTS_VARIABLE}, or save a converted one as {destination.resolve()}. `--config demo.yaml` needs "
            "neither weights nor a corpus."
        ) from error
    except RuntimeError as error:
        raise WeightsMismatch(
            f"{RELEASE_URL} is not the release expected ({error}). Try again, or fetch it by hand."
        ) from error
    convert_weights(release, destination)
    release.unlink()


@functools.cache
def _checksum(path: Path, _modified_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_shapes(state: Mapping[str, Tensor], path: Path) -> None:
    from lightning_modules.frontends.yamnet import YamNetNetwork

    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in YamNetNetwork().state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise WeightsMismatch(
            f"Expected YAMNet in {path}; {len(wrong)} tensors differ, first {wrong[0]}: expected shape "
            f"{expected.get(wrong[0])}, found {found.get(wrong[0])}. Fetch {RELEASE_URL}."
        )


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
        weight, bias = fold_batch_norm(kernel, find("bn/moving_mean"), find("bn/moving_variance"), find("bn/beta"))
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


def main() -> None:
    """Convert a release to safetensors from the command line."""
    parser = argparse.ArgumentParser(description="Convert a release of YAMNet's weights to safetensors.")
    parser.add_argument("source", type=Path, help="yamnet.h5 or yamnet.tflite")
    parser.add_argument("destination", type=Path, nargs="?", default=DEFAULT_PATH, help="default: %(default)s")
    arguments = parser.parse_args()
    convert_weights(arguments.source, arguments.destination)


if __name__ == "__main__":
    main()
