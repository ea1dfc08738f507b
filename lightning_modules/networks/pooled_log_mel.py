"""A fingerprint without learning: the spectrogram itself, in fewer frames."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class PooledLogMel(nn.Module):
    """Average frames in groups, remove each band's mean, scale to unit length: what learned fingerprints have to beat.

    It has no parameters. Silence becomes a vector of zeros.

    Args:
        num_bands: Bands of a spectrogram.
        num_frames: Frames of a spectrogram.
        fingerprint_dim: d, a multiple of the bands: bands x groups.

    Raises:
        ValueError: If that many values are not whole groups of equal size.
    """

    def __init__(self, num_bands: int, num_frames: int, fingerprint_dim: int) -> None:
        super().__init__()
        self.num_groups = fingerprint_dim // num_bands
        if self.num_groups * num_bands != fingerprint_dim or self.num_groups < 1 or num_frames % self.num_groups:
            raise ValueError(
                f"fingerprint_dim must be {num_bands} bands x a number that divides {num_frames} frames; got "
                f"{fingerprint_dim}. {num_bands * 10} suits a second."
            )

    def forward(self, spectrogram: Float[Tensor, "batch band frame"]) -> Float[Tensor, "batch fingerprint"]:
        """Return fingerprints, of unit length."""
        pooled = spectrogram.unflatten(2, (self.num_groups, -1)).mean(dim=3)
        return F.normalize((pooled - pooled.mean(dim=2, keepdim=True)).flatten(1), dim=1)
