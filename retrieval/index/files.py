"""The folder that an index is kept in.

index.json         kind, options, number of items, version of this format, sizes and CRC-32 of the other files
item_ids.npy       int64, ascending
index.faiss        the faiss index; index.faissbinary where it holds bits
coder.safetensors  what encodes vectors, where it is not in the faiss index
"""

import contextlib
import glob
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from storage.files import clear_stale, sync_files

FORMAT_VERSION = 1
_MANIFEST = "index.json"
_CHUNK_BYTES = 1 << 22
_CHECKED_BYTES = 1 << 28  # of larger files only the size is looked at: an index may be larger than memory


class IndexFileError(ValueError):
    """A folder does not hold an index that can be opened, or may not be replaced by one."""


class IndexNotWritten(OSError):
    """An index can't be written; what was there before is as it was."""


@dataclass(frozen=True)
class FileRecord:
    """What a file must be: its size in bytes and CRC-32."""

    num_bytes: int
    crc32: int


@dataclass(frozen=True)
class Manifest:
    """What a folder says of its index.

    Attributes:
        kind: Name of the class.
        options: Arguments of its constructor.
        num_items: Items in it.
    """

    kind: str
    options: dict[str, int | float | str | None]
    num_items: int


def write_index_folder(folder: Path, manifest: Manifest, write: Callable[[Path], None]) -> None:
    """Write a folder beside its place and move it there when it is complete.

    An earlier index is moved aside first and deleted last: whenever the process dies, a complete one is on disk, under
    its own name or, between two renames, as `.NAME.old-PID`. What killed processes left is deleted after an hour.

    Args:
        folder: Place of the index; its parent is made if it is not there.
        manifest: What to write into index.json.
        write: Writes the other files into the folder it is given.

    Raises:
        IndexFileError: If something else than an index is in the way.
        IndexNotWritten: If the disk is full; the earlier index stays.
    """
    if folder.exists() and not (folder / _MANIFEST).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise IndexFileError(f"{folder}: expected an index or no folder, found something else. Choose another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.new-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    clear_stale(folder.parent, f".{glob.escape(folder.name)}.new-*")
    try:
        with naming_disk_errors(folder):
            partial.mkdir()
            write(partial)
            records = {path.name: record_file(path) for path in sorted(partial.iterdir())}
            description = {
                "version": FORMAT_VERSION,
                "kind": manifest.kind,
                "options": manifest.options,
                "num_items": manifest.num_items,
                "file_bytes": {name: record.num_bytes for name, record in records.items()},
                "file_crc32": {name: record.crc32 for name, record in records.items()},
            }
            (partial / _MANIFEST).write_text(json.dumps(description, indent=2), encoding="utf-8")
            sync_files(partial)
        if folder.exists():
            old = folder.with_name(f".{folder.name}.old-{os.getpid()}")
            folder.replace(old)
            partial.replace(folder)
            shutil.rmtree(old)
        else:
            partial.replace(folder)
        clear_stale(folder.parent, f".{glob.escape(folder.name)}.old-*")
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def naming_disk_errors(path: Path) -> Iterator[None]:
    """Say which file or folder can't be written, and what to do.

    Raises:
        IndexNotWritten: If an `OSError` is raised inside.
    """
    try:
        yield
    except IndexNotWritten:
        raise
    except OSError as error:
        raise IndexNotWritten(
            f"{path}: expected to write it whole, found {error}. What was there before is as it was: make room or name "
            "another disk, and try again."
        ) from error


def read_manifest(folder: Path) -> Manifest:
    """Read index.json and check the other files: that they are as long as it says, and their checksums up to 256 MB.

    Raises:
        IndexFileError: If a file is missing, damaged, or of a later version.
    """
    path = folder / _MANIFEST
    if not path.is_file():
        aside = sorted(folder.parent.glob(f".{glob.escape(folder.name)}.old-*"))
        advice = f"Rename {aside[-1]}, the earlier index, to it" if aside else "Write one with Index.save"
        raise IndexFileError(f"{folder}: expected an index, found no {_MANIFEST}. {advice}.")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        version = int(description["version"])
    except (KeyError, TypeError, ValueError) as error:
        raise IndexFileError(
            f"{path}: expected a description of an index, found none ({error!r}). Build it again."
        ) from error
    if version > FORMAT_VERSION:
        raise IndexFileError(
            f"{path}: expected version {FORMAT_VERSION} or earlier, found {version}. Update this project."
        )
    try:
        manifest = Manifest(str(description["kind"]), dict(description["options"]), int(description["num_items"]))
        file_bytes = {str(name): int(size) for name, size in description["file_bytes"].items()}
        file_crc32 = {str(name): int(crc32) for name, crc32 in description.get("file_crc32", {}).items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise IndexFileError(
            f"{path}: expected a complete description, found a part ({error!r}). Build it again."
        ) from error
    for name, size in file_bytes.items():
        has_checksum = name in file_crc32 and size <= _CHECKED_BYTES
        (check_content if has_checksum else check_size)(folder / name, FileRecord(size, file_crc32.get(name, 0)))
    return manifest


def record_file(path: Path) -> FileRecord:
    """Read a file for its size and checksum."""
    crc32, num_bytes = 0, 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            crc32, num_bytes = zlib.crc32(chunk, crc32), num_bytes + len(chunk)
    return FileRecord(num_bytes, crc32)


def check_size(path: Path, record: FileRecord) -> None:
    """Check that a file is there and as long as it was.

    Raises:
        IndexFileError: If it is not.
    """
    found = path.stat().st_size if path.is_file() else "no file"
    if found != record.num_bytes:
        raise IndexFileError(
            f"{path}: expected {record.num_bytes} bytes, found {found}. Copy it again, or build the index again."
        )


def check_content(path: Path, record: FileRecord) -> None:
    """Check size and checksum of a file, which reads it.

    Raises:
        IndexFileError: If they are others.
    """
    check_size(path, record)
    found = record_file(path).crc32
    if found != record.crc32:
        raise IndexFileError(
            f"{path}: expected checksum {record.crc32:08x}, found {found:08x}. Copy it again, or build the index again."
        )


def read_item_ids(path: Path) -> np.ndarray:
    """Map ids into memory.

    Raises:
        IndexFileError: If the file holds something else.
    """
    try:
        # "c": private pages, that torch takes for writable; nobody writes
        item_ids = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise IndexFileError(f"{path}: expected ids, found a damaged file ({error}). Build it again.") from error
    if item_ids.dtype != np.int64 or item_ids.ndim != 1:
        raise IndexFileError(f"{path}: expected a row of int64, found {item_ids.ndim} axes of {item_ids.dtype}.")
    return np.asarray(item_ids)


def read_faiss(path: Path) -> Any:  # noqa: ANN401 - faiss's types lack members
    """Map a faiss index into memory; codes and lists are read as searches need them.

    Raises:
        RuntimeError: If the file holds something else.
    """
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)


def read_faiss_binary(path: Path) -> Any:  # noqa: ANN401
    """Map a faiss index of bits into memory.

    Raises:
        RuntimeError: If the file holds something else.
    """
    return faiss.read_index_binary(str(path), faiss.IO_FLAG_MMAP_IFC)
