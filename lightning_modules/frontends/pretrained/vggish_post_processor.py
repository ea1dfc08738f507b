"""VGGish's post-processor: PCA whitening and 8-bit quantization, as of the features released with AudioSet.

The whitening's parameters come with either release (`vggish_pca_params.npz`, `vggish_pca_params-970ea276.pth`), and are
kept as safetensors by

    python -m lightning_modules.frontends.pretrained.convert vggish_pca FILE
"""

import codecs
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_modules.frontends.pretrained.release import (
    Release,
    SafeGlobal,
    load_torch_file,
)

Rounding = Literal["floor", "round"]
_EMBEDDING_DIM = 128
_CLIP = 2.0
_MAX_LEVEL = 255
_VECTORS, _MEANS = "pca_eigen_vectors", "pca_means"


class VggIshPostProcessor(nn.Module):
    """Whiten embeddings, clip them to +-2 and quantize them to whole numbers from 0 to 255, kept as float.

    Args:
        rounding: "floor" cuts fractions off, as TensorFlow's release; "round" takes the nearest number, halves to
            the even one, as the torch release.

    Raises:
        ValueError: On another rounding.
    """

    pca_eigen_vectors: Tensor
    pca_means: Tensor

    def __init__(self, rounding: Rounding) -> None:
        super().__init__()
        check_rounding(rounding)
        self.rounding = rounding
        self.register_buffer(_VECTORS, torch.zeros(_EMBEDDING_DIM, _EMBEDDING_DIM))
        self.register_buffer(_MEANS, torch.zeros(_EMBEDDING_DIM))

    def forward(self, embeddings: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch feature"]:
        """Return levels; -2 and below is 0, +2 and above is 255."""
        whitened = (embeddings - self.pca_means) @ self.pca_eigen_vectors.T
        levels = (whitened.clamp(-_CLIP, _CLIP) + _CLIP) * (_MAX_LEVEL / (2 * _CLIP))
        return levels.floor() if self.rounding == "floor" else levels.round()


def check_rounding(rounding: str) -> None:
    """Refuse a rounding that doesn't exist.

    Raises:
        ValueError: If so.
    """
    if rounding not in get_args(Rounding):
        raise ValueError(
            f"Expected post-processing as one of {', '.join(get_args(Rounding))}, found {rounding!r}. Leave it out for "
            "raw embeddings."
        )


def _read_npz(path: Path) -> dict[str, Tensor]:
    with np.load(path, allow_pickle=False) as archive:
        return _to_state(archive[_VECTORS], archive[_MEANS])


def _read_torch(path: Path) -> dict[str, Tensor]:
    # the release pickles numpy arrays, which older numpy named otherwise
    reconstruct = np.empty(0).__reduce__()[0]
    assert callable(reconstruct)
    names = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
    globals_of_arrays: list[SafeGlobal] = [
        *((reconstruct, name) for name in names), (codecs.encode, "_codecs.encode"), np.ndarray, np.dtype,
        type(np.dtype(np.float32)), type(np.dtype(np.float64)),
    ]  # fmt: skip
    content = load_torch_file(path, globals_of_arrays)
    return _to_state(content[_VECTORS], content[_MEANS])


def _to_state(vectors: object, means: object) -> dict[str, Tensor]:
    """Make tensors of what either release holds; the means are a vector or a column."""
    return {_VECTORS: torch.as_tensor(vectors), _MEANS: torch.as_tensor(means).flatten()}


RELEASE = Release(
    name="VGGish PCA",
    url="https://storage.googleapis.com/audioset/vggish_pca_params.npz",
    license="Apache-2.0",
    variable="EARMARK_VGGISH_PCA_WEIGHTS",
    option="--model.preprocessing.frontend.pca_weights",
    default_path=Path("checkpoints/vggish_pca.safetensors"),
    converter="vggish_pca",
    readers={".npz": _read_npz, ".pth": _read_torch},
    expected_shapes=lambda: {_VECTORS: (_EMBEDDING_DIM, _EMBEDDING_DIM), _MEANS: (_EMBEDDING_DIM,)},
    also_at=" or vggish_pca_params-970ea276.pth of github.com/harritaylor/torchvggish, release v0.1",
)
