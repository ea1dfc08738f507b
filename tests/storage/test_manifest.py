"""A file that is not what was written is noticed, and published checksums are compared."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from storage import manifest
from storage.atomic import write_array
from storage.errors import ChecksumMismatch, FileDamaged
from storage.manifest import (
    FileRecord,
    check_content,
    check_files,
    hash_file,
    hash_json,
    hash_stats,
    record_file,
    record_files,
    verify_file,
)
from tests.faults import cut, flip_byte

ADVICE = "Ask for another."
CONTENT = bytes(range(256)) * 20


def test_only_sizes_of_large_files_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_array(tmp_path / "a.npy", np.arange(100))
    records = record_files(tmp_path, ["a.npy"])
    check_files(tmp_path, records, ADVICE)
    flip_byte(tmp_path / "a.npy", -1)
    with pytest.raises(FileDamaged, match=r"expected checksum [0-9a-f]{8}, found [0-9a-f]{8}\. Ask for another"):
        check_files(tmp_path, records, ADVICE)
    monkeypatch.setattr(manifest, "_CHECKED_BYTES", 500)
    check_files(tmp_path, records, ADVICE)
    cut(tmp_path / "a.npy", 1)
    with pytest.raises(FileDamaged, match="expected 928 bytes, found 927"):
        check_files(tmp_path, records, ADVICE)
    (tmp_path / "a.npy").unlink()
    with pytest.raises(FileDamaged, match="expected 928 bytes, found no file"):
        check_files(tmp_path, records, ADVICE)


def test_where_no_checksum_was_kept_the_size_counts(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    assert record_file(path).num_bytes == len(CONTENT)
    flip_byte(path, 3)
    check_content(path, FileRecord(len(CONTENT), None), ADVICE)
    with pytest.raises(FileDamaged, match="expected 1 bytes, found 5120"):
        check_content(path, FileRecord(1, None), ADVICE)


def test_hashes_change_with_what_they_are_of(tmp_path: Path) -> None:
    path = tmp_path / "file"
    missing = hash_stats([path])
    path.write_bytes(CONTENT)
    assert hash_file(path) == hashlib.sha256(CONTENT).hexdigest()
    before = hash_stats([path])
    os.utime(path, (1, 1))
    assert len({missing, before, hash_stats([path])}) == 3
    path.write_bytes(CONTENT[1:])
    assert hash_file(path) == hashlib.sha256(CONTENT[1:]).hexdigest()
    assert hash_json({"a": 1, "b": 2}) == hash_json({"b": 2, "a": 1}) != hash_json({"a": 1, "b": 3})


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_checksum_is_that_of_the_whole_file(tmp_path: Path, algorithm: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    checksum = f"{algorithm}:{hashlib.new(algorithm, CONTENT).hexdigest()}"
    assert verify_file(path, checksum) is None  # type: ignore[func-returns-value]
    path.write_bytes(CONTENT + b"x")
    with pytest.raises(ChecksumMismatch, match=f"file: expected {algorithm} "):
        verify_file(path, checksum)


@pytest.mark.parametrize("checksum", ["0" * 64, f"sha1:{'0' * 40}", ""])
def test_checksum_without_a_known_algorithm_is_refused(tmp_path: Path, checksum: str) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    with pytest.raises(ValueError, match=r"one of sha256, md5; got .*Write sha256:"):
        verify_file(tmp_path / "file", checksum)
