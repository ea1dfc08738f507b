"""Divide-and-encode projection: each value of a fingerprint is made of a slice of its own."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class DivideAndEncode(nn.Module):
    """Cut a vector into as many slices as a fingerprint has values, and encode each by a small network of its own.

    Lai et al., Simultaneous feature learning and hash coding with deep neural networks (2015), as Chang et al. (2021)
    and Singh et al. (2022) use it for fingerprints; the networks are linear, ELU, linear.

    Args:
        input_dim: Size of a vector.
        fingerprint_dim: d, number of slices.
        hidden_dim: Hidden units of each slice's network.

    Raises:
        ValueError: If slices would not be of one size.
    """

    def __init__(self, input_dim: int, fingerprint_dim: int, hidden_dim: int = 32) -> None:
        super().__init__()
        if input_dim % fingerprint_dim:
            raise ValueError(
                f"fingerprint_dim must divide the network's last vector; got {fingerprint_dim} of {input_dim}. Choose "
                "a power of 2, or more channels in the last block."
            )
        # a convolution in groups is a network a slice
        self.layers = nn.Sequential(
            nn.Conv1d(input_dim, fingerprint_dim * hidden_dim, 1, groups=fingerprint_dim),
            nn.ELU(),
            nn.Conv1d(fingerprint_dim * hidden_dim, fingerprint_dim, 1, groups=fingerprint_dim),
        )

    def forward(self, vector: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch fingerprint"]:
        """Return fingerprints, of unit length."""
        return F.normalize(self.layers(vector[:, :, None])[:, :, 0], dim=1)
