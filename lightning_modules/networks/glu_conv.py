"""Gated convolutional encoder and its mirror image, the networks of a VAE on spectrograms.

Pedersen, Learning latent audio representations for search and retrieval (B.Sc. thesis, DTU, 2024), figure 2.9: blocks
of a 3 x 3 convolution, a gated linear unit (eq. 2.69) and batch normalisation, a dense bottleneck, two heads.
"""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from lightning_modules.networks.gaussian import Gaussian, GaussianHead, bound_log_variance
from lightning_modules.networks.global_batch_norm import GlobalBatchNorm

_KERNEL = 3


class GatedConvBlock(nn.Module):
    """Convolution, gate, batch normalisation: BN((X * W + b) . sigmoid(X * V + c)), eq. (2.69).

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        stride: Steps of the convolution on both axes; sizes shrink to ceil(size / stride).
        separable: Whether the convolution is one a channel, then 1 x 1 (section 5.8).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, separable: bool = False) -> None:
        super().__init__()
        filters, groups = _filters(in_channels, out_channels, separable)
        convolution = nn.Conv2d(in_channels, filters, _KERNEL, stride, padding=1, groups=groups)
        self.layers = _gated(convolution, in_channels, out_channels, separable)

    def forward(self, picture: Float[Tensor, "batch channel freq time"]) -> Float[Tensor, "batch out newfreq newtime"]:
        """Apply the block."""
        activation: Tensor = self.layers(picture)
        return activation


class GatedTransposedBlock(nn.Module):
    """The mirror of `GatedConvBlock`: a transposed convolution to a given size, gate, batch normalisation.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        stride: Stride of the block that is mirrored.
        output_padding: What the mirrored block's rounding took off, by axis.
        separable: Whether the convolution is one a channel, then 1 x 1.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, output_padding: tuple[int, int], separable: bool = False
    ) -> None:
        super().__init__()
        filters, groups = _filters(in_channels, out_channels, separable)
        convolution = nn.ConvTranspose2d(in_channels, filters, _KERNEL, stride, 1, output_padding, groups=groups)
        self.layers = _gated(convolution, in_channels, out_channels, separable)

    def forward(self, picture: Float[Tensor, "batch channel freq time"]) -> Float[Tensor, "batch out newfreq newtime"]:
        """Apply the block."""
        activation: Tensor = self.layers(picture)
        return activation


class GluConvEncoder(nn.Module):
    """Map windows of a spectrogram to Gaussians over latent vectors.

    Args:
        num_bins: Frequency bins of a frame.
        num_frames: Frames of a window.
        latent_dim: Size of a latent vector.
        channels: Output channels of each block.
        strides: Stride of each block.
        hidden_dim: Units of the dense bottleneck.
        separable: Whether convolutions are depthwise-separable.
        log_variance_limit: Bound of the log-variance on either side.

    Raises:
        ValueError: If there are not as many strides as channels, or one is under 1.
    """

    def __init__(
        self,
        num_bins: int,
        num_frames: int,
        latent_dim: int,
        channels: Sequence[int] = (32, 64, 128, 256),
        strides: Sequence[int] = (1, 2, 2, 2),
        hidden_dim: int = 256,
        separable: bool = False,
        log_variance_limit: float = 6.0,
    ) -> None:
        super().__init__()
        self.blocks = gated_conv_blocks(channels, strides, separable)
        freq, time = encoded_sizes(num_bins, num_frames, strides)[-1]
        self.bottleneck = nn.Sequential(nn.Flatten(), nn.Linear(channels[-1] * freq * time, hidden_dim), nn.ReLU())
        self.head = GaussianHead(hidden_dim, latent_dim, log_variance_limit)

    def forward(self, window: Float[Tensor, "batch frame feature"]) -> Gaussian:
        """Return the posterior q(z | x) of each window."""
        posterior: Gaussian = self.head(self.bottleneck(self.blocks(window.transpose(1, 2)[:, None])))
        return posterior


class GluConvDecoder(nn.Module):
    """Map latent vectors to Gaussians over windows of a spectrogram; block by block the mirror of `GluConvEncoder`.

    Args:
        num_bins: Frequency bins of a frame.
        num_frames: Frames of a window.
        latent_dim: Size of a latent vector.
        channels: Output channels of each block of the encoder, in its order.
        strides: Stride of each block of the encoder, in its order.
        separable: Whether convolutions are depthwise-separable.
        log_variance_limit: Bound of the log-variance on either side.

    Raises:
        ValueError: If there are not as many strides as channels, or one is under 1.
    """

    def __init__(
        self,
        num_bins: int,
        num_frames: int,
        latent_dim: int,
        channels: Sequence[int] = (32, 64, 128, 256),
        strides: Sequence[int] = (1, 2, 2, 2),
        separable: bool = False,
        log_variance_limit: float = 6.0,
    ) -> None:
        super().__init__()
        _check_blocks(channels, strides)
        sizes = encoded_sizes(num_bins, num_frames, strides)
        self.expand = nn.Sequential(
            nn.Linear(latent_dim, channels[-1] * sizes[-1][0] * sizes[-1][1]),
            nn.Unflatten(1, (channels[-1], *sizes[-1])),
        )
        out_channels = [*reversed(channels[:-1]), channels[0]]
        blocks = []
        for position, (stride, (small, large)) in enumerate(
            zip(reversed(strides), pairwise(reversed(sizes)), strict=True)
        ):
            missing = tuple(wanted - (size - 1) * stride - 1 for size, wanted in zip(small, large, strict=True))
            in_channels = channels[-1] if position == 0 else out_channels[position - 1]
            blocks.append(
                GatedTransposedBlock(in_channels, out_channels[position], stride, (missing[0], missing[1]), separable)
            )
        self.blocks = nn.Sequential(*blocks)
        self.heads = nn.ConvTranspose2d(channels[0], 2, _KERNEL, padding=1)  # mean and log-variance
        self.log_variance_limit = log_variance_limit

    def forward(self, latent: Float[Tensor, "batch latent"]) -> Gaussian:
        """Return the likelihood p(x | z) of each latent vector, [batch, frame, feature]."""
        heads: Float[Tensor, "batch head freq time"] = self.heads(self.blocks(self.expand(latent)))
        mean, log_variance = heads.float().transpose(2, 3).unbind(dim=1)
        return Gaussian(mean, bound_log_variance(log_variance, self.log_variance_limit))


def gated_conv_blocks(channels: Sequence[int], strides: Sequence[int], separable: bool) -> nn.Sequential:
    """Stack gated blocks on a picture of one channel.

    Raises:
        ValueError: If there are not as many strides as channels, or one is under 1.
    """
    _check_blocks(channels, strides)
    return nn.Sequential(
        *(
            # depthwise on one channel would be a convolution with one filter
            GatedConvBlock(fan_in, fan_out, stride, separable and fan_in > 1)
            for (fan_in, fan_out), stride in zip(pairwise([1, *channels]), strides, strict=True)
        )
    )


def encoded_sizes(num_bins: int, num_frames: int, strides: Sequence[int]) -> list[tuple[int, int]]:
    """Return the sizes (bins, frames) before each block, and after the last."""
    sizes = [(num_bins, num_frames)]
    for stride in strides:
        sizes.append((-(-sizes[-1][0] // stride), -(-sizes[-1][1] // stride)))
    return sizes


def _filters(in_channels: int, out_channels: int, separable: bool) -> tuple[int, int]:
    """Return the filters of a block's convolution and its groups; a gate halves the channels."""
    return (in_channels, in_channels) if separable else (2 * out_channels, 1)


def _gated(convolution: nn.Module, in_channels: int, out_channels: int, separable: bool) -> nn.Sequential:
    mixing = [nn.Conv2d(in_channels, 2 * out_channels, 1)] if separable else []
    return nn.Sequential(convolution, *mixing, nn.GLU(dim=1), GlobalBatchNorm(out_channels))


def _check_blocks(channels: Sequence[int], strides: Sequence[int]) -> None:
    if len(channels) != len(strides) or not channels or min(strides) < 1:
        raise ValueError(
            f"Expected as many strides as channels, one block or more, strides of at least 1; got strides "
            f"{list(strides)} and channels {list(channels)}. Give each block both."
        )
