"""VGGish: log-mel front end and VGG-like network of Google's AudioSet embeddings.

Hershey et al., CNN architectures for large-scale audio classification (2017). Patches of 96 log-mel frames
(0.96 s) that don't overlap, offset 0.01 in the logarithm; see `audioset_log_mel`.

Two releases hold the same weights: TensorFlow's checkpoint (`vggish_model.ckpt`, one file of the first checkpoint
format; reading it needs TensorFlow) and a port to torch (`vggish-10086976.pth`). Both become the same state dict,
kept as safetensors by

    python -m lightning_modules.frontends.pretrained.convert vggish FILE
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lightning_modules.frontends.pretrained.audioset_log_mel import (
    PATCH_FRAMES,
    SAMPLE_RATE_HZ,
    AudioSetLogMel,
    cut_patches,
    samples_of,
)
from lightning_modules.frontends.pretrained.front_end import PretrainedFrontEnd, unloaded
from lightning_modules.frontends.pretrained.release import (
    Release,
    WeightsMismatch,
    find_weights,
    load_torch_file,
    read_weights,
    shapes_of,
    tensors_only,
)
from lightning_modules.frontends.pretrained.vggish_post_processor import RELEASE as PCA_RELEASE
from lightning_modules.frontends.pretrained.vggish_post_processor import Rounding, VggIshPostProcessor, check_rounding
from storage.manifest import hash_file

_LOG_OFFSET = 1e-2
# Output channels of the 3x3 convolutions between one 2x2 maximum and the next.
_CONVOLUTIONS = ((64,), (128,), (256, 256), (512, 512))
_FLAT_DIM = 6 * 4 * 512
_HIDDEN_DIM = 4096
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


class VggIsh(PretrainedFrontEnd):
    """Embed audio with VGGish: one 128-d frame for each 0.96 s patch, patches side by side.

    As in the release, what is left after the last whole patch is dropped; a waveform shorter than one patch
    (0.975 s) is padded with zeros, so there is always a frame. 10 s give 10, 5 s give 5.

    Args:
        weights: A `.safetensors` file that `convert` wrote, the torch release (`vggish-10086976.pth`) or the
            TensorFlow release (`vggish_model.ckpt`). Left out, the environment variable EARMARK_VGGISH_WEIGHTS is
            used, then `checkpoints/vggish.safetensors`. Nothing is fetched.
        final_relu: Cut embeddings off at zero, as the torch release and TensorFlow's first ones do. TensorFlow's
            present one leaves them as they are.
        post_process: Whiten by PCA and quantize to 0..255, as the embeddings published with AudioSet and
            YouTube-8M: "floor" as TensorFlow's release, "round" as the torch release. None leaves embeddings
            as they are.
        pca_weights: Parameters of the whitening, needed if `post_process` is given: a file that `convert`
            wrote, `vggish_pca_params.npz` of TensorFlow's release or the `.pth` of the torch
            release. Left out, EARMARK_VGGISH_PCA_WEIGHTS is used, then `checkpoints/vggish_pca.safetensors`.
        patches_per_batch: Patches that go through the network together; a matter of speed and memory only.
    """

    sample_rate_hz = SAMPLE_RATE_HZ
    frame_dim = 128
    network: "VggIshNetwork"

    def __init__(
        self,
        weights: str | None = None,
        final_relu: bool = False,
        post_process: Rounding | None = None,
        pca_weights: str | None = None,
        patches_per_batch: int = 16,
    ) -> None:
        super().__init__(RELEASE, unloaded(VggIshNetwork), weights)
        if post_process is not None:
            check_rounding(post_process)
        self.final_relu = final_relu
        self.post_process = post_process
        self.pca_weights = pca_weights
        self.patches_per_batch = patches_per_batch
        self.log_mel = AudioSetLogMel(_LOG_OFFSET)
        self.post_processor = None if post_process is None else VggIshPostProcessor(post_process)

    def prepare(self) -> None:
        """Find the weights, and those of the whitening if it is asked for.

        Raises:
            WeightsMissing: If they are neither given nor found.
        """
        super().prepare()
        if self.post_process is not None:
            find_weights(PCA_RELEASE, self.pca_weights)

    def read_weights(self) -> None:
        """Read the weights into the network and the whitening.

        Raises:
            WeightsMissing: If there is no weight file.
            WeightsMismatch: If a file holds something else.
        """
        super().read_weights()
        if self.post_processor is not None:
            path = find_weights(PCA_RELEASE, self.pca_weights)
            self.post_processor.load_state_dict(read_weights(PCA_RELEASE, path))

    def settings(self) -> dict[str, object]:
        """Return the options that change the output, weights by their checksum."""
        whitening = None
        if self.post_process is not None:
            whitening = hash_file(find_weights(PCA_RELEASE, self.pca_weights))
        return {
            "front_end": "vggish",
            "revision": 1,
            "weights_sha256": self.weights_sha256(),
            "final_relu": self.final_relu,
            "post_process": self.post_process,
            "pca_sha256": whitening,
        }

    @torch.inference_mode()
    def frames(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frame feature"]:
        """Embed waveforms at 16 kHz."""
        self.load()
        patches = self.patches(waveform)
        embeddings: Tensor = torch.cat(
            [self.network.embed(part) for part in patches.flatten(0, 1).split(self.patches_per_batch)]
        )
        if self.final_relu:
            embeddings = embeddings.relu()
        if self.post_processor is not None:
            embeddings = self.post_processor(embeddings)
        return embeddings.reshape(*patches.shape[:2], self.frame_dim)

    def patches(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch patch frame mel"]:
        """Cut the log-mel spectrogram into patches; a waveform shorter than one is padded with zeros."""
        missing = samples_of(PATCH_FRAMES) - waveform.shape[1]
        return cut_patches(self.log_mel(F.pad(waveform, (0, max(0, missing)))), hop_frames=PATCH_FRAMES)


class VggIshNetwork(nn.Module):
    """The network, its parts named as in the torch release; 72 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for group in _CONVOLUTIONS:
            for out_channels in group:
                layers += [nn.Conv2d(channels, out_channels, kernel_size=3, padding=1), nn.ReLU()]
                channels = out_channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(_FLAT_DIM, _HIDDEN_DIM),
            nn.ReLU(),
            nn.Linear(_HIDDEN_DIM, _HIDDEN_DIM),
            nn.ReLU(),
            nn.Linear(_HIDDEN_DIM, VggIsh.frame_dim),
        )

    def embed(self, patches: Float[Tensor, "batch frame mel"]) -> Float[Tensor, "batch feature"]:
        """Return the last layer before any activation."""
        hidden: Tensor = self.features(patches.unsqueeze(1))
        # TensorFlow flattens with the channel last
        embedding: Tensor = self.embeddings(hidden.permute(0, 2, 3, 1).flatten(1))
        return embedding


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


RELEASE = Release(
    name="VGGish",
    url="https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",
    license="Apache-2.0",
    variable="EARMARK_VGGISH_WEIGHTS",
    option="--model.preprocessing.frontend.weights",
    default_path=Path("checkpoints/vggish.safetensors"),
    converter="vggish",
    readers={".pth": _read_torch, ".ckpt": read_tensorflow},
    expected_shapes=lambda: shapes_of(VggIshNetwork),
    num_bytes=288_567_937,
    also_at=" or, with TensorFlow installed, https://storage.googleapis.com/audioset/vggish_model.ckpt",
)
