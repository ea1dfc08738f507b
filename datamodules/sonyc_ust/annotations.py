"""The table of annotations of SONYC-UST, v1 and v2, and how the votes on a clip become labels.

Cartwright et al., SONYC Urban Sound Tagging (DCASE 2019 workshop), and SONYC-UST-V2 (DCASE 2020 workshop). One line an
annotator and clip, with the columns

    split                            train, validate or test
    sensor_id                        where the clip was recorded; nothing else is known of its place and time in v1
    audio_filename
    annotator_id                     above 0 a volunteer, below 0 a member of the team, 0 what the team agreed on
    <c>_<coarse>_presence            1 present, 0 absent, -1 not said; `1_engine` to `8_dog`
    <c>-<f>_<name>_presence          the same of a fine category, as `1-2_medium-sounding-engine`

and others that are not read: proximity, and in v2 year, week, day, hour, borough, block, latitude and longitude. Where
f is X the annotator heard the coarse category and couldn't tell which of the fine ones: these columns are no fine
category here, so a clip with such votes alone has no fine label, while its coarse label stands.

What is not said (-1) counts neither for nor against, save in rule `v1`. Rules are named for their source:

    v2         baseline of DCASE 2020: of train clips what any volunteer heard, of all others what the team agreed on
    v1         baseline of DCASE 2019: what the team agreed on; of a clip without, where the sum over all lines, the
               team's and -1 too, is above 0, so that a -1 cancels a vote
    majority   what the team agreed on; of a clip without, what more than half of the volunteers heard, of those who
               said something
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from datamodules.csv_table import read_rows
from datamodules.errors import DatasetLayoutError

_logger = logging.getLogger(__name__)

Aggregation = Literal["v2", "v1", "majority"]
Level = Literal["coarse", "fine"]
NUM_CATEGORIES = {"coarse": 8, "fine": 23}
SPLITS = ("train", "validate", "test")
_COLUMNS = ("split", "sensor_id", "audio_filename", "annotator_id")
_PRESENCE = {
    "coarse": re.compile(r"(?P<coarse>\d+)_(?P<name>.+)_presence"),
    "fine": re.compile(r"(?P<coarse>\d+)-(?P<fine>\d+)_(?P<name>.+)_presence"),
}
_FORM = {"coarse": "<c>_<name>_presence", "fine": "<c>-<f>_<name>_presence"}
_REMEDY = "Fetch annotations.csv of Zenodo record 3966543 (v2) or 2590742 (v1) again."


@dataclass(frozen=True)
class Annotations:
    """The clips of a table that have the lines their rule needs, in the order they are first named.

    Attributes:
        file_names: As the table has them.
        sensors: Sensor of each clip.
        splits: `train`, `validate` or `test`.
        labels: 1 where a category is present by the rule, int64 [clip, category].
        soft_labels: Share of the volunteers who said something of a category that heard it, 0 where nobody did; what
            the team agreed on where it did. float32 [clip, category].
        category_names: In the order of labels.
        left_out: File names of the clips of `validate` without the lines their rule needs.
    """

    file_names: tuple[str, ...]
    sensors: tuple[str, ...]
    splits: tuple[str, ...]
    labels: np.ndarray
    soft_labels: np.ndarray
    category_names: tuple[str, ...]
    left_out: tuple[str, ...]


def read_annotations(path: Path, level: Level = "coarse", aggregation: Aggregation = "v2") -> Annotations:
    """Read a table and bring the votes on each clip together.

    Clips of `validate` without the lines that the rule needs are left out with a warning: most of v2's were never
    verified.

    Raises:
        DatasetMissing: If there is no table.
        DatasetLayoutError: If the table is not as this module describes, has a clip under two splits or sensors or an
            annotator's line on a clip twice, or if a clip of `train` or `test` lacks the lines that the rule needs.
    """
    rows = read_rows(path, _COLUMNS, _REMEDY)
    categories = _find_categories(path, list(rows[0]), level)
    lines = _index_lines(path, rows)
    tally = _count_votes(_read_votes(path, rows, list(categories)), lines)
    clips = [rows[line] for line in lines.first_of_clip]
    splits = np.array([row["split"] for row in clips])
    labels, is_known = _RULES[aggregation](tally, splits == "train")
    left_out = _leave_out(path, aggregation, clips, is_known)
    shares = tally.num_heard / np.maximum(tally.num_heard + tally.num_not_heard, 1)
    soft_labels = np.where(tally.is_agreed[:, None], tally.agreed, shares)
    kept = np.flatnonzero(is_known)
    return Annotations(
        file_names=tuple(clips[clip]["audio_filename"] for clip in kept),
        sensors=tuple(clips[clip]["sensor_id"] for clip in kept),
        splits=tuple(splits[kept].tolist()),
        labels=labels[kept].astype(np.int64),
        soft_labels=soft_labels[kept].astype(np.float32),
        category_names=tuple(categories.values()),
        left_out=left_out,
    )


@dataclass(frozen=True)
class _Lines:
    """Clip and annotator of each line, [line], and the first line of each clip, [clip]."""

    clip: np.ndarray
    annotator: np.ndarray
    first_of_clip: list[int]


@dataclass(frozen=True)
class _Tally:
    """What was said about each clip.

    Attributes:
        num_heard: Volunteers who said present, [clip, category].
        num_not_heard: Volunteers who said absent, [clip, category].
        total: Sum over all lines as they are, -1 too, [clip, category].
        agreed: Whether annotator 0 said present, [clip, category].
        is_agreed: Whether there is a line of annotator 0, [clip].
        has_volunteer: Whether there is a line of a volunteer, [clip].
    """

    num_heard: np.ndarray
    num_not_heard: np.ndarray
    total: np.ndarray
    agreed: np.ndarray
    is_agreed: np.ndarray
    has_volunteer: np.ndarray


def _find_categories(path: Path, header: Sequence[str], level: Level) -> dict[str, str]:
    """Return the name of the category of each column of a level, in the order of their numbers."""
    found = [(match, column) for column in header if (match := _PRESENCE[level].fullmatch(column))]
    found.sort(key=lambda pair: [int(pair[0][group]) for group in pair[0].groupdict() if group != "name"])
    if len(found) != NUM_CATEGORIES[level]:
        names = ", ".join(column for _, column in found) or "none"
        raise DatasetLayoutError(
            f"{path}: expected {NUM_CATEGORIES[level]} columns {_FORM[level]} with numbers for <c> and <f>, found "
            f"{len(found)}: {names}. {_REMEDY}"
        )
    return {column: match["name"] for match, column in found}


def _index_lines(path: Path, rows: Sequence[dict[str, str]]) -> _Lines:
    clip_of_stem: dict[str, int] = {}
    first_of_clip: list[int] = []
    seen: set[tuple[int, int]] = set()
    clips, annotators = [], []
    for line, row in enumerate(rows):
        _check_line(path, line, row)
        clip = clip_of_stem.setdefault(Path(row["audio_filename"]).stem, len(clip_of_stem))
        if clip == len(first_of_clip):
            first_of_clip.append(line)
        before = rows[first_of_clip[clip]]
        for column in ("split", "sensor_id"):
            if row[column] != before[column]:
                raise DatasetLayoutError(
                    f"{path}, line {line + 2}: expected {column} {before[column]!r} of {row['audio_filename']} as in "
                    f"line {first_of_clip[clip] + 2}, found {row[column]!r}. {_REMEDY}"
                )
        annotator = int(row["annotator_id"])
        if (clip, annotator) in seen:
            raise DatasetLayoutError(
                f"{path}, line {line + 2}: expected one line of annotator {annotator} on {row['audio_filename']}, "
                "found another. Delete one of them."
            )
        seen.add((clip, annotator))
        clips.append(clip)
        annotators.append(annotator)
    return _Lines(np.array(clips), np.array(annotators), first_of_clip)


def _check_line(path: Path, line: int, row: dict[str, str]) -> None:
    is_number = re.fullmatch(r"-?\d+", row["annotator_id"])
    if not row["audio_filename"] or row["split"] not in SPLITS or not is_number:
        raise DatasetLayoutError(
            f"{path}, line {line + 2}: expected a file name, a split of {', '.join(SPLITS)} and a whole annotator_id; "
            f"found {row['audio_filename']!r}, {row['split']!r}, {row['annotator_id']!r}. {_REMEDY}"
        )


def _read_votes(path: Path, rows: Sequence[dict[str, str]], columns: Sequence[str]) -> np.ndarray:
    """Return 1, 0 or -1 for each line and column, int64 [line, category]."""
    texts = np.array([[row[column] for column in columns] for row in rows])
    is_odd = ~np.isin(texts, ("1", "0", "-1"))
    if is_odd.any():
        line, column = np.argwhere(is_odd)[0].tolist()
        raise DatasetLayoutError(
            f"{path}, line {line + 2}: expected 1, 0 or -1 in {columns[column]}, found {str(texts[line, column])!r}. "
            f"{_REMEDY}"
        )
    return texts.astype(np.int64)


def _count_votes(votes: np.ndarray, lines: _Lines) -> _Tally:
    num_clips = len(lines.first_of_clip)

    def total(of_lines: np.ndarray, values: np.ndarray) -> np.ndarray:
        summed = np.zeros((num_clips, *values.shape[1:]), np.int64)
        np.add.at(summed, lines.clip[of_lines], values[of_lines])
        return summed

    every, by_volunteer, by_all = np.ones(len(votes), bool), lines.annotator > 0, lines.annotator == 0
    return _Tally(
        num_heard=total(by_volunteer, votes == 1),
        num_not_heard=total(by_volunteer, votes == 0),
        total=total(every, votes),
        agreed=total(by_all, votes == 1) > 0,
        is_agreed=total(every, by_all) > 0,
        has_volunteer=total(every, by_volunteer) > 0,
    )


def _apply_v2(tally: _Tally, is_train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels = np.where(is_train[:, None], tally.num_heard > 0, tally.agreed)
    return labels, np.where(is_train, tally.has_volunteer, tally.is_agreed)


def _apply_v1(tally: _Tally, is_train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.where(tally.is_agreed[:, None], tally.agreed, tally.total > 0), np.ones_like(is_train)


def _apply_majority(tally: _Tally, is_train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels = np.where(tally.is_agreed[:, None], tally.agreed, tally.num_heard > tally.num_not_heard)
    return labels, tally.is_agreed | tally.has_volunteer


# Each returns the labels, bool [clip, category], and which clips have the lines it needs, bool [clip].
_RULES: dict[Aggregation, Callable[[_Tally, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "v2": _apply_v2,
    "v1": _apply_v1,
    "majority": _apply_majority,
}


def _leave_out(
    path: Path, aggregation: Aggregation, clips: Sequence[dict[str, str]], is_known: np.ndarray
) -> tuple[str, ...]:
    """Return the clips that lack the lines their rule needs; in `validate` they may."""
    unknown = [row for row, known in zip(clips, is_known, strict=True) if not known]
    for row in unknown:
        if row["split"] != "validate":
            wanted = (
                "a volunteer's line" if row["split"] == "train" or aggregation == "majority" else "annotator 0's line"
            )
            raise DatasetLayoutError(
                f"{path}: expected {wanted} on {row['audio_filename']} of {row['split']} for --data.aggregation "
                f"{aggregation}, found none. Add it, delete the clip's lines, or set --data.aggregation v1."
            )
    if unknown:
        _logger.warning(
            "Left out %d clips of validate: --data.aggregation %s needs lines that they have not.",
            len(unknown), aggregation,
        )  # fmt: skip
    return tuple(row["audio_filename"] for row in unknown)
