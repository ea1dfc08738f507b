"""The folder that an index is kept in.

index.json         kind, options, number of items, version of this format, sizes of the other files
item_ids.npy       int64, ascending
index.faiss        the faiss index; index.faissbinary where it holds bits
coder.safetensors  what encodes vectors, where it is not in the faiss index
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

FORMAT_VERSION = 1
_MANIFEST = "index.json"


class IndexFileError(ValueError):
    """A folder does not hold an index that can be opened, or may not be replaced by one."""


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
    its own name or, between two renames, as `.NAME.old-PID`.

    Args:
        folder: Place of the index; its parent is made if it is not there.
        manifest: What to write into index.json.
        write: Writes the other files into the folder it is given.

    Raises:
        IndexFileError: If something else than an index is in the way.
    """
    if folder.exists() and not (folder / _MANIFEST).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise IndexFileError(f"{folder}: expected an index or no folder, found something else. Choose another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.new-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        write(partial)
        description = {
            "version": FORMAT_VERSION,
            "kind": manifest.kind,
            "options": manifest.options,
            "num_items": manifest.num_items,
            "file_bytes": {path.name: path.stat().st_size for path in sorted(partial.iterdir())},
        }
        (partial / _MANIFEST).write_text(json.dumps(description, indent=2), encoding="utf-8")
        if folder.exists():
            old = folder.with_name(f".{folder.name}.old-{os.getpid()}")
            folder.replace(old)
            partial.replace(folder)
            shutil.rmtree(old)
        else:
            partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_manifest(folder: Path) -> Manifest:
    """Read index.json and check that the other files are as long as it says.

    Raises:
        IndexFileError: If a file is missing, damaged, or of a later version.
    """
    path = folder / _MANIFEST
    if not path.is_file():
        raise IndexFileError(f"{folder}: expected an index, found no {_MANIFEST}. Write one with Index.save.")
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
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise IndexFileError(
            f"{path}: expected a complete description, found a part ({error!r}). Build it again."
        ) from error
    for name, size in file_bytes.items():
        found = (folder / name).stat().st_size if (folder / name).is_file() else "no file"
        if found != size:
            raise IndexFileError(
                f"{folder / name}: expected {size} bytes, found {found}. Copy it again, or build it again."
            )
    return manifest


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
