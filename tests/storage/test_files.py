"""A full disk is noticed to the last byte, and what killed processes left is cleared."""

import os
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from storage.files import clear_stale, save_array, save_faiss, sync_files
from tests.faults import limited_file_size


@pytest.mark.parametrize(
    "array",
    [
        np.arange(2000, dtype=np.float32),
        np.arange(12).reshape(3, 4).T,
        np.zeros((0, 3), np.float32),
        np.array(["ü", "bc"]),
        np.array(3, np.float32),
        np.array([True, False]),
    ],
    ids=str,
)
def test_arrays_are_those_of_numpy_byte_by_byte(tmp_path: Path, array: np.ndarray) -> None:
    save_array(tmp_path / "ours.npy", array)
    np.save(tmp_path / "numpys.npy", np.ascontiguousarray(array) if np.ndim(array) else array)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpys.npy").read_bytes()


@pytest.mark.parametrize("num_missing", [1, 100, 4000, 7000])
def test_an_array_that_does_not_fit_is_an_error(tmp_path: Path, num_missing: int) -> None:
    """`numpy.save` itself loses one byte, or a hundred, without a word."""
    array = np.arange(2000, dtype=np.float32)
    with limited_file_size(128 + array.nbytes - num_missing), pytest.raises(OSError, match="too large"):
        save_array(tmp_path / "array.npy", array)
    with limited_file_size(128 + array.nbytes):
        save_array(tmp_path / "array.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "array.npy"), array)


@pytest.mark.parametrize("num_missing", [1, 100, 4000])
@pytest.mark.parametrize("is_binary", [False, True])
def test_a_faiss_index_that_does_not_fit_is_an_error(tmp_path: Path, num_missing: int, is_binary: bool) -> None:
    generator = np.random.default_rng(0)
    index: Any = faiss.IndexBinaryFlat(64) if is_binary else faiss.IndexFlatL2(16)
    index.add(
        generator.integers(0, 256, (1001, 8), np.uint8) if is_binary else generator.random((1001, 16), np.float32)
    )
    path = tmp_path / "index"
    save_faiss(path, index)
    read = faiss.read_index_binary if is_binary else faiss.read_index
    assert read(str(path)).ntotal == 1001
    num_bytes = path.stat().st_size
    with limited_file_size(num_bytes - num_missing), pytest.raises(OSError, match="too large"):
        save_faiss(path, index)


def test_only_what_nobody_writes_to_is_cleared(tmp_path: Path) -> None:
    hour = 3600
    for name, age in ((".a.npy.1", 2 * hour), (".a.npy.2", 60), ("a.npy", 2 * hour), (".b.npy.1", 2 * hour)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    for name, age in ((".i.new-1", 2 * hour), (".i.new-2", 60)):  # of the second, one file is still being written
        (tmp_path / name).mkdir()
        (tmp_path / name / "vectors").write_text("")
        os.utime(tmp_path / name / "vectors", (time.time() - age,) * 2)
        os.utime(tmp_path / name, (time.time() - 2 * hour,) * 2)
    clear_stale(tmp_path, ".a.npy.*")
    clear_stale(tmp_path, ".i.new-*")
    assert {path.name for path in tmp_path.iterdir()} == {".a.npy.2", "a.npy", ".b.npy.1", ".i.new-2"}


def test_a_quota_that_shows_late_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(122, "Disk quota exceeded")

    (tmp_path / "file").write_text("x")
    sync_files(tmp_path)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="quota"):
        sync_files(tmp_path)
