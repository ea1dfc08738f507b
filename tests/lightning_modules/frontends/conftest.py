"""Random weights of VGGish, made once: they are 289 MB."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_modules.frontends.pretrained.release import convert_weights
from lightning_modules.frontends.pretrained.vggish import RELEASE, TENSORFLOW_SCOPES

# Shapes of the TensorFlow release's variables, in the order of the layers.
SHAPES = (
    (3, 3, 1, 64), (3, 3, 64, 128), (3, 3, 128, 256), (3, 3, 256, 256), (3, 3, 256, 512), (3, 3, 512, 512),
    (12_288, 4096), (4096, 4096), (4096, 128),
)  # fmt: skip


@dataclass(frozen=True)
class VggIshFiles:
    """The same weights as TensorFlow's variables, as a file of the torch release and converted."""

    variables: dict[str, np.ndarray]
    torch_release: Path
    converted: Path


@pytest.fixture(scope="session")
def vggish(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VggIshFiles]:
    folder = tmp_path_factory.mktemp("vggish")
    rng = np.random.default_rng(0)
    variables: dict[str, np.ndarray] = {}
    state: dict[str, torch.Tensor] = {}
    for (scope, part), shape in zip(TENSORFLOW_SCOPES.items(), SHAPES, strict=True):
        scale = np.float32((6 / np.prod(shape[:-1])) ** 0.5)
        weight = (2 * rng.random(shape, np.float32) - 1) * scale
        bias = rng.random(shape[-1], np.float32) / 10
        variables[f"{scope}/weights"], variables[f"{scope}/biases"] = weight, bias
        order = (3, 2, 0, 1) if len(shape) == 4 else (1, 0)
        state[f"{part}.weight"] = torch.from_numpy(np.ascontiguousarray(weight.transpose(order)))
        state[f"{part}.bias"] = torch.from_numpy(bias)
    files = VggIshFiles(variables, folder / "vggish-10086976.pth", folder / "vggish.safetensors")
    torch.save(state, files.torch_release)
    convert_weights(RELEASE, files.torch_release, files.converted)
    yield files
    files.torch_release.unlink()
    files.converted.unlink()
