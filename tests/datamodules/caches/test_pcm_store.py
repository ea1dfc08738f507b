"""Tracks are decoded once, whatever happens in between, and read back exactly."""

import logging
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from datamodules.caches import pcm_store
from datamodules.caches.pcm_store import PcmStore, open_or_make_store
from sound.errors import AudioFileError
from storage.errors import FileDamaged, FileNotWritten

RATE_HZ = 16_000


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Three files of 16-bit samples, the second empty."""
    folder = tmp_path / "tracks"
    folder.mkdir()
    for number in (0, 2):
        soundfile.write(folder / f"{number}.wav", _samples(number), RATE_HZ, subtype="PCM_16")
    (folder / "1.wav").touch()
    return [folder / f"{number}.wav" for number in range(3)]


def _samples(seed: int, count: int = 4_000) -> np.ndarray:
    return np.random.default_rng(seed).integers(-20_000, 20_000, count).astype(np.int16)


def _read(store: PcmStore, track: int, start: int, count: int) -> np.ndarray:
    out = np.full(count, np.nan, np.float32)
    store.read(track, start, out)
    return out


def test_samples_come_back_and_outside_is_zero(paths: list[Path], tmp_path: Path) -> None:
    store = open_or_make_store(tmp_path, "corpus", paths, RATE_HZ, "skip")
    assert store.lengths.tolist() == [4_000, 0, 4_000]
    for track in (0, 2):
        whole = _samples(track) / np.float32(32_768)
        np.testing.assert_array_equal(_read(store, track, 0, 4_000), whole)
        np.testing.assert_array_equal(_read(store, track, 1_234, 10), whole[1_234:1_244])
        # zeros, not the neighbouring track, on both sides
        padded = np.pad(whole, (300, 500))
        np.testing.assert_array_equal(_read(store, track, -300, 4_800), padded)
        assert not _read(store, track, 4_000, 50).any()
        assert not _read(store, track, -60, 50).any()
        out = np.full(4_800, -1, store.sample_type)
        store.read(track, -300, out)
        np.testing.assert_array_equal(out, np.pad(_samples(track), (300, 500)))
    assert not _read(store, 1, 0, 100).any()


def test_bad_tracks_are_listed_or_raised(paths: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = open_or_make_store(tmp_path, "corpus", paths, RATE_HZ, "skip")
    assert list(store.skipped) == [1]
    assert "1.wav" in store.skipped[1]
    assert "1.wav" in caplog.text
    with pytest.raises(AudioFileError, match=r"1\.wav.*on_bad_audio skip"):
        open_or_make_store(tmp_path, "corpus", paths, RATE_HZ, "raise")
    with pytest.raises(AudioFileError, match=r"1\.wav"):
        open_or_make_store(tmp_path / "other", "corpus", paths, RATE_HZ, "raise")
    with pytest.raises(AudioFileError, match=r"none of 1 can.*1\.wav"):
        open_or_make_store(tmp_path, "corpus", paths[1:2], RATE_HZ, "skip")


def test_size_is_told_before_it_is_written(
    paths: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(paths[1], np.tile(_samples(1), 3_000), RATE_HZ)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1_000}))
    with pytest.raises(FileNotWritten, match=r"cache_dir.*cache false"):
        open_or_make_store(tmp_path, "corpus", paths, RATE_HZ)
    assert "3 tracks, once, to about 0.02 GB" in caplog.text
    assert not list(tmp_path.rglob("samples.i16"))


@pytest.mark.parametrize("lost", ["", "half a line", "half a track"])
def test_a_killed_run_goes_on(paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    soundfile.write(paths[1], _samples(1), RATE_HZ, subtype="PCM_16")
    whole = open_or_make_store(tmp_path / "whole", "corpus", paths, RATE_HZ)
    decoded: list[str] = []
    decode = pcm_store._decode

    def stop_at_the_third(path: Path, sample_rate_hz: int) -> np.ndarray:
        if path.name == "2.wav":
            raise KeyboardInterrupt
        return decode(path, sample_rate_hz)

    def count(path: Path, sample_rate_hz: int) -> np.ndarray:
        decoded.append(path.name)
        return decode(path, sample_rate_hz)

    monkeypatch.setattr(pcm_store, "_decode", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        open_or_make_store(tmp_path / "killed", "corpus", paths, RATE_HZ)
    (partial,) = (tmp_path / "killed").glob("*.partial")
    journal, samples = partial / "journal.jsonl", partial / "samples.i16"
    if lost == "half a line":
        journal.write_bytes(journal.read_bytes()[:-3])
    elif lost == "half a track":
        samples.write_bytes(samples.read_bytes()[:-10])
    monkeypatch.setattr(pcm_store, "_decode", count)
    store = open_or_make_store(tmp_path / "killed", "corpus", paths, RATE_HZ)
    assert decoded == (["1.wav", "2.wav"] if lost else ["2.wav"])
    np.testing.assert_array_equal(store.samples, whole.samples)
    assert store.offsets.tolist() == whole.offsets.tolist()
    assert not list((tmp_path / "killed").glob("*.partial"))
    decoded.clear()
    open_or_make_store(tmp_path / "killed", "corpus", paths, RATE_HZ)
    assert not decoded


@pytest.mark.parametrize("damage", ["samples.i16", "offsets.npy", "store.json"])
def test_a_damaged_store_is_detected(paths: list[Path], tmp_path: Path, damage: str) -> None:
    store = open_or_make_store(tmp_path, "corpus", paths, RATE_HZ, "skip")
    file = store.folder / damage
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(FileDamaged, match="Delete the folder"):
        open_or_make_store(tmp_path, "corpus", paths, RATE_HZ, "skip")


def test_another_file_or_rate_makes_another_store(paths: list[Path], tmp_path: Path) -> None:
    first = open_or_make_store(tmp_path, "corpus", paths, RATE_HZ, "skip")
    slower = open_or_make_store(tmp_path, "corpus", paths, 8_000, "skip")
    assert slower.lengths.tolist() == [2_000, 0, 2_000]
    soundfile.write(paths[0], _samples(7), RATE_HZ, subtype="PCM_16")
    changed = open_or_make_store(tmp_path, "corpus", paths, RATE_HZ, "skip")
    assert len({first.folder, slower.folder, changed.folder}) == 3
    np.testing.assert_array_equal(_read(changed, 0, 0, 4_000), _samples(7) / np.float32(32_768))


def test_loud_samples_are_clipped_not_wrapped(tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    soundfile.write(path, np.array([1.5, -1.5, 0.25], np.float32), RATE_HZ, subtype="FLOAT")
    store = open_or_make_store(tmp_path, "corpus", [path], RATE_HZ)
    assert store.samples.tolist() == [32_767, -32_768, 8_192]


def test_a_worker_maps_the_file_itself(paths: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    store = open_or_make_store(tmp_path, "corpus", paths, RATE_HZ, "skip")
    sent = pickle.dumps(store)
    assert len(sent) < 1_000 < store.samples.nbytes
    np.testing.assert_array_equal(pickle.loads(sent).samples, store.samples)
