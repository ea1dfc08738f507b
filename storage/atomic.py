"""Files and folders that are there whole or not at all: written beside their place, then renamed."""

import contextlib
import csv
import glob
import io
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

import numpy as np

from storage.errors import MAKE_ROOM, FileNotWritten, naming_disk_errors
from storage.npy import append_array, write_header

_STALE_SECONDS = 3600  # what is being written changes more often


@runtime_checkable  # or the shape checks of the tests can't be turned on
class Drawing(Protocol):
    """What can be drawn into a file; matplotlib's `Figure` is one."""

    def savefig(self, fname: BinaryIO, *, format: str, dpi: int) -> object:
        """Write the picture."""


def write_file(path: Path, write: Callable[[BinaryIO], object], advice: str = MAKE_ROOM) -> None:
    """Have a file written beside its place, then put it there; it is on the disk when this returns.

    What killed processes left of it is deleted after an hour.

    Args:
        path: Where to; its folder is made if it is not there.
        write: Writes into the file it is given.
        advice: What a user does where the disk is full, in a sentence.

    Raises:
        FileNotWritten: If the disk is full, or the file can't be written for another reason.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with naming_disk_errors(path, advice):
            path.parent.mkdir(parents=True, exist_ok=True)
            clear_stale(path.parent, f".{glob.escape(path.name)}.*")
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())  # network disks report a full quota only now
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    write_file(path, lambda file: file.write(text.encode()))


def write_json(path: Path, content: object, advice: str = MAKE_ROOM) -> None:
    """Write values as JSON."""
    write_file(path, lambda file: file.write(json.dumps(content, indent=1).encode()), advice)


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a table with a header; its columns are those of the first row, of which there is at least one."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_array(path: Path, array: np.ndarray, advice: str = MAKE_ROOM) -> None:
    """Write an array as .npy."""

    def write(file: BinaryIO) -> None:
        write_header(file, array.dtype, array.shape)
        append_array(file, array)

    write_file(path, write, advice)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], advice: str = MAKE_ROOM) -> None:
    """Write arrays by name as .npz."""
    write_file(path, lambda file: np.savez(file, **arrays), advice)  # type: ignore[arg-type]


def write_figure(path: Path, figure: Drawing, dpi: int) -> None:
    """Draw a figure, in the format that the file's ending names."""
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix.removeprefix("."), dpi=dpi)
    write_file(path, lambda file: file.write(content.getbuffer()))


@contextlib.contextmanager
def writing_folder(folder: Path, advice: str = MAKE_ROOM, is_locked: bool = False) -> Iterator[Path]:
    """Have a folder written beside its place and put it there when the block ends well.

    An earlier one is moved aside first and deleted last: whenever the process dies, a complete one is on disk, under
    its own name or, between two renames, as `.NAME.old-PID`. What killed processes left is deleted after an hour.

    Args:
        folder: Where to; its parent is made if it is not there.
        advice: What a user does where the disk is full, in a sentence.
        is_locked: Whether a lock keeps others from writing it: then what was left is deleted at once.

    Yields:
        An empty folder to write into.

    Raises:
        FileNotWritten: If it, or a file in it, can't be written; the earlier folder stays.
    """
    partial, old = (folder.with_name(f".{folder.name}.{kind}-{os.getpid()}") for kind in ("new", "old"))
    new_ones, old_ones = (f".{glob.escape(folder.name)}.{kind}-*" for kind in ("new", "old"))
    try:
        with naming_disk_errors(folder, advice):
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(partial, ignore_errors=True)
            clear_stale(folder.parent, new_ones, is_locked)
            partial.mkdir()
        try:
            yield partial
        except FileNotWritten as error:
            with naming_disk_errors(folder, advice):
                raise error.__cause__ or error from None
        with naming_disk_errors(folder, advice):
            if folder.exists():
                folder.replace(old)
            partial.replace(folder)
            shutil.rmtree(old, ignore_errors=True)
            clear_stale(folder.parent, old_ones, is_locked)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def clear_stale(folder: Path, pattern: str, is_locked: bool = False) -> None:
    """Delete files and folders of a pattern that nobody has written to for an hour: a killed process left them.

    Where a lock keeps others from writing them, all are deleted.
    """
    oldest = math.inf if is_locked else time.time() - _STALE_SECONDS
    for path in folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError):  # another process clears it, or has finished
            if max(each.lstat().st_mtime for each in [path, *path.rglob("*")]) > oldest:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
