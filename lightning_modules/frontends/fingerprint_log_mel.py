"""Log-mel pictures of segments for fingerprinting: level and colour removed, weak parts cut off."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lightning_modules.frontends.log_mel import LogMel

# Segments whose spectra stay in a CPU's cache: batches of 256 take 3 to 4 times as long at once.
_CPU_CHUNK = 16


class FingerprintLogMel(LogMel):
    """Log-mel frames of segments, scaled a segment by itself.

    FlowHash (2024), section A.3.1, asks for 64 bands x 100 frames of a second and says no more. Noise fills what is
    weak: cutting that off, and removing each band's mean (the colour of room and microphone), brings a distorted
    segment closer to its clean one.

    Args:
        sample_rate_hz: Rate the spectrogram is computed at.
        num_mels: Mel bands, the size of a frame.
        num_frames: Frames of a segment: the first ones are kept.
        window_samples: Length of the Hann window and of the FFT.
        hop_samples: Samples from frame to frame.
        low_hz: Lower edge of the lowest band.
        high_hz: Upper edge of the highest band; None is half the sample rate.
        floor_db: Range below each segment's maximum beyond which values are cut off.
        remove_band_mean: Whether each band has a mean of zero over the segment.
        unit_scale: Whether each segment's values have a standard deviation of 1; silence is all zeros.
    """

    def __init__(
        self,
        sample_rate_hz: int = 16_000,
        num_mels: int = 64,
        num_frames: int = 100,
        window_samples: int = 512,
        hop_samples: int = 160,
        low_hz: float = 50.0,
        high_hz: float | None = None,
        floor_db: float = 40.0,
        remove_band_mean: bool = True,
        unit_scale: bool = True,
    ) -> None:
        super().__init__(sample_rate_hz, num_mels, window_samples, hop_samples, low_hz, high_hz, floor_db)
        self.num_frames = num_frames
        self.remove_band_mean = remove_band_mean
        self.unit_scale = unit_scale

    def settings(self) -> dict[str, object]:
        """Return all arguments."""
        names = ("num_frames", "remove_band_mean", "unit_scale")
        return super().settings() | {name: getattr(self, name) for name in names}

    def frames(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frame feature"]:
        """Compute the scaled frames, in float32.

        Raises:
            ValueError: If the waveforms are too short for `num_frames`.
        """
        chunks = waveform.float().split(_CPU_CHUNK if waveform.device.type == "cpu" else max(1, len(waveform)))
        with torch.autocast(waveform.device.type, enabled=False):
            decibels = torch.cat([super(FingerprintLogMel, self).frames(chunk) for chunk in chunks])
        decibels = decibels[:, : self.num_frames]
        if decibels.shape[1] < self.num_frames:
            raise ValueError(
                f"Expected segments of at least {(self.num_frames - 1) * self.hop_samples} samples, num_frames = "
                f"{self.num_frames}; got {waveform.shape[1]}. Set a longer segment_seconds, or fewer frames."
            )
        # out of inference mode: networks are trained on what leaves here
        return self._scaled(decibels.clone())

    def _scaled(self, decibels: Float[Tensor, "batch frame feature"]) -> Float[Tensor, "batch frame feature"]:
        mean_over = 1 if self.remove_band_mean else (1, 2)
        if self.remove_band_mean or self.unit_scale:
            decibels = decibels - decibels.mean(dim=mean_over, keepdim=True)
        if self.unit_scale:
            num_values = decibels[0].numel()
            decibels = F.normalize(decibels.flatten(1), dim=1, eps=1e-3).view_as(decibels) * num_values**0.5
        return decibels
