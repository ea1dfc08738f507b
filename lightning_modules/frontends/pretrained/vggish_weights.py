"""Read and convert the released weights of VGGish.

Two releases hold the same weights: TensorFlow's checkpoint (`vggish_model.ckpt`, one file of the first checkpoint
format; reading it needs TensorFlow) and a port to torch (`vggish-10086976.pth`). Both become the same state dict,
kept as safetensors:

    python -m lightning_modules.frontends.pretrained.vggish_weights vggish-10086976.pth checkpoints/vggish.safetensors
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from lightning_modules.frontends.pretrained.release import (
    Release,
    Shapes,
    WeightsMismatch,
    convert_from_command_line,
    load_torch_file,
    shapes_of,
    tensors_only,
)

# Scope of the checkpoint's variables -> part of the network.
TENSORFLOW_SCOPES = {
    "vggish/conv1": "features.0",
    "vggish/conv2": "features.3",
    "vggish/conv3/conv3_1": "features.6",
    "vggish/conv3/conv3_2": "features.8",
    "vggish/conv4/conv4_1": "features.11",
    "vggish/conv4/conv4_2": "features.13",
    "vggish/fc1/fc1_1": "embeddings.0",
    "vggish/fc1/fc1_2": "embeddings.2",
    "vggish/fc2": "embeddings.4",
}


@runtime_checkable
class CheckpointReader(Protocol):
    """What is used of TensorFlow's reader of checkpoints."""

    def has_tensor(self, name: str) -> bool:
        """Tell whether the checkpoint holds a variable."""

    def get_tensor(self, name: str) -> np.ndarray:
        """Return a variable."""


def read_tensorflow(path: Path, open_checkpoint: Callable[[Path], CheckpointReader] | None = None) -> dict[str, Tensor]:
    """Read the TensorFlow checkpoint; variables it holds beside VGGish's are left out.

    Args:
        path: The checkpoint's file.
        open_checkpoint: What opens it; None for TensorFlow's own reader.

    Raises:
        WeightsMismatch: If TensorFlow is not installed.
        KeyError: If a variable is missing.
    """
    reader = (open_checkpoint or _open_with_tensorflow)(path)
    state: dict[str, Tensor] = {}
    for scope, part in TENSORFLOW_SCOPES.items():
        for name in (f"{scope}/weights", f"{scope}/biases"):
            if not reader.has_tensor(name):
                raise KeyError(f"no variable {name}")
        weight = torch.from_numpy(np.asarray(reader.get_tensor(f"{scope}/weights"), np.float32))
        # height, width, in, out of a convolution; in, out of a matrix
        state[f"{part}.weight"] = weight.permute(3, 2, 0, 1) if weight.ndim == 4 else weight.T
        state[f"{part}.bias"] = torch.from_numpy(np.asarray(reader.get_tensor(f"{scope}/biases"), np.float32))
    return state


def _open_with_tensorflow(path: Path) -> CheckpointReader:
    try:
        tensorflow = importlib.import_module("tensorflow")
    except ImportError as error:
        raise WeightsMismatch(
            f"Reading {path} needs TensorFlow; it is not installed. Run `pip install earmark[tensorflow]`, or use the "
            "torch release."
        ) from error
    try:
        reader: CheckpointReader = tensorflow.train.load_checkpoint(str(path))
    except tensorflow.errors.OpError as error:
        raise ValueError(str(error)) from error
    return reader


def _read_torch(path: Path) -> dict[str, Tensor]:
    return tensors_only(load_torch_file(path))


def _expected_shapes() -> Shapes:
    from lightning_modules.frontends.pretrained.vggish import VggIshNetwork

    return shapes_of(VggIshNetwork)


RELEASE = Release(
    name="VGGish",
    url="https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",
    license="Apache-2.0",
    variable="EARMARK_VGGISH_WEIGHTS",
    option="--data.frontend.weights",
    default_path=Path("checkpoints/vggish.safetensors"),
    converter="lightning_modules.frontends.pretrained.vggish_weights",
    readers={".pth": _read_torch, ".ckpt": read_tensorflow},
    expected_shapes=_expected_shapes,
    num_bytes=288_567_937,
    also_at=" or, with TensorFlow installed, https://storage.googleapis.com/audioset/vggish_model.ckpt",
)

if __name__ == "__main__":
    convert_from_command_line(RELEASE)
