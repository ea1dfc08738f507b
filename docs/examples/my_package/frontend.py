"""A front end of one's own: how much energy each octave has, frame by frame."""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_modules.frontends import FrontEnd


class OctaveEnergies(FrontEnd):
    """Mean power of each octave below half the sample rate, in decibels.

    Args:
        sample_rate_hz: Rate that sounds are resampled to.
        num_octaves: Octaves, the size of a frame.
        frame_samples: Length of a frame; frames don't overlap, and what is left over at the end is dropped.
    """

    def __init__(self, sample_rate_hz: int = 16_000, num_octaves: int = 8, frame_samples: int = 1024) -> None:
        super().__init__()
        self.sample_rate_hz = sample_rate_hz
        self.num_octaves = num_octaves
        self.frame_samples = frame_samples

    @property
    def frame_dim(self) -> int:  # type: ignore[override]
        """One value an octave."""
        return self.num_octaves

    def settings(self) -> dict[str, object]:
        """Return all arguments: they change the output, so that they tell its caches apart."""
        names = ("sample_rate_hz", "num_octaves", "frame_samples")
        return {"front_end": type(self).__name__, "revision": 1} | {name: getattr(self, name) for name in names}

    @torch.inference_mode()
    def frames(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frame feature"]:
        """Sum the power spectrum of each frame by octaves; a clip shorter than a frame is padded with zeros."""
        missing = max(0, self.frame_samples - waveform.shape[1])
        blocks = torch.nn.functional.pad(waveform, (0, missing)).unfold(1, self.frame_samples, self.frame_samples)
        power = torch.fft.rfft(blocks).abs().square() / self.frame_samples
        edges = [power.shape[2] >> octave for octave in range(self.num_octaves, -1, -1)]
        octaves = [power[..., low:high].mean(dim=2) for low, high in itertools.pairwise(edges)]
        return 10 * torch.stack(octaves, dim=2).clamp(min=1e-10).log10()
