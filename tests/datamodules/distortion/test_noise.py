"""Noise is split by source, drawn anywhere, repeated where it is short, and never silent."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from datamodules.caches.pcm_store import open_or_make_store
from datamodules.distortion.noise import ROOT_VARIABLE, NoiseOptions, NoisePool, find_noise
from datamodules.errors import DatasetMissing, SplitError
from datamodules.splits.segments import is_silent
from sound.errors import AudioFileError
from tests.replicas.musan import make_musan

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_musan(tmp_path_factory.mktemp("noise") / "musan")


def _pool(root: Path, numbers: list[int]) -> tuple[NoisePool, list[np.ndarray]]:
    paths = [find_noise(NoiseOptions(str(root))).train[number] for number in numbers]
    audio = open_or_make_store(root.parent / "cache", "noise", paths, RATE_HZ)
    return NoisePool(audio, range(len(paths))), [soundfile.read(path, dtype="float32")[0] for path in paths]


@pytest.mark.parametrize("suffix", [".wav", ".ogg"])
def test_sources_are_disjoint_and_music_is_not_read(tmp_path: Path, suffix: str) -> None:
    root = make_musan(tmp_path / "musan", suffix)
    found = find_noise(NoiseOptions(str(root)))
    assert [path.parent.name for path in found.train] == ["free-sound"] * 4
    assert [path.parent.name for path in found.test] == ["sound-bible"] * 2
    assert not set(found.train) & set(found.test)
    swapped = find_noise(NoiseOptions(str(root / "noise"), ("free-sound",)))
    assert (swapped.train, swapped.test) == (found.test, found.train)


def test_root_comes_from_the_environment(root: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetMissing, match=r"11 GB.*openslr\.org/17"):
        find_noise(NoiseOptions())
    monkeypatch.setenv(ROOT_VARIABLE, os.fspath(root))
    assert find_noise(NoiseOptions()) == find_noise(NoiseOptions(str(root)))


@pytest.mark.parametrize("sources", [("sound-bibel",), ("free-sound", "sound-bible")])
def test_both_sides_must_have_noise(root: Path, sources: tuple[str, ...]) -> None:
    with pytest.raises(SplitError, match="free-sound, sound-bible"):
        find_noise(NoiseOptions(str(root), sources))


def test_passages_are_cut_from_anywhere(root: Path) -> None:
    pool, (waveform,) = _pool(root, [2])
    starts = set()
    for seed in range(8):
        out = np.empty(4_000, np.float32)
        pool.draw(np.random.default_rng(seed), out)
        start = int(np.argmax(np.correlate(waveform, out, "valid")))
        np.testing.assert_array_equal(out, waveform[start : start + 4_000])
        starts.add(start)
    assert len(starts) == 8


def test_short_noise_is_repeated(root: Path) -> None:
    pool, (waveform,) = _pool(root, [0])
    out = np.empty(RATE_HZ, np.float32)
    pool.draw(np.random.default_rng(0), out)
    assert len(waveform) < RATE_HZ
    stored = np.empty(RATE_HZ, pool.sample_type)
    pool.draw(np.random.default_rng(0), stored)
    np.testing.assert_array_equal(stored / np.float32(32_768), out)
    np.testing.assert_array_equal(out[len(waveform) :], out[: -len(waveform)])
    np.testing.assert_allclose(np.sort(out[: len(waveform)]), np.sort(waveform))


def test_silence_is_drawn_again(root: Path) -> None:
    pool, (waveform,) = _pool(root, [1])
    assert is_silent(waveform[:32_000])
    for seed in range(20):
        out = np.empty(1_600, np.float32)
        pool.draw(np.random.default_rng(seed), out)
        assert not is_silent(out)


def test_nothing_but_silence_is_an_error(tmp_path: Path) -> None:
    waveform = np.zeros(RATE_HZ)
    waveform[-1] = 0.001  # so that it can be decoded
    soundfile.write(tmp_path / "faint.wav", waveform, RATE_HZ)
    pool = NoisePool(open_or_make_store(tmp_path, "noise", [tmp_path / "faint.wav"], RATE_HZ), [0])
    with pytest.raises(AudioFileError, match="silent"):
        pool.draw(np.random.default_rng(0), np.empty(1_600, np.float32))


def test_files_that_cannot_be_decoded_are_not_drawn(root: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").touch()
    paths = [tmp_path / "bad.wav", find_noise(NoiseOptions(str(root))).train[2]]
    audio = open_or_make_store(tmp_path, "noise", paths, RATE_HZ, "skip")
    assert NoisePool(audio, [0, 1]).files.tolist() == [1]
    with pytest.raises(AudioFileError, match="none can"):
        NoisePool(audio, [0])
