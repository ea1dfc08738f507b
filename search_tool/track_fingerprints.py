"""Fingerprints of whole tracks and clips, at a hop, on whatever device there is."""

from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from datamodules.splits.segments import SILENCE_RMS
from lightning_modules import Fingerprinter
from lightning_modules.device import find_device
from sound.decode_ahead import decode_ahead
from sound.errors import AudioFileError
from sound.resample import read_track

_BATCH_SEGMENTS = 256
_DECODERS = 2
_DECODED_AHEAD = 4


class SegmentFingerprints:
    """Fingerprint waveforms, `hop_seconds` apart.

    Silent segments get zeros, which resemble nothing: the silence of one track would be that of all.

    Args:
        fingerprinter: Moved to the device; left as it is otherwise.
        hop_seconds: From the start of one segment to that of the next; rounded to whole samples.

    Raises:
        ValueError: If the hop is under one sample.
    """

    def __init__(self, fingerprinter: Fingerprinter, hop_seconds: float) -> None:
        self.sample_rate_hz = fingerprinter.distortion.sample_rate_hz
        self.segment_samples = fingerprinter.distortion.segment_samples
        self.hop_samples = round(hop_seconds * self.sample_rate_hz)
        if self.hop_samples < 1:
            raise ValueError(
                f"Expected a hop of at least a sample, 1 / {self.sample_rate_hz} s; got {hop_seconds} s. 0.1 is usual."
            )
        self._device = find_device()
        self._fingerprinter = fingerprinter.to(self._device).eval()

    @property
    def segment_seconds(self) -> float:
        """Length of what a fingerprint is of."""
        return self.segment_samples / self.sample_rate_hz

    @property
    def dim(self) -> int:
        """Size of a fingerprint."""
        return int(self.of_segments(torch.zeros(1, self.segment_samples)).shape[1])

    def num_segments(self, num_samples: int) -> int:
        """Return how many segments a waveform has."""
        return max(0, (num_samples - self.segment_samples) // self.hop_samples + 1)

    def num_samples(self, num_segments: int) -> int:
        """Return how long a waveform of so many segments is, at least one."""
        return (num_segments - 1) * self.hop_samples + self.segment_samples

    def of_waveform(self, waveform: Float[np.ndarray, " time"]) -> Float[Tensor, "segment feature"]:
        """Fingerprint all segments that lie within a waveform.

        Args:
            waveform: At `sample_rate_hz`; at least a segment long.
        """
        return self.of_segments(torch.from_numpy(waveform).unfold(0, self.segment_samples, self.hop_samples))

    @torch.no_grad()
    def of_segments(self, segments: Float[Tensor, "segment time"]) -> Float[Tensor, "segment feature"]:
        """Fingerprint segments; float32, on the host."""
        found = []
        for batch in segments.split(_BATCH_SEGMENTS):
            waveform = batch.to(self._device)
            is_audible = waveform.square().mean(dim=1, keepdim=True) >= SILENCE_RMS**2
            found.append((self._fingerprinter.fingerprint(waveform) * is_audible).float().cpu())
        return torch.cat(found)


def decode_tracks(paths: Sequence[Path], sample_rate_hz: int) -> Generator[np.ndarray | AudioFileError]:
    """Decode files, few at a time for they may be long: samples of each, or why there are none."""
    return decode_ahead(partial(read_track, sample_rate_hz=sample_rate_hz), paths, _DECODERS, _DECODED_AHEAD)
