"""The spectrogram of a sound file, to be looked at; not what models see."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.signal
import soundfile
from jaxtyping import Float, Int

RANGE_DB = 80.0  # below the loudest cell nothing is told apart

_WINDOW_SECONDS = 0.046
_FEWEST_SAMPLES = 64  # shorter clips are filled up
_LOWEST_HZ = 50.0
_NUM_BANDS = 96  # at most
_MAX_COLUMNS = 600
_SMALLEST_POWER = 1e-12


@dataclass(frozen=True)
class ClipSpectrogram:
    """Level of a clip over time in bands of logarithmic width, ready for `pcolormesh`.

    Attributes:
        level_db: Relative to the loudest cell, at least -80.
        time_edges: In seconds, from 0 to the clip's length.
        band_edges: In Hz, ascending, above 0.
    """

    level_db: Float[np.ndarray, "band column"]
    time_edges: Float[np.ndarray, " time_edge"]
    band_edges: Float[np.ndarray, " band_edge"]

    @property
    def duration_seconds(self) -> float:
        """Length of the clip."""
        return float(self.time_edges[-1])


def clip_spectrogram(path: Path) -> ClipSpectrogram:
    """Read a sound file and return its spectrogram, of the mean over its channels."""
    samples, sample_rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    waveform = samples.mean(axis=1)
    duration_seconds = len(waveform) / sample_rate_hz
    waveform = np.pad(waveform, (0, max(0, _FEWEST_SAMPLES - len(waveform))))
    window = min(2 ** round(np.log2(_WINDOW_SECONDS * sample_rate_hz)), len(waveform))
    frequencies, _, power = scipy.signal.spectrogram(waveform, sample_rate_hz, nperseg=window, noverlap=window // 2)
    power = power[:, :: -(-power.shape[1] // _MAX_COLUMNS)]
    first_bins = _first_bins(len(frequencies), float(frequencies[1]))
    last_edge = len(frequencies)
    sums = np.add.reduceat(power, first_bins, axis=0)
    means = sums / np.diff(first_bins, append=last_edge)[:, None]
    level = 10 * np.log10(np.maximum(means, _SMALLEST_POWER))
    return ClipSpectrogram(
        np.maximum(level - level.max(), -RANGE_DB),
        np.linspace(0, duration_seconds, power.shape[1] + 1),
        (np.append(first_bins, last_edge) - 0.5) * frequencies[1],
    )


def _first_bins(num_bins: int, spacing_hz: float) -> Int[np.ndarray, " band"]:
    """Return the first bin of each band; low bands are one bin."""
    lowest = min(max(1, round(_LOWEST_HZ / spacing_hz)), num_bins - 1)
    return np.unique(np.geomspace(lowest, num_bins - 1, _NUM_BANDS).round().astype(np.int64))
