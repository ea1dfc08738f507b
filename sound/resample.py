"""Decode a track, whole or a part of it, at the rate that fingerprints are computed at.

A polyphase filter, so that a part resampled alone equals that part of the whole.
"""

import math
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from sound.audio import read_clip
from sound.errors import AudioFileError

_HALF_FILTER = 10  # zero crossings on each side of scipy's default filter, of the slower rate


def read_track(path: Path, sample_rate_hz: int) -> np.ndarray:
    """Decode a whole file to mono, float32 [time].

    Raises:
        AudioFileError: If it is missing, empty, unreadable, truncated, silent, or holds NaN or infinity.
    """
    clip = read_clip(path)
    return resample(clip.waveform.numpy(), clip.sample_rate_hz, sample_rate_hz)


def resample(waveform: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Change the rate of samples [time, ...]; ceil(time * to_hz / from_hz) remain."""
    if from_hz == to_hz:
        return waveform
    divisor = math.gcd(from_hz, to_hz)
    return np.asarray(resample_poly(waveform, to_hz // divisor, from_hz // divisor), waveform.dtype)


def read_part(path: Path, sample_rate_hz: int, start: int, stop: int) -> np.ndarray:
    """Decode samples `start` to `stop` of what `read_track` returns, seeking to them; mono, float32 [time].

    Raises:
        AudioFileError: If the file can't be read there.
    """
    if not path.is_file():
        raise AudioFileError(
            f"{path}: expected the file that was there before, found none: its corpus was moved, or its disk is gone. "
            "Bring it back: a fit goes on from its last checkpoint with --ckpt_path PATH. A corpus decoded once, "
            "with --data.cache true, is needed no more."
        )
    try:
        with soundfile.SoundFile(path) as file:
            divisor = math.gcd(file.samplerate, sample_rate_hz)
            up, down = sample_rate_hz // divisor, file.samplerate // divisor
            margin = 0 if up == down else _HALF_FILTER * max(up, down) // up + 1
            # A multiple of `down` samples in the file is a whole number of samples out.
            first = max(0, (start * down // up - margin) // down * down)
            file.seek(first)
            samples = file.read(-(-stop * down // up) + margin - first, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioFileError(
            f"{path}: expected audio from {start / sample_rate_hz:.2f} s on, libsndfile says: {error} Fetch or convert "
            "it again, or decode the corpus once with --data.cache true, which lists such files."
        ) from error
    begin = start - first * up // down
    part = resample(samples.mean(axis=1), down, up)[begin : begin + stop - start]
    if len(part) < stop - start:
        raise AudioFileError(
            f"{path}: expected audio up to {stop / sample_rate_hz:.2f} s as its header says, found it cut off "
            f"{(stop - start - len(part)) / sample_rate_hz:.2f} s earlier. Fetch it again."
        )
    return part
