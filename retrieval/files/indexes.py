"""The folder that an index is kept in.

index.json         kind, options, number of items, version of this format, sizes and CRC-32 of the other files
item_ids.npy       int64, ascending
index.faiss        the faiss index; index.faissbinary where it holds bits
coder.safetensors  what encodes vectors, where it is not in the faiss index
"""

import glob
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from storage.atomic import write_json, writing_folder
from storage.errors import StorageError
from storage.manifest import check_files, record_file

FORMAT_VERSION = 1
ITEM_IDS = "item_ids.npy"
_MANIFEST = "index.json"
COPY_AGAIN = "Copy it again, or build the index again."


class IndexFileError(StorageError):
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
    """Write the folder of an index, which appears, or replaces an earlier one, only when complete.

    Args:
        folder: Place of the index; its parent is made if it is not there.
        manifest: What to write into index.json.
        write: Writes the other files into the folder it is given.

    Raises:
        IndexFileError: If something else than an index is in the way.
        FileNotWritten: If the disk is full; the earlier index stays.
    """
    if folder.exists() and not (folder / _MANIFEST).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise IndexFileError(f"{folder}: expected an index or no folder, found something else. Choose another folder.")
    with writing_folder(folder) as partial:
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
        write_json(partial / _MANIFEST, description)


def read_manifest(folder: Path) -> Manifest:
    """Read index.json and check the other files: that they are as long as it says, and their checksums up to 256 MB.

    Raises:
        IndexFileError: If index.json is missing, damaged, or of a later version.
        FileDamaged: If another file is missing or damaged.
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
        crc32 = description.get("file_crc32", {})  # earlier versions kept none
        records = {str(name): (int(size), crc32.get(name)) for name, size in description["file_bytes"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise IndexFileError(
            f"{path}: expected a complete description, found a part ({error!r}). Build it again."
        ) from error
    check_files(folder, records, COPY_AGAIN)
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
