"""Write files so that a disk that fills up is noticed, and clear away what a killed process left.

`numpy.save`, `ndarray.tofile` and `faiss.write_index` write through a C stream and don't look at what closing it says:
where the disk fills up with the last 4 KB, these are lost and no error is raised. Here all bytes go through Python's
files, which raise.
"""

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np

_STALE_SECONDS = 3600  # what is being written changes more often


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array as .npy.

    Raises:
        OSError: If it can't be written whole.
    """
    array = np.asarray(array, order="C")
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        append_array(file, array)


def append_array(file: BinaryIO, array: np.ndarray) -> None:
    """Write the bytes of an array.

    Raises:
        OSError: If they can't be written.
    """
    if array.size:  # memory of no bytes is refused
        file.write(np.asarray(array, order="C").data)


def save_faiss(path: Path, index: Any) -> None:  # noqa: ANN401 - faiss's types lack members
    """Write a faiss index, of vectors or of bits.

    Raises:
        OSError: If it can't be written whole.
    """
    write = faiss.write_index_binary if isinstance(index, faiss.IndexBinary) else faiss.write_index
    with path.open("wb") as file:
        write(index, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]


def sync_files(folder: Path) -> None:
    """Wait until the files of a folder are on the disk; network disks report a full quota only now.

    Raises:
        OSError: If they can't be written.
    """
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def clear_stale(folder: Path, pattern: str) -> None:
    """Delete files and folders of a pattern that nobody has written to for an hour: a killed process left them."""
    oldest = time.time() - _STALE_SECONDS
    for path in folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError):  # another process clears it, or has finished
            if max(each.lstat().st_mtime for each in [path, *path.rglob("*")]) >= oldest:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
