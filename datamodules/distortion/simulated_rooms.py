"""Impulse responses of rooms that don't exist, by the image source method (Allen and Berkley, 1979).

Rooms are boxes with source and microphone at random places; absorption comes from the reverberation time T60 by
Sabine's formula inverted. The decay of a box departs from Sabine's, so a response is then weighted by an exponential
that brings its T60, measured over 5 to 35 dB of the decay (ISO 3382), to what was asked for.
"""

import hashlib
import importlib
import json
import logging
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from datamodules.errors import DatasetMissing
from datamodules.progress import show_progress
from storage.atomic import write_arrays
from storage.errors import IN_CACHE_DIR, FileDamaged
from storage.lock import hold_lock

_logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
_MIN_SIZE_METRES = (3.5, 3.0, 2.6)
_MAX_SIZE_METRES = (10.0, 8.0, 4.0)
_WALL_METRES = 0.5  # source and microphone keep this distance from walls
_MIN_DISTANCE_METRES = 0.7  # from each other
_CORRECTIONS = 12  # of the decay
_CORRECTED_SHARE = 0.5  # of its error each time; all of it at once swings to and fro where the direct sound is strong
_DECAY_DB = (-5.0, -35.0)


@dataclass(frozen=True)
class SimulatedRoom:
    """A room.

    Attributes:
        name: Unique.
        is_test: Whether it is tested with, or trained with.
        t60_seconds: Reverberation time.
        geometry_metres: Size of the room, place of source and of microphone, [9].
        response: As simulated, float32 [time].
    """

    name: str
    is_test: bool
    t60_seconds: float
    geometry_metres: np.ndarray
    response: np.ndarray


def open_or_simulate(
    parent: Path,
    num_train: int,
    num_test: int,
    t60_range_seconds: tuple[float, float],
    test_t60_seconds: Sequence[float],
    sample_rate_hz: int,
    seed: int,
) -> list[SimulatedRoom]:
    """Open the responses of these rooms, simulating them first if there are none; about a second each.

    Args:
        parent: Folder of all caches.
        num_train: Rooms to train with, their T60 evenly drawn.
        num_test: Rooms to test with at each T60.
        t60_range_seconds: T60 of the rooms to train with.
        test_t60_seconds: T60 of the rooms to test with.
        sample_rate_hz: Rate of the responses.
        seed: Seed of the rooms; training and test draw from streams of their own.

    Raises:
        DatasetMissing: If pyroomacoustics is needed and not installed.
        FileDamaged: If the cache is damaged.
        FileNotWritten: If the disk is too small for it.
    """
    plan = _plan(num_train, num_test, t60_range_seconds, test_t60_seconds, seed)
    if not plan:
        return []
    settings = json.dumps([FORMAT_VERSION, sample_rate_hz, seed, plan])
    path = parent / f"rooms-{hashlib.sha256(settings.encode()).hexdigest()[:16]}.npz"
    if not path.is_file():
        with hold_lock(path.with_suffix(".lock")):
            if not path.is_file():
                _make(path, plan, sample_rate_hz, seed)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            responses = np.split(arrays["responses"], np.cumsum(arrays["lengths"])[:-1])
            geometry = arrays["geometry_metres"]
        if not len(plan) == len(geometry) == len(responses):
            raise ValueError(f"{len(geometry)} places and {len(responses)} responses of {len(plan)} rooms")  # noqa: TRY301
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise FileDamaged(f"{path}: expected simulated rooms, found it damaged ({error}). Delete the file.") from error
    return [
        SimulatedRoom(f"simulated {'test' if is_test else 'train'} room {number}", is_test, t60, place, response)
        for (is_test, number, t60), place, response in zip(plan, geometry, responses, strict=True)
    ]


def measure_t60(response: np.ndarray, sample_rate_hz: int) -> float:
    """Measure the reverberation time in seconds, the decay from -5 to -35 dB extrapolated to 60 dB.

    Args:
        response: Impulse response, [time]; what comes before the direct sound doesn't matter.
        sample_rate_hz: Its rate.
    """
    energy_left = np.cumsum(np.square(response[::-1], dtype=np.float64))[::-1]  # Schroeder's backward integral
    level = 10 * np.log10(np.maximum(energy_left / energy_left[0], 1e-12))
    begin, end = (int(np.argmax(level <= bound)) for bound in _DECAY_DB)
    slope = np.polyfit(np.arange(begin, end) / sample_rate_hz, level[begin:end], 1)[0]
    return float(-60 / slope)


def _plan(
    num_train: int, num_test: int, t60_range_seconds: tuple[float, float], test_t60_seconds: Sequence[float], seed: int
) -> list[tuple[bool, int, float]]:
    """Return for each room whether it is tested with, its number and T60."""
    drawn = np.random.default_rng([seed, 0]).uniform(*t60_range_seconds, num_train)
    rooms = [(False, number, round(float(t60), 3)) for number, t60 in enumerate(drawn)]
    wanted = [t60 for t60 in sorted(set(test_t60_seconds)) for _ in range(num_test)]
    return rooms + [(True, number, t60) for number, t60 in enumerate(wanted)]


def _make(path: Path, plan: Sequence[tuple[bool, int, float]], sample_rate_hz: int, seed: int) -> None:
    acoustics = _import_pyroomacoustics()
    _logger.warning("Simulating %d rooms, once, about a second each: %s", len(plan), path)
    geometry, responses = [], []
    with show_progress() as progress:
        for is_test, number, t60 in progress.track(plan, description="Simulating rooms"):
            generator = np.random.default_rng([seed, 2 if is_test else 1, number])
            place, response = _simulate(acoustics, t60, sample_rate_hz, generator)
            geometry.append(place)
            responses.append(response)
    arrays = {
        "responses": np.concatenate(responses),
        "lengths": np.array([len(response) for response in responses]),
        "geometry_metres": np.array(geometry),
    }
    write_arrays(path, arrays, IN_CACHE_DIR)


def _import_pyroomacoustics() -> ModuleType:
    try:
        return importlib.import_module("pyroomacoustics")
    except ImportError as error:
        raise DatasetMissing(
            "Expected pyroomacoustics to simulate rooms with; it is not installed. Run pip install "
            "pyroomacoustics==0.10.1, or set --data.rooms.num_train 0 and num_test 0 and name measured ones with "
            "--data.rooms.root."
        ) from error


def _simulate(
    acoustics: ModuleType, t60_seconds: float, sample_rate_hz: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return geometry and response of a room drawn; boxes too large to be that dry are drawn again."""
    while True:
        size = generator.uniform(_MIN_SIZE_METRES, _MAX_SIZE_METRES)
        source, microphone = generator.uniform(_WALL_METRES, size - _WALL_METRES, (2, 3))
        if np.linalg.norm(source - microphone) < _MIN_DISTANCE_METRES:
            continue
        try:
            absorption, max_order = acoustics.inverse_sabine(t60_seconds, size)
        except ValueError:  # no wall absorbs enough
            continue
        room = acoustics.ShoeBox(size, fs=sample_rate_hz, materials=acoustics.Material(absorption), max_order=max_order)
        room.add_source(source)
        room.add_microphone(microphone)
        room.compute_rir()
        response = _correct_decay(np.asarray(room.rir[0][0], np.float64), t60_seconds, sample_rate_hz)
        return np.concatenate([size, source, microphone]), response.astype(np.float32)


def _correct_decay(response: np.ndarray, t60_seconds: float, sample_rate_hz: int) -> np.ndarray:
    seconds = np.arange(len(response)) / sample_rate_hz
    for _ in range(_CORRECTIONS):
        further = 1 / t60_seconds - 1 / measure_t60(response, sample_rate_hz)
        response = response * 10 ** (-3 * _CORRECTED_SHARE * further * seconds)
    return response
