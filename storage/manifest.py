"""What files must be: recorded when they are written, compared when they are opened."""

import functools
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from storage.errors import ChecksumMismatch, FileDamaged

_CHUNK_BYTES = 1 << 22
_CHECKED_BYTES = 1 << 28  # reading more takes longer than a quarter second, and a file may be larger than memory
_ALGORITHMS = ("sha256", "md5")


@dataclass(frozen=True)
class FileRecord:
    """What a file must be: its size in bytes and CRC-32; None where none was kept."""

    num_bytes: int
    crc32: int | None


def record_file(path: Path) -> FileRecord:
    """Read a file for its size and checksum."""
    crc32, num_bytes = 0, 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            crc32, num_bytes = zlib.crc32(chunk, crc32), num_bytes + len(chunk)
    return FileRecord(num_bytes, crc32)


def record_files(folder: Path, names: Iterable[str]) -> dict[str, tuple[int, int | None]]:
    """Return size and checksum of files by name, as values JSON can hold."""
    return {name: astuple(record_file(folder / name)) for name in names}


def check_size(path: Path, record: FileRecord, advice: str) -> None:
    """Check that a file is there and as long as it was.

    Args:
        path: The file.
        record: What it was.
        advice: What a user does where it is not, in a sentence.

    Raises:
        FileDamaged: If it is not.
    """
    found = path.stat().st_size if path.is_file() else "no file"
    if found != record.num_bytes:
        raise FileDamaged(f"{path}: expected {record.num_bytes} bytes, found {found}. {advice}")


def check_content(path: Path, record: FileRecord, advice: str) -> None:
    """Check size and checksum of a file, which reads it.

    Raises:
        FileDamaged: If they are others.
    """
    check_size(path, record, advice)
    found = record_file(path).crc32
    if record.crc32 is not None and found != record.crc32:
        raise FileDamaged(f"{path}: expected checksum {record.crc32:08x}, found {found:08x}. {advice}")


def check_files(folder: Path, records: Mapping[str, Any], advice: str) -> None:
    """Compare files to what `record_files` returned; of those above 256 MB only the size.

    Raises:
        FileDamaged: If one is missing or differs.
    """
    for name, values in records.items():
        record = FileRecord(*values)
        check = check_content if record.num_bytes <= _CHECKED_BYTES else check_size
        check(folder / name, record, advice)


def check_description(folder: Path, found: Mapping[str, object], expected: Mapping[str, object]) -> None:
    """Compare what a cache says it was made from to what it should be.

    Raises:
        FileDamaged: If it is of another version of its format, or of something else.
    """
    differing = [name for name, value in json.loads(json.dumps(expected)).items() if found.get(name) != value]
    if differing:
        name = differing[0]
        raise FileDamaged(
            f"{folder}: expected a cache of {name} {expected[name]}, found one of {found.get(name)}. Delete the "
            "folder; it is made again."
        )


def hash_stats(paths: Iterable[Path]) -> str:
    """Return a hash of every file's name, folder, size and time of change; of missing ones too."""
    files = hashlib.sha256()
    for path in paths:
        status = path.stat() if path.is_file() else None
        size, changed_ns = (status.st_size, status.st_mtime_ns) if status else (-1, 0)
        files.update(f"{path.parent.name}/{path.name}\0{size}\0{changed_ns}\n".encode())
    return files.hexdigest()


def hash_json(content: object) -> str:
    """Return the SHA-256 of values that JSON can hold, whatever the order of their names."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, which is read again only when it has changed."""
    status = path.stat()
    return _hash_unchanged(path, status.st_size, status.st_mtime_ns)


def verify_file(path: Path, checksum: str) -> None:
    """Compare a file's checksum as published.

    Args:
        path: The file.
        checksum: Algorithm and digest, `sha256:...` or `md5:...`.

    Raises:
        ValueError: If `checksum` names another algorithm or none.
        ChecksumMismatch: If it differs.
    """
    algorithm, _, expected = checksum.partition(":")
    if algorithm not in _ALGORITHMS:
        raise ValueError(
            f"A checksum is algorithm:digest with one of {', '.join(_ALGORITHMS)}; got {checksum!r}. Write "
            f"{_ALGORITHMS[0]}: before the digest."
        )
    found = _digest(path, algorithm)
    if found != expected:
        raise ChecksumMismatch(
            f"{path}: expected {algorithm} {expected}, found {found}. Delete the file and try again; if the release "
            "itself has changed, unpack it yourself and name its folder."
        )


@functools.cache
def _hash_unchanged(path: Path, _num_bytes: int, _modified_ns: int) -> str:
    return _digest(path, "sha256")


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
