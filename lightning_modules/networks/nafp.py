"""Separable convolutions: the encoder of the neural audio fingerprinter.

Chang, Lee, Park, Lim, Lee, Ko and Han, Neural audio fingerprint for high-specific audio retrieval based on contrastive
learning (ICASSP 2021).
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from lightning_modules.networks.divide_and_encode import DivideAndEncode


class Nafp(nn.Module):
    """Map spectrograms of segments to points of the unit sphere by convolutions along time and frequency in turn.

    Each block is a convolution over 3 frames, ELU, layer normalisation, then one over 3 bands, ELU, layer
    normalisation. With the defaults and spectrograms of 256 x 32 it is the paper's.

    Args:
        num_bands: Bands of a spectrogram.
        num_frames: Frames of a spectrogram.
        fingerprint_dim: d, size of a fingerprint.
        channels: Output channels of each block.
        frame_strides: Stride of each block over frames; over bands it is 2.
        slice_hidden_dim: Hidden units of the projection of a slice.

    Raises:
        ValueError: If there are not as many strides as channels, or `fingerprint_dim` doesn't divide the last vector.
    """

    def __init__(
        self,
        num_bands: int,
        num_frames: int,
        fingerprint_dim: int,
        channels: Sequence[int] = (128, 128, 256, 256, 512, 512, 1024, 1024),
        frame_strides: Sequence[int] = (1, 2, 2, 2, 1, 2, 1, 2),
        slice_hidden_dim: int = 32,
    ) -> None:
        super().__init__()
        if len(channels) != len(frame_strides):
            raise ValueError(
                f"Expected one of frame_strides for each of channels; got {len(frame_strides)} for {len(channels)}."
            )
        blocks: list[nn.Module] = []
        size = 1
        for channel, stride in zip(channels, frame_strides, strict=True):
            num_frames = -(-num_frames // stride)
            blocks += _half_block(size, channel, (1, 3), (1, stride), (num_bands, num_frames))
            num_bands = -(-num_bands // 2)
            blocks += _half_block(channel, channel, (3, 1), (2, 1), (num_bands, num_frames))
            size = channel
        self.blocks = nn.Sequential(*blocks)
        self.projection = DivideAndEncode(size * num_bands * num_frames, fingerprint_dim, slice_hidden_dim)

    def forward(self, spectrogram: Float[Tensor, "batch band frame"]) -> Float[Tensor, "batch fingerprint"]:
        """Return fingerprints, of unit length."""
        maps: Tensor = self.blocks(spectrogram[:, None])
        fingerprint: Tensor = self.projection(maps.flatten(1))
        return fingerprint


def _half_block(
    input_channels: int, channels: int, kernel: tuple[int, int], stride: tuple[int, int], size: tuple[int, int]
) -> list[nn.Module]:
    padding = (kernel[0] // 2, kernel[1] // 2)
    convolution = nn.Conv2d(input_channels, channels, kernel, stride, padding)
    return [convolution, nn.ELU(), nn.LayerNorm((channels, *size))]
