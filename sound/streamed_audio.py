"""Tracks read from their files as they are asked for, for corpora that don't fit on the disk a second time.

After seeking in an MP3 file libmpg123 may complain on standard error about bits of frames that came before
(`part2_3_length too large`); it discards those frames, and what is served is exact.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from sound.decode_ahead import decode_ahead
from sound.errors import AudioFileError
from sound.resample import read_part

_logger = logging.getLogger(__name__)

Lengths = Iterable[int | AudioFileError]


class StreamedAudio:
    """Decode just the part of a track that is wanted; a `TrackAudio`.

    Only headers are read beforehand: a file that is damaged further on raises an error when that part is read.

    Args:
        paths: Audio files, in the order their positions refer to.
        sample_rate_hz: Rate that files of another rate are resampled to.
        on_bad_audio: `raise` stops at a file whose header can't be read; `skip` lists it and goes on.
        watch: Passes on what it is given, file by file, and may show how far that is.

    Raises:
        AudioFileError: If a file can't be opened and `on_bad_audio` is `raise`.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        sample_rate_hz: int,
        on_bad_audio: Literal["raise", "skip"],
        watch: Callable[[Lengths], Lengths] = iter,
    ) -> None:
        self._paths = list(paths)
        self.sample_rate_hz = sample_rate_hz
        self.skipped: dict[int, str] = {}
        self.lengths = np.zeros(len(self._paths), np.int64)
        measured = decode_ahead(partial(_measure, sample_rate_hz=sample_rate_hz), self._paths)
        for track, length in enumerate(watch(measured)):
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


def _measure(path: Path, sample_rate_hz: int) -> int:
    """Return the samples of a file at this rate."""
    try:
        header = soundfile.info(path)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioFileError(
            f"{path}: expected audio that libsndfile reads, it says: {error} Fetch it again."
        ) from error
    if header.frames == 0:
        raise AudioFileError(f"{path}: expected at least one sample, found none. Fetch it again, or remove it.")
    return -(-int(header.frames) * sample_rate_hz // int(header.samplerate))
