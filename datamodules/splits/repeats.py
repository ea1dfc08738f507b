"""Find passages that occur elsewhere in their track: loops, refrains, samples used again."""

import numpy as np
from scipy import fft

MIN_CORRELATION = 0.8
MIN_DISTANCE_SECONDS = 0.5
_MIN_ENERGY_SHARE = 1e-6  # of the passage's own; rounding of the Fourier transform decides below


def find_repeats(
    waveform: np.ndarray, starts: np.ndarray, num_samples: int, sample_rate_hz: int, min_correlation: float
) -> np.ndarray:
    """Say which passages of a track occur a second time, at least half a second away.

    A passage x occurs at y if <x, y> / (|x| |y|), without time warp or gain, is above the threshold.

    Args:
        waveform: The whole track, [time].
        starts: First sample of each passage, [query].
        num_samples: Samples of a passage.
        sample_rate_hz: Rate of the samples.
        min_correlation: Threshold, at most 1.

    Returns:
        Mask, [query].
    """
    size = fft.next_fast_len(len(waveform), real=True)
    spectrum = fft.rfft(waveform, size)
    energy_before = np.concatenate([[0.0], np.cumsum(np.square(waveform, dtype=np.float64))])
    energy = np.maximum(energy_before[num_samples:] - energy_before[:-num_samples], 0)
    distance = round(MIN_DISTANCE_SECONDS * sample_rate_hz)
    found = np.zeros(len(starts), bool)
    for query, start in enumerate(starts):
        passage = waveform[start : start + num_samples]
        # The lags looked at never wrap around: the passage ends within the track at each.
        product = fft.irfft(spectrum * fft.rfft(passage, size).conj(), size)[: len(energy)]
        own = max(energy[start], 1e-12)
        correlation = product / np.sqrt(own * np.maximum(energy, _MIN_ENERGY_SHARE * own))
        correlation[max(0, start - distance + 1) : start + distance] = 0
        found[query] = correlation.max() > min_correlation
    return found
