"""Caches under faults: full disks, cut and flipped files, other versions, and what killed processes left."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import soundfile
import torch

from datamodules.batches.fingerprint_rows import write_parts
from datamodules.caches import embedding_cache, pcm_store
from datamodules.caches.embedding_cache import WaveformFrontEnd, open_or_make_cache
from datamodules.caches.pcm_store import open_or_make_store
from datamodules.distortion import simulated_rooms
from datamodules.distortion.simulated_rooms import open_or_simulate
from storage.atomic import writing_folder
from storage.errors import FileDamaged, FileNotWritten
from tests.datamodules.counting_front_end import FRAME_SAMPLES, CountingFrontEnd
from tests.faults import cut, flip_byte, limited_file_size, names, small_disk

RATE_HZ = 16_000
NUM_CLIPS = 4
Open = Callable[[Path], np.ndarray]


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setattr(embedding_cache, "_CLIPS_PER_PART", 2)
    (tmp_path / "clips").mkdir()
    made = [tmp_path / "clips" / f"{number}.wav" for number in range(NUM_CLIPS)]
    for number, path in enumerate(made):
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, FRAME_SAMPLES * 40)
        soundfile.write(path, noise, RATE_HZ, subtype="PCM_16")
    return made


def _opener(kind: str, paths: list[Path]) -> Open:
    """Return what opens or makes a cache in a folder and returns all that it serves as one row."""

    def embeddings(folder: Path) -> np.ndarray:
        front_end = cast(WaveformFrontEnd, CountingFrontEnd())
        cache = open_or_make_cache(folder, "tiny", paths, front_end, torch.device("cpu"))
        return np.concatenate([cache.frames.ravel(), cache.mean.ravel()])

    def samples(folder: Path) -> np.ndarray:
        store = open_or_make_store(folder, "tiny", paths, RATE_HZ)
        return np.concatenate([store.samples, store.lengths])

    def rooms(folder: Path) -> np.ndarray:
        pytest.importorskip("pyroomacoustics")
        found = open_or_simulate(folder, 1, 0, (0.2, 0.2), (), RATE_HZ, 0)
        return np.concatenate([np.concatenate([room.response, room.geometry_metres]) for room in found])

    return {"embeddings": embeddings, "samples": samples, "rooms": rooms}[kind]


def _files(folder: Path) -> list[Path]:
    """Return the files of the one cache in a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


KINDS = pytest.mark.parametrize("kind", ["embeddings", "samples", "rooms"])


@KINDS
def test_a_full_disk_is_told_and_the_next_run_goes_on(tmp_path: Path, paths: list[Path], kind: str) -> None:
    open_cache = _opener(kind, paths)
    expected = open_cache(tmp_path / "whole")
    largest = max(path.stat().st_size for path in _files(tmp_path / "whole"))
    for num_bytes in (largest - 1, largest // 3, 200):
        with (
            limited_file_size(num_bytes),
            pytest.raises(FileNotWritten, match="expected to write it whole, found") as caught,
        ):
            open_cache(tmp_path / "cache")
        assert "Make room or name another disk with --data.cache_dir" in str(caught.value)
        hidden = [name for name in names(tmp_path / "cache") if Path(name).name.startswith(".")]
        assert hidden == []
        assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix not in (".lock", ".partial")]
    np.testing.assert_array_equal(open_cache(tmp_path / "cache"), expected)
    assert names(tmp_path / "cache") == names(tmp_path / "whole")


@pytest.mark.processes
@pytest.mark.parametrize("kind", ["embeddings", "samples"])
def test_a_disk_that_is_really_full_does_not_end_the_process(tmp_path: Path, paths: list[Path], kind: str) -> None:
    """Memory that is mapped to a full disk ends it by SIGBUS as soon as it is written to."""
    with small_disk(tmp_path / "disk", 16) as disk:
        with pytest.raises(FileNotWritten, match=r"expected to write it whole, found|expected room for"):
            _opener(kind, paths)(disk / "cache")
        assert len(_opener(kind, paths)(tmp_path / "cache"))


def test_columns_of_fingerprints_are_removed_where_they_do_not_fit(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((100, 8), np.float32)
    whole = tmp_path / "whole"
    whole.mkdir()
    write_parts(whole, [("train", 2, iter([{"fingerprint": rows}, {"fingerprint": rows + 1}]))])
    np.testing.assert_array_equal(np.load(whole / "train" / "fingerprint.npy"), np.concatenate([rows, rows + 1]))
    for num_bytes in (2 * rows.nbytes + 127, rows.nbytes + 5, 5):
        parts = [("train", 2, iter([{"fingerprint": rows}, {"fingerprint": rows + 1}]))]
        with (
            limited_file_size(num_bytes),
            pytest.raises(FileNotWritten, match="cache: expected to write it whole"),
            writing_folder(tmp_path / "cache") as partial,
        ):
            write_parts(partial, parts)
        assert [path.name for path in tmp_path.iterdir()] == ["whole"]


@KINDS
def test_a_file_cut_anywhere_is_never_read_as_good(tmp_path: Path, paths: list[Path], kind: str) -> None:
    open_cache = _opener(kind, paths)
    open_cache(tmp_path / "cache")
    for path in _files(tmp_path / "cache"):
        content = path.read_bytes()
        for num_bytes in (1, 2, 40, len(content) // 2, len(content) - 1, len(content)):
            cut(path, num_bytes)
            with pytest.raises(FileDamaged, match=r"expected .* found .*[Dd]elete the f"):
                open_cache(tmp_path / "cache")
            path.write_bytes(content)
    open_cache(tmp_path / "cache")


@KINDS
def test_a_flipped_byte_is_noticed_or_harmless(tmp_path: Path, paths: list[Path], kind: str) -> None:
    """Harmless are dates in a zip file, and the samples of tracks: only their size is looked at, as documented."""
    open_cache = _opener(kind, paths)
    expected = open_cache(tmp_path / "cache")
    num_noticed = 0
    for path in _files(tmp_path / "cache"):
        if path.name == "samples.i16":
            continue
        content = path.read_bytes()
        for position in np.linspace(0, len(content) - 1, 25).astype(int).tolist():
            flip_byte(path, position)
            try:
                found = open_cache(tmp_path / "cache")
            except FileDamaged:
                num_noticed += 1
            else:
                np.testing.assert_array_equal(found, expected)
            path.write_bytes(content)
    assert num_noticed >= 20


@pytest.mark.parametrize(("kind", "module"), [("embeddings", embedding_cache), ("samples", pcm_store)])
def test_another_version_is_never_read(
    tmp_path: Path, paths: list[Path], monkeypatch: pytest.MonkeyPatch, kind: str, module: object
) -> None:
    monkeypatch.setattr(module, "FORMAT_VERSION", 0)
    open_cache = _opener(kind, paths)
    open_cache(tmp_path / "cache")
    (earlier,) = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    monkeypatch.undo()
    open_cache(tmp_path / "cache")
    (now,) = [path for path in (tmp_path / "cache").iterdir() if path.is_dir() and path != earlier]
    shutil.rmtree(now)
    earlier.rename(now)  # as if versions were not in its name
    with pytest.raises(FileDamaged, match=r"expected a cache of format_version 1, found one of 0\. Delete the folder"):
        open_cache(tmp_path / "cache")


def test_rooms_of_another_version_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_cache = _opener("rooms", [])
    monkeypatch.setattr(simulated_rooms, "FORMAT_VERSION", 0)
    open_cache(tmp_path)
    monkeypatch.undo()
    open_cache(tmp_path)
    assert len(list(tmp_path.glob("rooms-*.npz"))) == 2


@pytest.mark.parametrize("kind", ["embeddings", "samples"])
def test_caches_of_before_checksums_are_still_read(tmp_path: Path, paths: list[Path], kind: str) -> None:
    open_cache = _opener(kind, paths)
    expected = open_cache(tmp_path / "cache")
    (described,) = [path for path in _files(tmp_path / "cache") if path.suffix == ".json"]
    content = json.loads(described.read_text())
    assert content.pop("files")
    described.write_text(json.dumps(content))
    np.testing.assert_array_equal(open_cache(tmp_path / "cache"), expected)


def test_a_damaged_part_is_computed_again(tmp_path: Path, paths: list[Path]) -> None:
    def open_cache(front_end: CountingFrontEnd) -> np.ndarray:
        device = torch.device("cpu")
        return open_or_make_cache(tmp_path / "cache", "tiny", paths, cast(WaveformFrontEnd, front_end), device).frames

    with pytest.raises(RuntimeError, match="killed"):
        open_cache(CountingFrontEnd(calls_until_failure=3))
    (part,) = (tmp_path / "cache").rglob("*.npz")
    flip_byte(part, 300)
    with pytest.raises(FileDamaged, match=r"found it damaged .* and deleted it\. Run the command again"):
        open_cache(CountingFrontEnd())
    again = CountingFrontEnd()
    frames = open_cache(again)
    assert len(again.lengths) == 2  # those of the damaged part
    assert len(frames) == NUM_CLIPS * 40
    assert np.isfinite(frames).all()


def test_a_damaged_journal_is_gone_on_with_before_the_damage(tmp_path: Path, paths: list[Path]) -> None:
    expected = _opener("samples", paths)(tmp_path / "whole")
    with limited_file_size(3 * 2 * 40 * FRAME_SAMPLES - 1), pytest.raises(FileNotWritten, match="expected to write"):
        _opener("samples", paths)(tmp_path / "cache")
    (journal,) = (tmp_path / "cache").rglob("journal.jsonl")
    assert len(journal.read_text().splitlines()) == 2
    flip_byte(journal, -5)
    np.testing.assert_array_equal(_opener("samples", paths)(tmp_path / "cache"), expected)
