"""Background noise in MUSAN's layout, `noise/<source>/<file>`, and passages drawn from it.

Snyder et al., MUSAN: a music, speech, and noise corpus (2015): 930 files of noise from two sources, `free-sound` and
`sound-bible`, 16 kHz mono. Its music overlaps with FMA, so nothing but noise is read.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.errors import DatasetMissing, SplitError
from datamodules.splits.segments import TrackAudio, is_silent
from sound.audio import find_audio_files
from sound.errors import AudioFileError

_logger = logging.getLogger(__name__)

ROOT_VARIABLE = "EARMARK_MUSAN_ROOT"
_MAX_DRAWS = 1000


@dataclass(frozen=True)
class NoiseOptions:
    """Where noise comes from.

    Attributes:
        root: Folder of MUSAN, or of a folder a source in another format; None takes $EARMARK_MUSAN_ROOT, then
            `data/musan`.
        test_sources: Sources that test queries are mixed with; all others are trained with.
    """

    root: str | None = None
    test_sources: tuple[str, ...] = ("sound-bible",)


@dataclass(frozen=True)
class NoiseFiles:
    """Noise files; the two parts share none.

    Attributes:
        train: Files trained with, and that validation queries are mixed with.
        test: Files of the test sources.
    """

    train: list[Path]
    test: list[Path]


def find_noise(options: NoiseOptions) -> NoiseFiles:
    """Find the files of each source.

    Raises:
        DatasetMissing: If there is no noise.
        SplitError: If there is none on one side of the split.
    """
    root = Path(options.root or os.environ.get(ROOT_VARIABLE) or "data/musan")
    folder = root / "noise" if (root / "noise").is_dir() else root
    files = [path for path in find_audio_files(folder) if path.parent != folder]
    if not files:
        raise DatasetMissing(
            f"Expected noise in MUSAN's layout, noise/<source>/*.wav, at {root.resolve()}; found none. Fetch "
            "musan.tar.gz (11 GB, 930 noise files, https://www.openslr.org/17) and unpack it there, or name a folder "
            f"with --data.noise.root or ${ROOT_VARIABLE}."
        )
    is_test = [path.relative_to(folder).parts[0] in options.test_sources for path in files]
    found = NoiseFiles(
        [path for path, test in zip(files, is_test, strict=True) if not test],
        [path for path, test in zip(files, is_test, strict=True) if test],
    )
    if not found.train or not found.test:
        sources = sorted({path.relative_to(folder).parts[0] for path in files})
        raise SplitError(
            f"Expected noise to test with, of {', '.join(options.test_sources)}, and other noise to train with in "
            f"{folder}; found the sources {', '.join(sources)}. Set --data.noise.test_sources to some of them."
        )
    _logger.info("Noise: %d files to train with, %d to test with.", len(found.train), len(found.test))
    return found


class NoisePool:
    """Draw passages of noise.

    Args:
        audio: Decoded noise files.
        files: Positions of those drawn from.

    Raises:
        AudioFileError: If none of them can be decoded.
    """

    def __init__(self, audio: TrackAudio, files: Sequence[int] | np.ndarray) -> None:
        positions = np.asarray(files)
        self.files = positions[audio.lengths[positions] > 0]
        self._audio = audio
        if len(self.files) == 0:
            raise AudioFileError("Expected noise files that can be decoded; none can. Fetch the noise again.")

    @property
    def sample_type(self) -> np.dtype:
        """What samples are without conversion."""
        return self._audio.sample_type

    def draw(self, generator: np.random.Generator, out: np.ndarray) -> None:
        """Fill `out`, [time], from a random place of a random file, never with silence.

        What `out` holds is the audio's `sample_type`, or float32. A file that is shorter is repeated.

        Raises:
            AudioFileError: If a thousand passages in succession were silent.
        """
        for _ in range(_MAX_DRAWS):
            file = int(self.files[generator.integers(len(self.files))])
            length = int(self._audio.lengths[file])
            if length >= len(out):
                self._audio.read(file, int(generator.integers(length - len(out) + 1)), out)
            else:
                whole = np.empty(length, out.dtype)
                self._audio.read(file, 0, whole)
                np.take(whole, np.arange(len(out)) + generator.integers(length), mode="wrap", out=out)
            if not is_silent(out):
                return
        raise AudioFileError(
            f"Expected noise, found {_MAX_DRAWS} passages in succession silent. Listen to the noise files."
        )
