"""Write files that are there complete or not at all."""

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Have a file written beside its place, then put it there.

    Args:
        path: Where to; its folder is there.
        write: Writes the file whose path it is given; that one has no ending of its kind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    write(temporary)
    temporary.replace(path)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as .npy."""

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:  # or numpy adds an ending
            np.save(file, array)

    write_file(path, save)


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
