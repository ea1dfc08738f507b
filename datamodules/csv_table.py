"""Read a table that describes clips and find the clips it names, or say what is wrong."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from datamodules.errors import DatasetLayoutError, DatasetMissing
from sound.audio import AUDIO_SUFFIXES


def read_rows(path: Path, columns: Sequence[str], remedy: str) -> list[dict[str, str]]:
    """Read all lines of a CSV file with a header; blank lines are none.

    Args:
        path: UTF-8, with or without a byte order mark.
        columns: Columns it must have; others are read as well.
        remedy: What the user is to do about a wrong table, one sentence.

    Returns:
        One dict a line, in order, with a string for every column of the header.

    Raises:
        DatasetMissing: If there is no such file.
        DatasetLayoutError: If it lacks a column, has no lines, has a line with more or fewer fields than the header, or
            is not text.
    """
    if not path.is_file():
        raise DatasetMissing(f"Expected a table at {path}; there is none. {remedy}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            lines = [(reader.line_num, fields) for fields in reader if fields]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetLayoutError(
            f"{path}: expected a CSV file in UTF-8, found it unreadable ({error}). {remedy}"
        ) from error
    absent = [column for column in columns if column not in header]
    if absent:
        raise DatasetLayoutError(
            f"{path}: expected the columns {', '.join(columns)}; {', '.join(absent)} not found among "
            f"{', '.join(header) or 'no columns'}. {remedy}"
        )
    if not lines:
        raise DatasetLayoutError(f"{path}: expected one line a clip, found none. {remedy}")
    for line, fields in lines:
        if len(fields) != len(header):
            raise DatasetLayoutError(
                f"{path}, line {line}: expected {len(header)} fields, found {len(fields)}. {remedy}"
            )
    return [dict(zip(header, fields, strict=True)) for _, fields in lines]


def clips_by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """Return the audio files among these by their stem, whichever format they were transcoded to; the last wins."""
    return {path.stem: path for path in sorted(paths) if path.suffix.lower() in AUDIO_SUFFIXES}


def find_named(names: Sequence[str], clips: Mapping[str, Path], table: Path, place: str) -> list[Path]:
    """Return the clip of each file name of a table, found by its stem.

    Args:
        names: As the table has them.
        clips: What there is, by stem.
        table: For errors.
        place: Where clips were looked for; for errors.

    Raises:
        DatasetMissing: If some are not there.
    """
    stems = [Path(name).stem for name in names]
    missing = [(name, stem) for name, stem in zip(names, stems, strict=True) if stem not in clips]
    if missing:
        name, stem = missing[0]
        raise DatasetMissing(
            f"{table} names {len(missing)} clips that are not in {place}, first {name} (looked for {stem} with "
            f"{', '.join(AUDIO_SUFFIXES)}). Restore them, from all archives of the release, or take "
            "them out of the table."
        )
    return [clips[stem] for stem in stems]
