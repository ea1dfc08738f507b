"""YAMNet: log-mel front end and MobileNet-v1 network of Google's AudioSet event classifier.

Hershey et al., CNN architectures for large-scale audio classification (2017); Howard et al., MobileNets
(2017). The front end is the release's: patches of 96 log-mel frames every 48, offset 0.001 in the logarithm;
see `audioset_log_mel`.
"""

import math

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
from lightning_modules.frontends.pretrained.front_end import PretrainedFrontEnd, unloaded
from lightning_modules.frontends.pretrained.yamnet_weights import RELEASE

NUM_CLASSES = 521
_LOG_OFFSET = 1e-3
# (stride, output channels) of layers 2 to 14, each a depthwise and a pointwise convolution.
_SEPARABLE_LAYERS = (
    (1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), (1, 512), (1, 512), (1, 512), (1, 512), (1, 512),
    (2, 1024), (1, 1024),
)  # fmt: skip


class YamNet(PretrainedFrontEnd):
    """Embed audio with YAMNet: one 1024-d frame for each 0.96 s patch, patches 0.48 s apart unless told otherwise.

    The input is padded with zeros to whole patches, so any length gives at least one frame; 5 s give 10.

    Args:
        weights: A `.safetensors` file written by `yamnet_weights`, the Keras release (`yamnet.h5`) or the
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
