"""Tracks read from their files as they are asked for, for corpora that don't fit on the disk a second time.

After seeking in an MP3 file libmpg123 may complain on standard error about bits of frames that came before
(`part2_3_length too large`); it discards those frames, and what is served is exact.
"""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from datamodules.errors import AudioFileError
from sound.resample import read_part
from storage.progress import show_progress

_logger = logging.getLogger(__name__)


class StreamedAudio:
    """Decode just the part of a track that is wanted; a `TrackAudio`.

    Only headers are read beforehand: a file that is damaged further on raises an error when that part is read.

    Args:
        paths: Audio files, in the order their positions refer to.
        sample_rate_hz: Rate that files of another rate are resampled to.
        on_bad_audio: `raise` stops at a file whose header can't be read; `skip` lists it and goes on.

    Raises:
        AudioFileError: If a file can't be opened and `on_bad_audio` is `raise`.
    """

    def __init__(self, paths: Sequence[Path], sample_rate_hz: int, on_bad_audio: Literal["raise", "skip"]) -> None:
        self._paths = list(paths)
        self.sample_rate_hz = sample_rate_hz
        self.skipped: dict[int, str] = {}
        self.lengths = np.zeros(len(self._paths), np.int64)
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool, show_progress() as progress:
            task = progress.add_task("Measuring tracks", total=len(self._paths))
            measured = pool.map(partial(_measure, sample_rate_hz=sample_rate_hz), self._paths)
            for track, length in enumerate(measured):
                progress.advance(task)
                if isinstance(length, int):
                    self.lengths[track] = length
                    continue
                if on_bad_audio == "raise":
                    raise length
                _logger.warning("Skipped: %s", length)
                self.skipped[track] = str(length)

    @property
    def sample_type(self) -> np.dtype:
        """Samples are as decoding and resampling leave them, not rounded to 16 bits."""
        return np.dtype(np.float32)

    def read(self, track: int, start: int, out: np.ndarray) -> None:
        """Fill `out`, float32 [time], with a track's samples from `start` on; zero outside the track.

        Raises:
            AudioFileError: If the file can't be read there.
        """
        begin, stop = max(0, start), min(int(self.lengths[track]), start + len(out))
        out[:] = 0
        if begin < stop:
            out[begin - start : stop - start] = read_part(self._paths[track], self.sample_rate_hz, begin, stop)


def _measure(path: Path, sample_rate_hz: int) -> int | AudioFileError:
    """Return the samples of a file at this rate, or what is wrong with it."""
    try:
        header = soundfile.info(path)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        return AudioFileError(f"{path}: expected audio that libsndfile reads, it says: {error} Fetch it again.")
    if header.frames == 0:
        return AudioFileError(f"{path}: expected at least one sample, found none. Fetch it again, or remove it.")
    return -(-int(header.frames) * sample_rate_hz // int(header.samplerate))
