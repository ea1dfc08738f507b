"""Write files that are there complete or not at all."""

import csv
import glob
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from storage.files import clear_stale, save_array


class FileNotWritten(OSError):
    """A file can't be written; what was in its place before is as it was."""


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Have a file written beside its place, then put it there.

    Args:
        path: Where to; its folder is there.
        write: Writes the file whose path it is given; that one has no ending of its kind.

    Raises:
        FileNotWritten: If the disk is full, or the file can't be written for another reason.
    """
    clear_stale(path.parent, f".{glob.escape(path.name)}.*")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # network disks report a full quota only now
        temporary.replace(path)
    except OSError as error:
        kept = "; the earlier one is as it was" if path.is_file() else ""
        raise FileNotWritten(
            f"{path}: expected to write it whole, found {error}{kept}. Make room or name another disk, then run the "
            "command again."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as .npy."""
    write_file(path, lambda temporary: save_array(temporary, array))


def write_text(path: Path, text: str) -> None:
    """Write a text file, and its folder if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a table with a header; its columns are those of the first row, of which there is at least one."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
