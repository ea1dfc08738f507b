"""Impulse responses begin with the direct sound; no room is on both sides; simulated ones decay as stated."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from datamodules.distortion.rooms import ROOT_VARIABLE, RoomOptions, align_response, open_rooms, read_response
from datamodules.distortion.simulated_rooms import measure_t60, open_or_simulate
from datamodules.errors import DatasetLayoutError, DatasetMissing, SplitError
from sound.errors import AudioFileError
from storage.errors import FileDamaged
from tests.replicas.air import LEFT_OUT, TEST, TRAIN, make_air

RATE_HZ = 16_000
T60_SECONDS = (0.2, 0.35)


@pytest.fixture(scope="module")
def air(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_air(tmp_path_factory.mktemp("air") / "AIR_1_4")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds a few simulated rooms, for all tests."""
    return tmp_path_factory.mktemp("cache")


def _options(**options: object) -> RoomOptions:
    return RoomOptions(**{"num_train": 3, "num_test": 1, "t60_range_seconds": (0.2, 0.3), **options})  # type: ignore[arg-type]


def test_air_is_split_by_room_without_dummy_heads(air: Path, tmp_path: Path) -> None:
    train, test = open_rooms(_options(root=str(air), num_train=0, num_test=0), (), tmp_path, RATE_HZ)
    assert sorted(train.names) == sorted(TRAIN)
    assert sorted(test.names) == sorted(TEST)
    assert not {*train.names, *test.names} & {*LEFT_OUT}
    assert np.isnan(train.t60_seconds).all()
    for rooms in (train, test):
        assert rooms.responses.shape == (len(rooms.names), RATE_HZ)
        np.testing.assert_array_equal(rooms.responses[:, 0], 1)
        # 0.5 s of response from the onset on, then padding
        assert rooms.responses[:, 3_000:7_900].any(axis=1).all()
        assert not rooms.responses[:, 8_100:].any()


def test_a_later_echo_is_not_taken_for_the_direct_sound(air: Path) -> None:
    aligned = align_response(read_response(air / TRAIN[0], RATE_HZ), RATE_HZ, 4_000)
    # Written 20 ms after the direct sound with -1.6 times its amplitude.
    assert np.argmax(np.abs(aligned)) == 320
    assert aligned[320] == pytest.approx(-1.6, rel=0.05)


@pytest.mark.parametrize("delay", [0, 5, 700])
@pytest.mark.parametrize("gain", [1.0, -0.01])
def test_delay_gain_and_sign_do_not_matter(delay: int, gain: float) -> None:
    response = np.zeros(800)
    response[[0, 10, 200]] = (0.6, 0.3, -0.9)
    shifted = gain * np.concatenate([np.zeros(delay), response])
    shifted[: max(0, delay - 20)] = 0.001 * gain  # noise before the onset
    expected = np.pad(response / 0.6, (0, 200))
    np.testing.assert_allclose(align_response(shifted, RATE_HZ, 1_000), expected, atol=1e-6)
    assert align_response(shifted, RATE_HZ, 150).shape == (150,)


def test_ripple_before_a_band_limited_impulse_is_passed_over() -> None:
    time = np.arange(400) - 100.4
    response = np.sinc(time) + 0.5 * np.sinc(time - 150)
    assert np.abs(response[:99]).max() > 0.1 * np.abs(response).max()
    aligned = align_response(response, RATE_HZ, 300)
    assert aligned[0] == 1
    assert np.argmax(np.abs(aligned[20:])) + 20 == 150


def test_audio_files_are_rooms_too(tmp_path: Path) -> None:
    folder = tmp_path / "rir"
    folder.mkdir()
    impulse = np.zeros((441, 2))
    impulse[100] = 0.8
    soundfile.write(folder / "hall.wav", impulse, 44_100)
    soundfile.write(folder / "air_type1_air_binaural_booth_0_1_1.wav", impulse[:, 0], 44_100)
    soundfile.write(folder / "my_booth.flac", impulse[:, 0], 48_000)
    options = _options(root=str(folder), num_train=0, num_test=0, seconds=0.1)
    train, test = open_rooms(options, (), tmp_path, RATE_HZ)
    assert (train.names, test.names) == (["hall.wav"], ["my_booth.flac"])
    assert train.responses.shape == (1, 1_600)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "air_binaural_office_1_0_1.mat").write_bytes(b"not MATLAB")
    with pytest.raises(DatasetLayoutError, match=r"office.*h_air"):
        read_response(tmp_path / "air_binaural_office_1_0_1.mat", RATE_HZ)
    (tmp_path / "hall.wav").touch()
    with pytest.raises(AudioFileError, match=r"hall\.wav"):
        read_response(tmp_path / "hall.wav", RATE_HZ)


def test_missing_files_and_rooms_are_errors(in_tmp: Path, air: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetMissing, match="simulate all rooms"):
        open_rooms(_options(root=str(in_tmp / "nowhere")), (), in_tmp, RATE_HZ)
    none = _options(num_train=0, num_test=0)
    with pytest.raises(SplitError, match="num_train above 0"):
        open_rooms(none, (), in_tmp, RATE_HZ)
    monkeypatch.setenv(ROOT_VARIABLE, str(air))
    train, test = open_rooms(none, (), in_tmp, RATE_HZ)
    assert len(train.names) == len(TRAIN)
    assert test.measured().tolist() == [0, 1]
    with pytest.raises(SplitError, match="leave reverb out"):
        test.nearest(0.4)


def test_simulated_rooms_have_the_reverberation_time_stated(cache: Path) -> None:
    train, test = open_rooms(_options(), T60_SECONDS, cache, RATE_HZ)
    assert test.t60_seconds.tolist() == list(T60_SECONDS)
    assert ((train.t60_seconds >= 0.2) & (train.t60_seconds <= 0.3)).all()
    for rooms in (train, test):
        np.testing.assert_array_equal(rooms.responses[:, 0], 1)
        for response, stated in zip(rooms.responses, rooms.t60_seconds, strict=True):
            assert measure_t60(response, RATE_HZ) == pytest.approx(stated, rel=0.1)
    assert test.nearest(0.35).tolist() == [1]
    assert test.nearest(5.0).tolist() == [1]
    with pytest.raises(SplitError, match=r"rooms\.root"):
        test.measured()


def test_reverberation_time_of_an_exact_decay_is_measured() -> None:
    seconds = np.arange(RATE_HZ) / RATE_HZ
    noise = np.random.default_rng(0).standard_normal(RATE_HZ)
    assert measure_t60(noise * 10 ** (-3 * seconds / 0.4), RATE_HZ) == pytest.approx(0.4, rel=0.03)


def test_training_and_test_rooms_share_no_geometry(cache: Path) -> None:
    rooms = open_or_simulate(cache, 3, 1, (0.2, 0.3), T60_SECONDS, RATE_HZ, 0)
    assert [room.is_test for room in rooms] == [False] * 3 + [True] * 2
    assert len({room.name for room in rooms}) == 5
    geometry = np.array([room.geometry_metres for room in rooms])
    for column in range(geometry.shape[1]):
        assert len(np.unique(geometry[:, column])) == 5
    size, source, microphone = np.split(geometry, 3, axis=1)
    assert ((source > 0.49) & (source < size - 0.49) & (microphone > 0.49) & (microphone < size - 0.49)).all()


def test_simulated_rooms_are_kept_and_reproducible(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = open_or_simulate(cache, 3, 1, (0.2, 0.3), T60_SECONDS, RATE_HZ, 0)
    fewer = open_or_simulate(tmp_path, 1, 0, (0.2, 0.3), (), RATE_HZ, 0)
    other = open_or_simulate(tmp_path, 1, 0, (0.2, 0.3), (), RATE_HZ, 1)
    np.testing.assert_array_equal(fewer[0].response, kept[0].response)
    assert fewer[0].geometry_metres.tolist() != other[0].geometry_metres.tolist()
    monkeypatch.setitem(sys.modules, "pyroomacoustics", None)
    again = open_or_simulate(cache, 3, 1, (0.2, 0.3), T60_SECONDS, RATE_HZ, 0)
    np.testing.assert_array_equal(again[-1].response, kept[-1].response)
    with pytest.raises(DatasetMissing, match="pip install pyroomacoustics"):
        open_or_simulate(tmp_path, 1, 0, (0.2, 0.3), (), RATE_HZ, 2)


def test_a_damaged_cache_is_detected(tmp_path: Path) -> None:
    open_or_simulate(tmp_path, 1, 0, (0.2, 0.2), (), RATE_HZ, 0)
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(FileDamaged, match="Delete the file"):
        open_or_simulate(tmp_path, 1, 0, (0.2, 0.2), (), RATE_HZ, 0)
