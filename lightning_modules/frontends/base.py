"""The contract of a front end: mono waveforms in, feature frames out, on whatever device it lives."""

from abc import ABC, abstractmethod

import torchaudio.functional
from jaxtyping import Float
from torch import Tensor, nn


class FrontEnd(nn.Module, ABC):
    """Turn waveforms into frames of features.

    A front end is frozen: it is applied once and its output cached, so `settings` must name everything
    that changes the output. It is part of a model (`lightning_modules.preprocessing`), weights and all.

    Attributes:
        sample_rate_hz: Rate the front end works at; other rates are resampled on the way in.
        frame_dim: Size of one feature frame.
    """

    sample_rate_hz: int
    frame_dim: int

    @abstractmethod
    def frames(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frame feature"]:
        """Compute features of waveforms that are at the front end's own sample rate.

        Args:
            waveform: Mono audio, full scale at +-1.
        """

    @abstractmethod
    def settings(self) -> dict[str, object]:
        """Return all that determines the output, as values JSON can hold; weights by their checksum."""

    def prepare(self) -> None:
        """Fetch and verify what the front end needs; one process calls it before any uses the front end."""

    def load(self) -> None:
        """Read the weights, if there are any and they were not read or restored from a checkpoint yet."""

    def forward(
        self, waveform: Float[Tensor, "batch time"], sample_rate_hz: int
    ) -> Float[Tensor, "batch frame feature"]:
        """Resample where needed, then compute the frames.

        Args:
            waveform: Mono audio, full scale at +-1.
            sample_rate_hz: The waveform's rate.
        """
        if sample_rate_hz != self.sample_rate_hz:
            waveform = torchaudio.functional.resample(waveform, sample_rate_hz, self.sample_rate_hz)
        return self.frames(waveform)
