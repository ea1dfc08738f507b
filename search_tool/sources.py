"""The files that an index was made of, one a line of sources.jsonl; needs no torch."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from storage.errors import naming_disk_errors

SOURCES = "sources.jsonl"


@dataclass(frozen=True)
class Source:
    """The file of a track or a sound.

    Attributes:
        name: Path relative to the folder that was indexed, or the file's name.
        path: Where it lies, absolute.
        num_bytes: Its size.
        modified_ns: When it was changed.
    """

    name: str
    path: str
    num_bytes: int
    modified_ns: int


def read_lines(folder: Path) -> dict[int, Source]:
    """Read all files by the number of their line; a line that was cut off by a crash counts as one."""
    path = folder / SOURCES
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return {number: Source(**json.loads(line)) for number, line in enumerate(lines) if line.endswith("}\n")}


def read_sources(folder: Path) -> dict[str, Source]:
    """Read the file of each name that was ever indexed; of several lines the last counts."""
    return {source.name: source for source in read_lines(folder).values()}


def append_sources(folder: Path, sources: Sequence[Source]) -> None:
    """Note files; they are on the disk when this returns."""
    with naming_disk_errors(folder / SOURCES), (folder / SOURCES).open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # cut off by a crash
                file.write(b"\n")
        file.writelines(json.dumps(asdict(source)).encode() + b"\n" for source in sources)
        file.flush()
        os.fsync(file.fileno())
