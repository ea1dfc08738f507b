"""Read and convert the released weights of TLWeak.

The release (`mx-h64-1024_0d3-1.17.pkl`) is a state dict that torch saved under Python 2, perhaps from several GPUs:

    python -m lightning_modules.frontends.pretrained.tlweak_weights \
        mx-h64-1024_0d3-1.17.pkl checkpoints/tlweak.safetensors
"""

from pathlib import Path

from torch import Tensor

from lightning_modules.frontends.pretrained.batch_norm_folding import fold_batch_norm
from lightning_modules.frontends.pretrained.release import (
    Release,
    Shapes,
    convert_from_command_line,
    load_torch_file,
    shapes_of,
    tensors_only,
)

_BATCH_NORM_EPSILON = 1e-5  # torch's default
_CLASSIFIER = "layer19.0"


def _read_torch(path: Path) -> dict[str, Tensor]:
    release = {name.removeprefix("module."): tensor for name, tensor in tensors_only(load_torch_file(path)).items()}
    state: dict[str, Tensor] = {}
    # every layer of the release is a Sequential of convolution, batch normalisation, activation
    for layer in sorted({name.partition(".")[0] for name in release} - {"layer19"}):
        part = f"layers.{int(layer.removeprefix('layer')) - 1}.0"
        state[f"{part}.weight"], state[f"{part}.bias"] = fold_batch_norm(
            release[f"{layer}.0.weight"],
            mean=release[f"{layer}.1.running_mean"],
            variance=release[f"{layer}.1.running_var"],
            beta=release[f"{layer}.1.bias"],
            epsilon=_BATCH_NORM_EPSILON,
            gamma=release[f"{layer}.1.weight"],
            bias=release[f"{layer}.0.bias"],
        )
    # a 1x1 convolution is a matrix
    state["classifier.weight"] = release[f"{_CLASSIFIER}.weight"].flatten(1)
    state["classifier.bias"] = release[f"{_CLASSIFIER}.bias"]
    return state


def _expected_shapes() -> Shapes:
    from lightning_modules.frontends.pretrained.tlweak import TlWeakNetwork

    return shapes_of(TlWeakNetwork)


RELEASE = Release(
    name="TLWeak",
    url="https://github.com/anuragkr90/weak_feature_extractor",
    license="none stated",
    variable="EARMARK_TLWEAK_WEIGHTS",
    option="--data.frontend.weights",
    default_path=Path("checkpoints/tlweak.safetensors"),
    converter="lightning_modules.frontends.pretrained.tlweak_weights",
    readers={".pkl": _read_torch},
    expected_shapes=_expected_shapes,
    also_at=", file mx-h64-1024_0d3-1.17.pkl; project page http://www.cs.cmu.edu/~alnu/TLWeak.htm",
)

if __name__ == "__main__":
    convert_from_command_line(RELEASE)
