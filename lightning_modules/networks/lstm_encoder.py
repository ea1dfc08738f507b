"""Gated convolutions, then a recurrent network over time: an encoder that knows what came first."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_modules.networks.gaussian import Gaussian, GaussianHead
from lightning_modules.networks.glu_conv import encoded_sizes, gated_conv_blocks


class GluLstmEncoder(nn.Module):
    """Map windows of a spectrogram to Gaussians over latent vectors, reading them in both directions.

    The combination of LSTM and VAE that Pedersen (2024), section 5.6, proposes. Each direction's last state is used.

    Args:
        num_bins: Frequency bins of a frame.
        num_frames: Frames of a window.
        latent_dim: Size of a latent vector.
        channels: Output channels of each gated block.
        strides: Stride of each block.
        hidden_dim: Units of the LSTM in each direction.
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
        hidden_dim: int = 128,
        log_variance_limit: float = 6.0,
    ) -> None:
        super().__init__()
        self.blocks = gated_conv_blocks(channels, strides, separable=False)
        freq, _ = encoded_sizes(num_bins, num_frames, strides)[-1]
        self.lstm = nn.LSTM(channels[-1] * freq, hidden_dim, batch_first=True, bidirectional=True)
        self.head = GaussianHead(2 * hidden_dim, latent_dim, log_variance_limit)

    def forward(self, window: Float[Tensor, "batch frame feature"]) -> Gaussian:
        """Return the posterior q(z | x) of each window."""
        maps: Float[Tensor, "batch channel freq time"] = self.blocks(window.transpose(1, 2)[:, None])
        _, (state, _) = self.lstm(maps.flatten(1, 2).transpose(1, 2))
        posterior: Gaussian = self.head(torch.cat(list(state), dim=1))
        return posterior
