"""Studies through the real command in a folder of their own, and what they leave there."""

import contextlib
import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from experiments.papers.command import reproduce


def printed_by(arguments: Sequence[str], folder: Path) -> str:
    """Run reproduce.py in a folder, with no corpus or weights named by the environment; return what it printed."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.chdir(folder)
        for variable in [name for name in os.environ if name.startswith("EARMARK_")]:
            patch.delenv(variable)
        assert reproduce(arguments) == 0
    return printed.getvalue()


def read_table(folder: Path, name: str) -> list[dict[str, str]]:
    """Return the rows of a table in the study's output."""
    with (folder / "out" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def times_of(folder: Path, *names: str) -> dict[Path, int]:
    """Return when everything in these folders of the study's output was written."""
    return {path: path.stat().st_mtime_ns for name in names for path in (folder / "out" / name).rglob("*")}
