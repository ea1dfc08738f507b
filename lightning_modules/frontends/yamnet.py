"""YAMNet: log-mel front end and MobileNet-v1 network of Google's AudioSet event classifier.

Hershey et al., CNN architectures for large-scale audio classification (2017); Howard et al., MobileNets
(2017). The front end is the release's: 25 ms periodic Hann windows every 10 ms, 512-point magnitude
spectrum, 64 mel bands from 125 to 7500 Hz whose triangles are linear in mel, ln(mel + 0.001), patches of
96 frames every 48.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
import torchaudio.transforms
from jaxtyping import Float
from torch import Tensor, nn

from lightning_modules.frontends.base import FrontEnd
from lightning_modules.frontends.yamnet_weights import find_weights, read_weights, weights_checksum

NUM_CLASSES = 521
PATCH_FRAMES = 96
PATCH_HOP_FRAMES = 48
_WINDOW_SAMPLES = 400
_HOP_SAMPLES = 160
_FFT_SAMPLES = 512
_NUM_MELS = 64
_LOG_OFFSET = 1e-3
# (stride, output channels) of layers 2 to 14, each a depthwise and a pointwise convolution.
_SEPARABLE_LAYERS = (
    (1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), (1, 512), (1, 512), (1, 512), (1, 512), (1, 512),
    (2, 1024), (1, 1024),
)  # fmt: skip


class YamNet(FrontEnd):
    """Embed audio with YAMNet: one 1024-d frame for each 0.96 s patch, patches 0.48 s apart.

    The input is padded with zeros to whole patches, so any length gives at least one frame; 5 s give 10.

    Args:
        weights: A `.safetensors` file written by `yamnet_weights`, the Keras release (`yamnet.h5`) or the
            TFLite release (`yamnet.tflite`). Left out, the environment variable EARMARK_YAMNET_WEIGHTS is
            used, then `checkpoints/yamnet.safetensors`, fetched from the Keras release if absent.
        patches_per_batch: Patches that go through the network together; a matter of speed and memory only.
    """

    sample_rate_hz = 16_000
    frame_dim = 1024

    def __init__(self, weights: str | None = None, patches_per_batch: int = 8) -> None:
        super().__init__()
        self.weights = weights
        self.patches_per_batch = patches_per_batch
        self.log_mel = YamNetLogMel()
        self.network = YamNetNetwork()
        self._weights_path: Path | None = None

    def prepare(self) -> None:
        """Find the weights, or fetch and verify them.

        Raises:
            WeightsMissing: If they are neither given, nor found, nor to be fetched.
        """
        find_weights(self.weights)

    def load(self) -> None:
        """Read the weights into the network, once.

        Raises:
            WeightsMissing: If there is no weight file.
            WeightsMismatch: If the file is not a YAMNet.
        """
        path = find_weights(self.weights)
        if path != self._weights_path:
            self.network.load_state_dict(read_weights(path))
            self.network.eval()
            self._weights_path = path

    def settings(self) -> dict[str, object]:
        """Return the checksum of the weight file; the front end itself has no options."""
        return {"front_end": "yamnet", "revision": 1, "weights_sha256": weights_checksum(find_weights(self.weights))}

    @torch.inference_mode()
    def frames(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frame feature"]:
        """Embed waveforms at 16 kHz."""
        patches = self.patches(waveform)
        embeddings = [self.network.embed(part) for part in patches.flatten(0, 1).split(self.patches_per_batch)]
        return torch.cat(embeddings).reshape(*patches.shape[:2], self.frame_dim)

    @torch.inference_mode()
    def scores(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frame label"]:
        """Return the probability of each of the 521 AudioSet classes, a patch; classes are not exclusive."""
        return torch.sigmoid(self.network.classifier(self.frames(waveform)))

    def patches(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch patch frame mel"]:
        """Cut the log-mel spectrogram of zero-padded waveforms into overlapping patches."""
        self.load()
        spectrogram: Tensor = self.log_mel(pad_to_whole_patches(waveform))
        patches: Tensor = spectrogram.unfold(1, PATCH_FRAMES, PATCH_HOP_FRAMES)
        return patches.transpose(2, 3)


def pad_to_whole_patches(waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch padded"]:
    """Append zeros until the last patch is complete."""
    first = (PATCH_FRAMES - 1) * _HOP_SAMPLES + _WINDOW_SAMPLES
    hop = PATCH_HOP_FRAMES * _HOP_SAMPLES
    num_more = max(0, math.ceil((waveform.shape[1] - first) / hop))
    return F.pad(waveform, (0, first + num_more * hop - waveform.shape[1]))


class YamNetLogMel(nn.Module):
    """ln(mel + 0.001) frames of the release, in float."""

    def __init__(self) -> None:
        super().__init__()
        self.spectrogram = torchaudio.transforms.Spectrogram(
            n_fft=_FFT_SAMPLES, win_length=_WINDOW_SAMPLES, hop_length=_HOP_SAMPLES, power=1.0, center=False
        )
        self.register_buffer("mel_filters", mel_triangles(), persistent=False)
        self.mel_filters: Tensor

    def forward(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frame mel"]:
        """Compute one frame for each 10 ms at which a whole 25 ms window fits."""
        # torch centres the window in the FFT frame; the release puts it first. The magnitude is the same
        # once the frame starts as much earlier.
        margin = (_FFT_SAMPLES - _WINDOW_SAMPLES) // 2
        magnitude = self.spectrogram(F.pad(waveform, (margin, margin)))
        return torch.log(magnitude.transpose(1, 2) @ self.mel_filters + _LOG_OFFSET)


def mel_triangles() -> Float[Tensor, "bin mel"]:
    """Build 64 HTK-mel filters over 125-7500 Hz whose slopes are linear in mel, not in Hz.

    The row of the DC bin is zero. torchaudio's filters are linear in Hz, which is why they can't serve.
    """
    hertz = torch.linspace(0, YamNet.sample_rate_hz / 2, _FFT_SAMPLES // 2 + 1, dtype=torch.float64)
    mel = 1127.0 * torch.log1p(hertz / 700.0)
    low, high = (1127.0 * math.log1p(edge / 700.0) for edge in (125.0, 7500.0))
    edges = torch.linspace(low, high, _NUM_MELS + 2, dtype=torch.float64)
    rising = (mel[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel[:, None]) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rising, falling).clamp(min=0)
    filters[0] = 0
    return filters.float()


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
