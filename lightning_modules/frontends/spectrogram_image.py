"""A clip as a square picture: the input of the variational autoencoder.

Pedersen, Learning latent audio representations for search and retrieval using supervised and unsupervised learning
methods (B.Sc. thesis, DTU, 2024), sections 2.1.1 and 2.1.2.
"""

import warnings
from typing import Literal

import torch
import torch.nn.functional as F
import torchaudio.functional
import torchaudio.transforms
from jaxtyping import Float
from torch import Tensor

from lightning_modules.frontends.base import FrontEnd
from lightning_modules.frontends.griffin_lim import find_waveform, power_above_floor, unmix_mel

_INVERTED_PEAK = 0.5


class SpectrogramImage(FrontEnd):
    """Spectrogram of a clip in decibels, min-max normalised to [0, 1] a clip, eq. (2.1) of the thesis.

    The text describes log-mel spectrograms at 16 kHz on the scale of eq. (2.4), m = 2595 log10(1 + f / 700): the
    defaults, which cover 5 s. What was published with it are linear ones of the same 5 s at 13,107 Hz:
    `SpectrogramImage(scale="linear", sample_rate_hz=13_107, window_samples=512, fft_samples=512, hop_samples=256)`.
    Step 2 of the thesis's pipeline, samples scaled to [0, 1], would add a constant to the wave; neither the
    published code nor we do it. How the published code padded the clip's ends is not known: here they are mirrored.

    Args:
        scale: Mel bands, or the FFT's bins but for the last, Nyquist's.
        sample_rate_hz: Rate the spectrogram is computed at.
        num_bins: Height of the picture, the size of a frame.
        num_frames: Width of the picture.
        window_samples: Length of the Hann window.
        fft_samples: Length of the FFT, a multiple of the window's: beyond it, the window is padded with zeros, else
            narrow mel bands would fall between two bins.
        hop_samples: Samples from frame to frame.
        floor_db: Range below each clip's maximum beyond which values are cut off.

    Raises:
        ValueError: Sizes that aren't positive or don't fit each other; mel bands without an FFT bin.
    """

    def __init__(
        self,
        scale: Literal["mel", "linear"] = "mel",
        sample_rate_hz: int = 16_000,
        num_bins: int = 256,
        num_frames: int = 256,
        window_samples: int = 1024,
        fft_samples: int = 2048,
        hop_samples: int = 313,
        floor_db: float = 80.0,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.sample_rate_hz = sample_rate_hz
        self.num_bins = num_bins
        self.num_frames = num_frames
        self.window_samples = window_samples
        self.fft_samples = fft_samples
        self.hop_samples = hop_samples
        self.floor_db = floor_db
        self._check_sizes()
        self.spectrogram = torchaudio.transforms.Spectrogram(fft_samples, window_samples, hop_samples)
        if scale == "mel":
            self.register_buffer("mel_filters", self._mel_filters(), persistent=False)
        self.mel_filters: Tensor

    @property
    def frame_dim(self) -> int:  # type: ignore[override]
        """One value a bin."""
        return self.num_bins

    @property
    def num_samples(self) -> int:
        """Samples of a clip, the most of which come `num_frames` centred frames."""
        return self.num_frames * self.hop_samples - 1

    def settings(self) -> dict[str, object]:
        """Return all arguments."""
        names = (
            "scale", "sample_rate_hz", "num_bins", "num_frames", "window_samples", "fft_samples", "hop_samples",
            "floor_db",
        )  # fmt: skip
        return {"front_end": type(self).__name__, "revision": 1} | {name: getattr(self, name) for name in names}

    @torch.inference_mode()
    def frames(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frame feature"]:
        """Compute the picture: 1 is the clip's loudest value, 0 its quietest; all is 0 if they are the same.

        Args:
            waveform: Mono audio, full scale at +-1; padded with zeros or cut to `num_samples`.
        """
        clip = F.pad(waveform[:, : self.num_samples], (0, max(0, self.num_samples - waveform.shape[1])))
        power: Tensor = self.spectrogram(clip).transpose(1, 2)
        power = power @ self.mel_filters if self.scale == "mel" else power[..., : self.num_bins]
        # the range is cut a clip (first axis), not over the batch: torchaudio does so for 4-d input
        decibels = torchaudio.functional.amplitude_to_DB(
            power[:, None], multiplier=10.0, amin=1e-10, db_multiplier=0.0, top_db=self.floor_db
        )[:, 0]
        low, high = decibels.amin(dim=(1, 2), keepdim=True), decibels.amax(dim=(1, 2), keepdim=True)
        return torch.where(high > low, (decibels - low) / (high - low), 0.0)

    @torch.inference_mode()
    def invert(self, frames: Float[Tensor, "batch frame feature"]) -> Float[Tensor, "batch time"]:
        """Find sounds that look like the pictures.

        The picture has lost its clip's level and range: 1 is taken as the maximum and 0 as `floor_db` below it, where
        nothing sounds. A clip that never was so quiet comes back with its contrast stretched.

        Args:
            frames: Pictures, in any precision; values outside [0, 1] count as the nearer of the two.

        Returns:
            Waveforms at `sample_rate_hz` that peak at 0.5; silence for a picture without a positive value.

        Raises:
            ValueError: Frames of another size than `num_bins`, or a hop of more than half a window.
        """
        if frames.shape[2] != self.num_bins:
            raise ValueError(
                f"frames must have num_bins={self.num_bins} values; got {frames.shape[2]}. "
                "Invert with the front end that made them."
            )
        decibels = self.floor_db * (frames.float().clamp(0, 1) - 1)
        power = power_above_floor(decibels, torch.full_like(decibels[:1, :1, :1], -self.floor_db))
        # the FFT's last bin, left out by the linear scale, is silent
        power = unmix_mel(power, self.mel_filters) if self.scale == "mel" else F.pad(power, (0, 1))
        # every so many bins of the zero-padded FFT are those of the window's own, which is cheaper to invert
        power = power[..., :: self.fft_samples // self.window_samples]
        waveform = find_waveform(power, self.window_samples, self.hop_samples)
        peak = waveform.abs().amax(dim=1, keepdim=True)
        return torch.where(peak > 0, _INVERTED_PEAK * waveform / peak, 0.0)

    def _check_sizes(self) -> None:
        sizes = ("sample_rate_hz", "num_bins", "num_frames", "window_samples", "fft_samples", "hop_samples", "floor_db")
        for name in sizes:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive; got {getattr(self, name)}. Leave it out for the default.")
        if self.window_samples % 2 or self.fft_samples % self.window_samples:
            raise ValueError(
                f"window_samples must be even, fft_samples a multiple of it; got {self.window_samples} and "
                f"{self.fft_samples}. Set fft_samples to window_samples, or to twice as much."
            )
        if self.scale == "linear" and self.fft_samples != 2 * self.num_bins:
            raise ValueError(
                f"on the linear scale fft_samples must be twice num_bins; got {self.fft_samples} and {self.num_bins}. "
                f"Set fft_samples to {2 * self.num_bins}, and window_samples no longer."
            )
        if self.num_samples <= self.fft_samples // 2:
            raise ValueError(
                f"num_frames * hop_samples must exceed half of fft_samples by 2; got {self.num_frames} * "
                f"{self.hop_samples} and {self.fft_samples}. Set a longer hop or a shorter FFT."
            )

    def _mel_filters(self) -> Float[Tensor, "bin mel"]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchaudio's about empty filters, an error here
            filters: Tensor = torchaudio.functional.melscale_fbanks(
                self.fft_samples // 2 + 1, 0.0, self.sample_rate_hz / 2, self.num_bins, self.sample_rate_hz
            )
        num_empty = int((filters.sum(dim=0) == 0).sum())
        if num_empty:
            raise ValueError(
                f"every mel band must hold an FFT bin; {num_empty} of {self.num_bins} hold none. "
                f"Set fft_samples to {2 * self.fft_samples} or more, or fewer bands."
            )
        return filters
