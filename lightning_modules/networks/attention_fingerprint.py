"""Residual convolutions whose channels attend to bands and frames.

Singh, Demuynck and Arora, Attention-based audio embeddings for query-by-example (ISMIR 2022).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lightning_modules.networks.divide_and_encode import DivideAndEncode
from lightning_modules.networks.global_batch_norm import GlobalBatchNorm

_NUM_BLOCKS = 6


class AttentionFingerprint(nn.Module):
    """Map spectrograms of segments to points of the unit sphere by residual blocks that weigh patches.

    A convolution, then six residual blocks of `width` to 32 `width` channels, all but the first of which halve bands
    and frames; each weighs what it returns by `ChannelAttention`. What the paper leaves open (kernels of 3 x 3, batch
    normalisation, where a block attends) is ours.

    Args:
        num_bands: Bands of a spectrogram.
        num_frames: Frames of a spectrogram.
        fingerprint_dim: d, size of a fingerprint.
        width: Channels of the first convolution; 32 in the authors' later system.
        slice_hidden_dim: Hidden units of the projection of a slice.

    Raises:
        ValueError: If `fingerprint_dim` doesn't divide the last vector.
    """

    def __init__(
        self,
        num_bands: int,
        num_frames: int,
        fingerprint_dim: int,
        width: int = 32,
        slice_hidden_dim: int = 32,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1, bias=False), GlobalBatchNorm(width), nn.ReLU()]
        size = width
        for position in range(_NUM_BLOCKS):
            channels, stride = width * 2**position, 1 if position == 0 else 2
            num_bands, num_frames = -(-num_bands // stride), -(-num_frames // stride)
            layers.append(_ResidualBlock(size, channels, stride, num_bands, num_frames))
            size = channels
        self.layers = nn.Sequential(*layers)
        self.projection = DivideAndEncode(size * num_bands * num_frames, fingerprint_dim, slice_hidden_dim)

    def forward(self, spectrogram: Float[Tensor, "batch band frame"]) -> Float[Tensor, "batch fingerprint"]:
        """Return fingerprints, of unit length."""
        maps: Tensor = self.layers(spectrogram[:, None])
        fingerprint: Tensor = self.projection(maps.flatten(1))
        return fingerprint


class ChannelAttention(nn.Module):
    """Weigh the bands and the frames of each channel by what is in them.

    Per channel, a learned vector over frames scores each band, one over bands scores each frame; tanh and softmax make
    weights of them, and their outer product multiplies the channel. Weights have a mean of 1, so that equal scores
    change nothing.

    Args:
        num_channels: Channels.
        num_bands: Bands of a map.
        num_frames: Frames of a map.
    """

    def __init__(self, num_channels: int, num_bands: int, num_frames: int) -> None:
        super().__init__()
        self.over_frames = nn.Parameter(torch.randn(num_channels, num_frames) / num_frames**0.5)
        self.over_bands = nn.Parameter(torch.randn(num_channels, num_bands) / num_bands**0.5)

    def forward(self, maps: Float[Tensor, "batch channel band frame"]) -> Float[Tensor, "batch channel band frame"]:
        """Return the weighed maps."""
        band_score = torch.tanh(torch.einsum("bcft,ct->bcf", maps, self.over_frames))
        frame_score = torch.tanh(torch.einsum("bcft,cf->bct", maps, self.over_bands))
        band_weight = band_score.softmax(dim=2) * maps.shape[2]
        frame_weight = frame_score.softmax(dim=2) * maps.shape[3]
        return maps * band_weight[..., None] * frame_weight[..., None, :]


class _ResidualBlock(nn.Module):
    def __init__(self, input_channels: int, channels: int, stride: int, num_bands: int, num_frames: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(input_channels, channels, 3, stride, padding=1, bias=False),
            GlobalBatchNorm(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            GlobalBatchNorm(channels),
        )
        self.attention = ChannelAttention(channels, num_bands, num_frames)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or input_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(input_channels, channels, 1, stride, bias=False), GlobalBatchNorm(channels)
            )

    def forward(self, maps: Float[Tensor, "batch input_channel input_band input_frame"]) -> Tensor:
        return F.relu(self.attention(self.convolutions(maps)) + self.shortcut(maps))
