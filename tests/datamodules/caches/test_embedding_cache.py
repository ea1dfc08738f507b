"""Embeddings are computed once, again when anything changes, and never half kept."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pytest
import soundfile
import torch

from datamodules.caches import embedding_cache
from datamodules.caches.embedding_cache import EmbeddingCache, WaveformFrontEnd, open_or_make_cache
from sound.errors import AudioFileError
from storage.errors import FileDamaged
from tests.datamodules.counting_front_end import FRAME_SAMPLES, CountingFrontEnd
from tests.faults import names

RATE_HZ = 16_000
NUM_CLIPS = 7


def _open(
    parent: Path, paths: Sequence[Path], frontend: CountingFrontEnd, on_bad_audio: Literal["raise", "skip"] = "raise"
) -> EmbeddingCache:
    own = cast(WaveformFrontEnd, frontend)
    return open_or_make_cache(parent, "tiny", paths, own, torch.device("cpu"), on_bad_audio)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Clips of 1, 2, ... frames and a rest, in an order that is not that of names."""
    generator = np.random.default_rng(0)
    made = []
    for number in range(NUM_CLIPS):
        made.append(tmp_path / f"{(3 * number) % NUM_CLIPS}.wav")
        waveform = generator.uniform(-0.8, 0.8, FRAME_SAMPLES * (number + 1) - 300)
        soundfile.write(made[-1], waveform, RATE_HZ, subtype="FLOAT")
    return made


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_cache, "_CLIPS_PER_PART", 2)


@pytest.mark.usefixtures("small_parts")
def test_frames_and_means_are_those_of_the_front_end_in_the_order_given(tmp_path: Path, paths: list[Path]) -> None:
    cache = _open(tmp_path / "cache", paths, CountingFrontEnd())
    for position, path in enumerate(paths):
        samples = np.zeros((position + 1, FRAME_SAMPLES), np.float32)
        samples.reshape(-1)[:-300] = soundfile.read(path, dtype="float32")[0]
        expected = np.stack([abs(samples).max(1), abs(samples).mean(1), np.ones(position + 1)], axis=1)
        np.testing.assert_allclose(cache.clip_frames(position), expected, rtol=1e-5)
        np.testing.assert_allclose(cache.mean[position], expected.mean(axis=0), rtol=1e-5)
    assert cache.offsets.tolist() == [0, 1, 3, 6, 10, 15, 21, 28]
    assert cache.frames.dtype == cache.mean.dtype == np.float32
    assert cache.skipped == {}


def test_arrays_are_mapped_and_read_only(tmp_path: Path, paths: list[Path]) -> None:
    cache = _open(tmp_path / "cache", paths, CountingFrontEnd())
    assert isinstance(cache.frames, np.memmap)
    assert isinstance(cache.mean, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        cache.mean[0] = 0


def test_made_once_then_opened(tmp_path: Path, paths: list[Path]) -> None:
    frontend = CountingFrontEnd()
    made = _open(tmp_path / "cache", paths, frontend)
    assert frontend.lengths == [FRAME_SAMPLES * (number + 1) - 300 for number in range(NUM_CLIPS)]
    assert frontend.rates_hz == [RATE_HZ] * NUM_CLIPS
    again = CountingFrontEnd(calls_until_failure=0)
    opened = _open(tmp_path / "cache", paths, again)
    assert opened.folder == made.folder
    np.testing.assert_array_equal(opened.frames, made.frames)


@pytest.mark.usefixtures("small_parts")
def test_nothing_but_the_four_documented_files_is_left(tmp_path: Path, paths: list[Path]) -> None:
    cache = _open(tmp_path / "cache", paths, CountingFrontEnd())
    assert names(cache.folder) == {"frames.npy", "offsets.npy", "mean.npy", "cache.json"}
    assert names(cache.folder.parent) - {f"{cache.folder.name}.lock"} == {
        f"{cache.folder.name}/{name}" for name in names(cache.folder)
    }
    assert [path for path in cache.folder.parent.iterdir() if path.is_dir()] == [cache.folder]


def test_other_settings_make_another_cache(tmp_path: Path, paths: list[Path]) -> None:
    first = _open(tmp_path / "cache", paths, CountingFrontEnd())
    second = _open(tmp_path / "cache", paths, CountingFrontEnd(gain=2.0))
    assert first.folder != second.folder
    np.testing.assert_allclose(second.mean, 2 * first.mean, rtol=1e-6)


def test_changed_content_makes_another_cache(tmp_path: Path, paths: list[Path]) -> None:
    first = _open(tmp_path / "cache", paths, CountingFrontEnd())
    before = paths[2].stat()
    soundfile.write(paths[2], np.full(FRAME_SAMPLES, 0.25), RATE_HZ, subtype="FLOAT")
    os.utime(paths[2], ns=(before.st_atime_ns, before.st_mtime_ns))  # the size alone tells
    frontend = CountingFrontEnd()
    second = _open(tmp_path / "cache", paths, frontend)
    assert second.folder != first.folder
    np.testing.assert_allclose(second.mean[2], [0.25, 0.25, 1.0])
    assert len(frontend.lengths) == NUM_CLIPS


def test_another_time_or_list_makes_another_cache(tmp_path: Path, paths: list[Path]) -> None:
    first = _open(tmp_path / "cache", paths, CountingFrontEnd())
    status = paths[2].stat()
    os.utime(paths[2], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    whole = _open(tmp_path / "cache", paths, CountingFrontEnd())
    shorter = _open(tmp_path / "cache", paths[:-1], CountingFrontEnd())
    reverse = _open(tmp_path / "cache", paths[::-1], CountingFrontEnd())
    assert len({first.folder, whole.folder, shorter.folder, reverse.folder}) == 4
    np.testing.assert_array_equal(shorter.mean, whole.mean[:-1])
    np.testing.assert_array_equal(reverse.mean, whole.mean[::-1])


@pytest.mark.usefixtures("small_parts")
def test_a_killed_run_is_gone_on_with(tmp_path: Path, paths: list[Path]) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        _open(tmp_path / "cache", paths, CountingFrontEnd(calls_until_failure=5))
    assert not [path for path in (tmp_path / "cache").glob("tiny-*") if path.suffix == "" and path.is_dir()]
    frontend = CountingFrontEnd()
    cache = _open(tmp_path / "cache", paths, frontend)
    assert frontend.lengths == [FRAME_SAMPLES * (number + 1) - 300 for number in (4, 5, 6)]  # two parts of two are done
    whole = _open(tmp_path / "another", paths, CountingFrontEnd())
    np.testing.assert_array_equal(cache.frames, whole.frames)
    np.testing.assert_array_equal(cache.mean, whole.mean)
    assert not list((tmp_path / "cache").glob("*.partial"))


@pytest.mark.parametrize("name", ["frames.npy", "offsets.npy", "mean.npy", "cache.json"])
@pytest.mark.parametrize("kept_share", [None, 0.0, 0.7])
def test_damaged_cache_says_what_to_delete(
    tmp_path: Path, paths: list[Path], name: str, kept_share: float | None
) -> None:
    file = _open(tmp_path / "cache", paths, CountingFrontEnd()).folder / name
    content = file.read_bytes()
    file.unlink()
    if kept_share is not None:
        file.write_bytes(content[: int(kept_share * len(content))])
    with pytest.raises(FileDamaged, match="Delete the folder") as caught:
        _open(tmp_path / "cache", paths, CountingFrontEnd())
    assert str(file.parent) in str(caught.value)


@pytest.mark.parametrize("name", ["offsets.npy", "mean.npy", "frames.npy"])
def test_arrays_that_disagree_are_refused(tmp_path: Path, paths: list[Path], name: str) -> None:
    file = _open(tmp_path / "cache", paths, CountingFrontEnd()).folder / name
    described = file.with_name("cache.json")
    described.write_text(json.dumps(json.loads(described.read_text()) | {"files": {}}))  # as of before checksums
    np.save(file, np.load(file)[:-1])
    with pytest.raises(FileDamaged, match=r"found arrays that disagree \("):
        _open(tmp_path / "cache", paths, CountingFrontEnd())


def test_bad_file_stops_a_run_that_is_to_raise(tmp_path: Path, paths: list[Path]) -> None:
    paths[3].write_bytes(b"no audio")
    with pytest.raises(AudioFileError, match=str(paths[3])):
        _open(tmp_path / "cache", paths, CountingFrontEnd(), "raise")


@pytest.mark.usefixtures("small_parts")
def test_skipped_files_are_listed_and_have_no_frames(
    tmp_path: Path, paths: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    whole = _open(tmp_path / "whole", paths, CountingFrontEnd())
    good = [0, 1, 2, 4, 5]
    expected = whole.mean[good].copy()
    paths[3].write_bytes(b"no audio")
    paths[6].unlink()
    cache = _open(tmp_path / "cache", paths, CountingFrontEnd(), "skip")
    assert set(cache.skipped) == {3, 6}
    assert str(paths[3]) in cache.skipped[3]
    assert str(paths[6]) in cache.skipped[6]
    assert str(paths[3]) in caplog.text
    assert cache.clip_frames(3).shape == (0, 3)
    assert not cache.mean[[3, 6]].any()
    np.testing.assert_array_equal(cache.mean[good], expected)
    assert cache.skipped == _open(tmp_path / "cache", paths, CountingFrontEnd(calls_until_failure=0), "skip").skipped


def test_cache_made_with_skip_is_refused_by_raise(tmp_path: Path, paths: list[Path]) -> None:
    paths[3].write_bytes(b"no audio")
    _open(tmp_path / "cache", paths, CountingFrontEnd(), "skip")
    with pytest.raises(AudioFileError, match="one of 1 that cannot be embedded") as caught:
        _open(tmp_path / "cache", paths, CountingFrontEnd(), "raise")
    assert str(paths[3]) in str(caught.value)
    assert "--data.on_bad_audio skip" in str(caught.value)


def test_every_file_bad_is_no_crash_where_bad_ones_are_skipped(tmp_path: Path, paths: list[Path]) -> None:
    for path in paths:
        path.write_bytes(b"")
    cache = _open(tmp_path / "cache", paths, CountingFrontEnd(), "skip")
    assert set(cache.skipped) == set(range(NUM_CLIPS))
    assert cache.frames.shape == (0, 3)


_PROCESS = """
import sys
import time
from pathlib import Path
from tests.datamodules.counting_front_end import CountingFrontEnd
from tests.datamodules.caches.test_embedding_cache import _open

folder = Path(sys.argv[1])
(folder / "ready").touch()
while not (folder / "go").exists():
    time.sleep(0.001)
frontend = CountingFrontEnd(call_log=folder / "calls")
cache = _open(folder / "cache", [folder / name for name in sys.argv[2:]], frontend)
print(float(cache.mean.sum()))
"""


@pytest.mark.processes
def test_two_processes_at_once_compute_it_once(tmp_path: Path, paths: list[Path]) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", _PROCESS, str(tmp_path), *[path.name for path in paths]],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        text=True,
    )
    while other.poll() is None and not (tmp_path / "ready").exists():
        time.sleep(0.01)
    (tmp_path / "go").touch()
    cache = _open(tmp_path / "cache", paths, CountingFrontEnd(call_log=tmp_path / "calls"))
    output, _ = other.communicate(timeout=60)
    assert other.returncode == 0
    assert float(output) == float(cache.mean.sum())
    assert len((tmp_path / "calls").read_text().splitlines()) == NUM_CLIPS


@pytest.mark.usefixtures("small_parts")
def test_who_finds_the_lock_taken_waits_and_then_opens(tmp_path: Path, paths: list[Path]) -> None:
    slow, waiting = CountingFrontEnd(seconds_a_call=0.05), CountingFrontEnd()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(_open, tmp_path / "cache", paths, slow)
        while not slow.lengths and not first.done():
            time.sleep(0.001)
        second = pool.submit(_open, tmp_path / "cache", paths, waiting)
        np.testing.assert_array_equal(second.result().mean, first.result().mean)
    assert len(slow.lengths) == NUM_CLIPS
    assert waiting.lengths == []
