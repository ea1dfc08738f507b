"""Log-mel spectrograms, and their statistics over time as a clip's feature: nothing to fetch, nothing learned."""

import math

import torch
import torchaudio.functional
import torchaudio.transforms
from jaxtyping import Float
from torch import Tensor

from lightning_modules.frontends.base import FrontEnd
from lightning_modules.frontends.griffin_lim import find_waveform, power_above_floor, unmix_mel

_SILENCE_DB = -100.0


class LogMel(FrontEnd):
    """Log-mel frames in decibels.

    Args:
        sample_rate_hz: Rate the spectrogram is computed at.
        num_mels: Mel bands, the size of a frame.
        window_samples: Length of the Hann window and of the FFT.
        hop_samples: Samples from frame to frame.
        low_hz: Lower edge of the lowest band.
        high_hz: Upper edge of the highest band; None is half the sample rate.
        floor_db: Range below each clip's maximum beyond which values are cut off.
    """

    def __init__(
        self,
        sample_rate_hz: int = 16_000,
        num_mels: int = 64,
        window_samples: int = 1024,
        hop_samples: int = 512,
        low_hz: float = 50.0,
        high_hz: float | None = None,
        floor_db: float = 80.0,
    ) -> None:
        super().__init__()
        self.sample_rate_hz = sample_rate_hz
        self.num_mels = num_mels
        self.window_samples = window_samples
        self.hop_samples = hop_samples
        self.low_hz = low_hz
        self.high_hz = high_hz
        self.floor_db = floor_db
        self.mel_spectrogram = torchaudio.transforms.MelSpectrogram(
            sample_rate_hz, window_samples, hop_length=hop_samples, f_min=low_hz, f_max=high_hz, n_mels=num_mels
        )

    @property
    def frame_dim(self) -> int:  # type: ignore[override]
        """One value a mel band."""
        return self.num_mels

    def settings(self) -> dict[str, object]:
        """Return all arguments."""
        names = ("sample_rate_hz", "num_mels", "window_samples", "hop_samples", "low_hz", "high_hz", "floor_db")
        return {"front_end": type(self).__name__, "revision": 1} | {name: getattr(self, name) for name in names}

    @torch.inference_mode()
    def frames(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frame feature"]:
        """Compute decibels relative to full scale; a clip shorter than half a window is padded with zeros."""
        missing = self.window_samples // 2 + 1 - waveform.shape[1]
        power = self.mel_spectrogram(torch.nn.functional.pad(waveform, (0, max(0, missing))))
        # the range is cut a clip (first axis), not over the batch: torchaudio does so for 4-d input
        decibels: Tensor = torchaudio.functional.amplitude_to_DB(
            power[:, None], multiplier=10.0, amin=10 ** (_SILENCE_DB / 10), db_multiplier=0.0, top_db=self.floor_db
        )
        return decibels[:, 0].transpose(1, 2)

    @torch.inference_mode()
    def invert(self, frames: Float[Tensor, "batch frame feature"]) -> Float[Tensor, "batch time"]:
        """Find sounds that have the given log-mel frames.

        Args:
            frames: Decibels relative to full scale, in any precision. Those above what any waveform within +-1
                can reach (Parseval's theorem) count as that; those `floor_db` below their clip's maximum, or
                at -100 dB, are silent.

        Returns:
            Waveforms at `sample_rate_hz`, at the level that the frames give; turned down where they'd exceed +-1.

        Raises:
            ValueError: Frames of another size than `num_mels`, or a hop of more than half a window.
        """
        if frames.shape[2] != self.num_mels:
            raise ValueError(
                f"frames must have num_mels={self.num_mels} values; got {frames.shape[2]}. Invert log-mel frames with "
                "the front end that made them; their statistics can't be inverted."
            )
        # Hann's squares sum to 3/8 of its length
        ceiling = 10 * math.log10(0.375 * self.window_samples**2)
        decibels = frames.float().clamp(_SILENCE_DB, ceiling)
        floor = (decibels.amax(dim=(1, 2), keepdim=True) - self.floor_db).clamp(min=_SILENCE_DB)
        power = unmix_mel(power_above_floor(decibels, floor), self.mel_spectrogram.mel_scale.fb)
        waveform = find_waveform(power, self.window_samples, self.hop_samples)
        return waveform / waveform.abs().amax(dim=1, keepdim=True).clamp(min=1)


class LogMelStatistics(LogMel):
    """Mean, standard deviation and mean absolute delta of the log-mel over time: one frame of 3 x `num_mels` a clip.

    Args:
        sample_rate_hz: Rate the spectrogram is computed at.
        num_mels: Mel bands.
        window_samples: Length of the Hann window and of the FFT.
        hop_samples: Samples from frame to frame.
        low_hz: Lower edge of the lowest band.
        high_hz: Upper edge of the highest band; None is half the sample rate.
        floor_db: Range below each clip's maximum beyond which values are cut off.
    """

    @property
    def frame_dim(self) -> int:  # type: ignore[override]
        """Three values a mel band."""
        return 3 * self.num_mels

    @torch.inference_mode()
    def frames(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frame feature"]:
        """Summarise the log-mel frames of each clip."""
        log_mel = super().frames(waveform)
        deviation = log_mel.std(dim=1, correction=0)
        delta = torchaudio.functional.compute_deltas(log_mel.transpose(1, 2)).abs().mean(dim=2)
        return torch.cat([log_mel.mean(dim=1), deviation, delta], dim=1)[:, None]
