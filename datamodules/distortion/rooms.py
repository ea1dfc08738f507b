"""Impulse responses of rooms: read from files or simulated, aligned, scaled, and split into training and test.

Files are of the Aachen impulse response database (Jeub et al., 2009: AIR 1.4, `.mat`, or OpenSLR 28's WAV copies of
it), or any audio. Rooms to train with and to test with share no file, and no simulated geometry.
"""

import logging
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from datamodules.distortion.simulated_rooms import SimulatedRoom, open_or_simulate
from datamodules.errors import DatasetLayoutError, DatasetMissing, SplitError
from sound.audio import AUDIO_SUFFIXES, read_clip
from sound.errors import AudioFileError
from sound.resample import resample

_logger = logging.getLogger(__name__)

ROOT_VARIABLE = "EARMARK_ROOM_ROOT"
# The split of the neural music fingerprinting evaluation; other rooms of AIR are left out.
_AIR_TRAIN_ROOMS = ("meeting", "lecture", "stairway", "office")
_AIR_TEST_ROOMS = ("aula_carolina", "booth")
# air_binaural_<room>_<channel>_<head>_<position>..., where head 1 is a dummy head; air_phone_<room>_...
_AIR_NAME = re.compile(r"air_(binaural|phone)_(\w+)$")
_ONSET_SHARE = 0.1  # -20 dB of the largest sample
_DIRECT_SECONDS = 0.0025  # how far after the onset the direct sound's peak may lie


@dataclass(frozen=True)
class RoomOptions:
    """Which rooms there are.

    Attributes:
        root: Folder of measured impulse responses; None takes $EARMARK_ROOM_ROOT, and no files where it is not set.
        test_rooms: A file whose name has one of these in it is tested with; all others are trained with.
        num_train: Simulated rooms to train with.
        num_test: Simulated rooms to test with at each reverberation time.
        t60_range_seconds: Reverberation times of the rooms to train with.
        seconds: Length of a response; shorter ones are padded with zeros.
        seed: Seed of the simulated rooms.
    """

    root: str | None = None
    test_rooms: tuple[str, ...] = _AIR_TEST_ROOMS
    num_train: int = 60
    num_test: int = 4
    t60_range_seconds: tuple[float, float] = (0.2, 0.8)
    seconds: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class RoomSet:
    """Impulse responses.

    Attributes:
        names: File or simulated room of each.
        responses: Direct sound 1 at sample 0, float32 [room, time].
        t60_seconds: Reverberation time of the simulated ones, NaN of files, [room].
    """

    names: list[str]
    responses: np.ndarray
    t60_seconds: np.ndarray

    def nearest(self, t60_seconds: float) -> np.ndarray:
        """Return positions of the simulated rooms within 0.05 s of a reverberation time, or of the one nearest to it.

        Raises:
            SplitError: If there is no simulated room.
        """
        distance = np.abs(self.t60_seconds - t60_seconds)
        if np.isnan(distance).all():
            raise SplitError(
                f"Expected simulated rooms for queries at T60 {t60_seconds:g} s; there are none. Set "
                "--data.rooms.num_train and num_test above 0, or leave reverb out of --data.queries.kinds."
            )
        close = np.flatnonzero(distance <= 0.05 + 1e-9)
        return close if len(close) else np.array([np.nanargmin(distance)])

    def measured(self) -> np.ndarray:
        """Return positions of the responses that come from files.

        Raises:
            SplitError: If there is none.
        """
        positions = np.flatnonzero(np.isnan(self.t60_seconds))
        if len(positions) == 0:
            raise SplitError(
                "Expected measured rooms for queries of the kind measured; there are none. Name their folder with "
                "--data.rooms.root and those to test with by --data.rooms.test_rooms, or leave that kind out."
            )
        return positions


def open_rooms(
    options: RoomOptions, test_t60_seconds: Sequence[float], cache_dir: Path, sample_rate_hz: int
) -> tuple[RoomSet, RoomSet]:
    """Read and simulate the rooms to train with and to test with.

    Args:
        options: Which rooms.
        test_t60_seconds: Reverberation times to test at.
        cache_dir: Folder that keeps simulated responses.
        sample_rate_hz: Rate of the responses.

    Raises:
        DatasetMissing: If the folder of files is not there, or rooms can't be simulated here.
        SplitError: If there is nothing to train with.
        AudioFileError: If a file can't be decoded.
    """
    train_files, test_files = _find_files(options)
    simulated = open_or_simulate(
        cache_dir, options.num_train, options.num_test, options.t60_range_seconds, tuple(test_t60_seconds),
        sample_rate_hz, options.seed,
    )  # fmt: skip
    num_samples = round(options.seconds * sample_rate_hz)
    train = _gather(train_files, [room for room in simulated if not room.is_test], num_samples, sample_rate_hz)
    test = _gather(test_files, [room for room in simulated if room.is_test], num_samples, sample_rate_hz)
    if not train.names:
        raise SplitError(
            "Expected rooms to train with, found none. Set --data.rooms.num_train above 0, or name a folder of impulse "
            "responses with --data.rooms.root."
        )
    _logger.info(
        "Rooms: %d measured and %d simulated to train with, %d and %d to test with.",
        len(train_files), len(train.names) - len(train_files), len(test_files), len(test.names) - len(test_files),
    )  # fmt: skip
    return train, test


def align_response(response: np.ndarray, sample_rate_hz: int, num_samples: int) -> np.ndarray:
    """Cut a response so that it begins with the direct sound, of amplitude 1.

    The onset is the first sample within 20 dB of the largest; the direct sound is the largest sample of the 2.5 ms
    after it, so that neither a strong late reflection nor the ripple before a band-limited impulse is taken for it.

    Args:
        response: Samples, [time].
        sample_rate_hz: Their rate.
        num_samples: Samples to return; zeros are appended where there are fewer.

    Returns:
        float32 [num_samples].
    """
    magnitude = np.abs(response)
    onset = int(np.argmax(magnitude >= _ONSET_SHARE * magnitude.max()))
    direct = onset + int(np.argmax(magnitude[onset : onset + max(1, round(_DIRECT_SECONDS * sample_rate_hz))]))
    cut = response[direct : direct + num_samples] / response[direct]
    return np.pad(cut, (0, num_samples - len(cut))).astype(np.float32)


def read_response(path: Path, sample_rate_hz: int) -> np.ndarray:
    """Read an impulse response, the first channel of a `.mat` file or the mean of an audio file's; float32 [time].

    Raises:
        DatasetLayoutError: If a `.mat` file is not as AIR has it.
        AudioFileError: If an audio file can't be decoded.
    """
    if path.suffix.lower() != ".mat":
        clip = read_clip(path)
        return resample(clip.waveform.numpy(), clip.sample_rate_hz, sample_rate_hz)
    try:
        content = loadmat(path, squeeze_me=True, struct_as_record=False)
        response = np.atleast_2d(np.asarray(content["h_air"], np.float32))[0]
        rate_hz = int(content["air_info"].fs)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, MatReadError) as error:
        raise DatasetLayoutError(
            f"{path}: expected AIR's variables h_air and air_info.fs, found neither whole ({error!r}). Fetch AIR 1.4 "
            "again, or move the file away."
        ) from error
    if not np.isfinite(response).all() or not response.any():
        raise AudioFileError(f"{path}: expected an impulse response, found silence, NaN or infinity. Remove it.")
    return resample(response, rate_hz, sample_rate_hz)


def _find_files(options: RoomOptions) -> tuple[list[Path], list[Path]]:
    """Return files to train with and to test with."""
    given = options.root or os.environ.get(ROOT_VARIABLE)
    if given is None:
        return [], []
    root = Path(given)
    suffixes = (".mat", *AUDIO_SUFFIXES)
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in suffixes)
    if not files:
        raise DatasetMissing(
            f"Expected impulse responses ({', '.join(suffixes)}) in {root.resolve()}; found none. Correct "
            f"--data.rooms.root or ${ROOT_VARIABLE}, or unset both to simulate all rooms."
        )
    wanted = [path for path in files if _is_wanted(path.stem)]
    if len(wanted) < len(files):
        _logger.warning("Left out %d impulse responses of a dummy head or of other rooms.", len(files) - len(wanted))
    is_test = [any(name in path.stem for name in options.test_rooms) for path in wanted]
    return (
        [path for path, test in zip(wanted, is_test, strict=True) if not test],
        [path for path, test in zip(wanted, is_test, strict=True) if test],
    )


def _is_wanted(stem: str) -> bool:
    """Whether a file is not AIR's, or is of a room of the split without a dummy head."""
    match = _AIR_NAME.search(stem.lower())
    if match is None:
        return True
    kind, name = match.groups()
    room = next((room for room in (*_AIR_TRAIN_ROOMS, *_AIR_TEST_ROOMS) if name.startswith(f"{room}_")), None)
    if room is None:
        return False
    has_dummy_head = kind == "binaural" and name.removeprefix(f"{room}_").split("_")[1:2] == ["1"]
    return not has_dummy_head


def _gather(files: list[Path], simulated: list[SimulatedRoom], num_samples: int, sample_rate_hz: int) -> RoomSet:
    raw = [read_response(path, sample_rate_hz) for path in files] + [room.response for room in simulated]
    responses = np.zeros((len(raw), num_samples), np.float32)
    for row, response in zip(responses, raw, strict=True):
        row[:] = align_response(response, sample_rate_hz, num_samples)
    t60_seconds = np.array([math.nan] * len(files) + [room.t60_seconds for room in simulated])
    return RoomSet([path.name for path in files] + [room.name for room in simulated], responses, t60_seconds)
