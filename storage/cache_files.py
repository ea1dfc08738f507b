"""Files of a cache: written whole or not at all, and recognised by size and checksum when the cache is opened."""

import contextlib
import glob
import hashlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from datamodules.errors import CacheError

_CHUNK_BYTES = 1 << 22
_CHECKED_BYTES = 1 << 28  # of larger files only the size is looked at: reading them takes longer than a quarter second
_STALE_SECONDS = 3600  # what is being written changes more often


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have a file written beside its place, then put it there; it is on the disk when this returns.

    Args:
        path: Where to; its folder is there.
        write: Writes into the file it is given.

    Raises:
        CacheError: If the disk is full, or the file can't be written for another reason.
    """
    _clear_stale(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with naming_disk_errors(path), temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming_disk_errors(path: Path) -> Iterator[None]:
    """Say which file or folder can't be written, and what to do.

    Raises:
        CacheError: If an `OSError` is raised inside.
    """
    try:
        yield
    except OSError as error:
        raise CacheError(
            f"{path}: expected to write it whole, found {error}. Make room or name another disk with --data.cache_dir, "
            "then run the command again; what is finished is kept."
        ) from error


def append_array(file: BinaryIO, array: np.ndarray) -> None:
    """Write the bytes of an array; unlike `tofile`, this raises where a disk fills up with the last of them.

    Raises:
        OSError: If it can't be written.
    """
    if array.size:  # memory of no bytes is refused
        file.write(np.ascontiguousarray(array).data)


def write_header(file: BinaryIO, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """Begin a .npy file, whose rows are appended later; `numpy.lib.format.open_memmap` dies where the disk is full."""
    descr = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as .npy.

    Raises:
        CacheError: If it can't be written.
    """

    def write(file: BinaryIO) -> None:
        write_header(file, array.dtype, array.shape)
        append_array(file, array)

    write_file(path, write)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write values as JSON.

    Raises:
        CacheError: If they can't be written.
    """
    write_file(path, lambda file: file.write(json.dumps(content, indent=1).encode()))


def hash_corpus(paths: Iterable[Path]) -> str:
    """Return a hash of every file's name, folder, size and time of change; of missing ones too."""
    files = hashlib.sha256()
    for path in paths:
        status = path.stat() if path.is_file() else None
        size, changed_ns = (status.st_size, status.st_mtime_ns) if status else (-1, 0)
        files.update(f"{path.parent.name}/{path.name}\0{size}\0{changed_ns}\n".encode())
    return files.hexdigest()


def record_files(folder: Path, names: Iterable[str]) -> dict[str, list[int]]:
    """Return size in bytes and CRC-32 of files, as values JSON can hold."""
    return {name: [(folder / name).stat().st_size, _crc32(folder / name)] for name in names}


def check_files(folder: Path, records: Mapping[str, Any]) -> None:
    """Compare files to what `record_files` returned; of those above 256 MB only the size.

    Raises:
        CacheError: If one is missing or differs.
    """
    for name, (num_bytes, crc32) in records.items():
        path = folder / name
        found = path.stat().st_size if path.is_file() else "no file"
        if found != num_bytes:
            raise CacheError(f"{path}: expected {num_bytes} bytes, found {found}. Delete the folder {folder}.")
        if num_bytes <= _CHECKED_BYTES and _crc32(path) != crc32:
            raise CacheError(
                f"{path}: expected what was written (checksum {crc32:08x}), found it damaged ({_crc32(path):08x}). "
                f"Delete the folder {folder}."
            )


def check_description(folder: Path, found: Mapping[str, object], expected: Mapping[str, object]) -> None:
    """Compare what a cache says it was made from to what it should be.

    Raises:
        CacheError: If it is of another version of its format, or of something else.
    """
    differing = [name for name, value in json.loads(json.dumps(expected)).items() if found.get(name) != value]
    if differing:
        name = differing[0]
        raise CacheError(
            f"{folder}: expected a cache of {name} {expected[name]}, found one of {found.get(name)}. Delete the "
            "folder; it is made again."
        )


def _crc32(path: Path) -> int:
    crc32 = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            crc32 = zlib.crc32(chunk, crc32)
    return crc32


def _clear_stale(path: Path) -> None:
    """Delete what killed processes left of this file."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        with contextlib.suppress(FileNotFoundError):  # another process clears it, or has finished
            if left.stat().st_mtime < time.time() - _STALE_SECONDS:
                left.unlink()
