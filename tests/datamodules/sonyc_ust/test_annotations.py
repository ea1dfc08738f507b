"""Votes become labels by each rule, worked out by hand; a wrong table is told by its line."""

import csv
from pathlib import Path

import numpy as np
import pytest

from datamodules.errors import DatasetLayoutError, DatasetMissing
from datamodules.sonyc_ust.annotations import Aggregation, Annotations, Level, read_annotations
from tests.datamodules.makers import edit_field
from tests.replicas.sonyc_ust import COARSE, FINE, Vote, write_table

# Votes on engine, machinery-impact and music; -1 is nothing said.
ENGINE, IMPACT, MUSIC = "engine", "machinery-impact", "music"


def _read(path: Path, clips: dict[str, list[Vote]], aggregation: Aggregation, level: Level = "coarse") -> Annotations:
    return read_annotations(write_table(path / "annotations.csv", clips), level, aggregation)


def _present(annotations: Annotations, clip: int = 0) -> set[str]:
    return {name for name, label in zip(annotations.category_names, annotations.labels[clip], strict=True) if label}


def _soft(annotations: Annotations, name: str, clip: int = 0) -> float:
    return float(annotations.soft_labels[clip, annotations.category_names.index(name)])


VOLUNTEERS = [Vote(1, {ENGINE: 1, IMPACT: 1}), Vote(2, {ENGINE: 1}), Vote(3, {MUSIC: -1})]
CASES: dict[str, tuple[list[Vote], dict[Aggregation, set[str]]]] = {
    "volunteers alone": (VOLUNTEERS, {"v2": {ENGINE, IMPACT}, "v1": {ENGINE, IMPACT}, "majority": {ENGINE}}),
    "the team cancels votes": (
        [*VOLUNTEERS, Vote(-1, {ENGINE: -1, IMPACT: -1}), Vote(-2, {MUSIC: 1, IMPACT: -1})],
        # engine 2 - 1 > 0, impact 1 - 2 < 0; the team's 1 for music is cancelled by the third volunteer's -1
        {"v2": {ENGINE, IMPACT}, "v1": {ENGINE}, "majority": {ENGINE}},
    ),
    "the team hears, too": (
        [Vote(1), Vote(-1, {MUSIC: 1})],
        {"v2": set(), "v1": {MUSIC}, "majority": set()},
    ),
    "agreed on, though in train": (
        [*VOLUNTEERS, Vote(0, {MUSIC: 1})],
        {"v2": {ENGINE, IMPACT}, "v1": {MUSIC}, "majority": {MUSIC}},
    ),
    "half is no majority": (
        [Vote(1, {ENGINE: 1}), Vote(2, {ENGINE: 0})],
        {"v2": {ENGINE}, "v1": {ENGINE}, "majority": set()},
    ),
    "who says nothing doesn't count": (
        [Vote(1, {ENGINE: 1}), Vote(2, {ENGINE: -1}), Vote(3, {ENGINE: -1})],
        {"v2": {ENGINE}, "v1": set(), "majority": {ENGINE}},
    ),
    "nobody says anything": ([Vote(1, rest=-1)], {"v2": set(), "v1": set(), "majority": set()}),
}


@pytest.mark.parametrize("aggregation", ["v2", "v1", "majority"])
@pytest.mark.parametrize("case", list(CASES))
def test_hand_worked_train_clips(tmp_path: Path, case: str, aggregation: Aggregation) -> None:
    votes, expected = CASES[case]
    assert _present(_read(tmp_path, {"clip": votes}, aggregation)) == expected[aggregation]


@pytest.mark.parametrize("aggregation", ["v2", "v1", "majority"])
@pytest.mark.parametrize("split", ["validate", "test"])
def test_other_splits_have_what_was_agreed_on(tmp_path: Path, split: str, aggregation: Aggregation) -> None:
    votes = [*VOLUNTEERS, Vote(-1, {IMPACT: 1}), Vote(0, {MUSIC: 1, ENGINE: -1})]
    annotations = _read(tmp_path, {f"{split}/3/clip": votes}, aggregation)
    assert _present(annotations) == {MUSIC}
    assert annotations.splits == (split,)
    assert annotations.sensors == ("3",)


def test_soft_labels_are_shares_of_the_volunteers_who_said_something(tmp_path: Path) -> None:
    agreed = {"verified": [*VOLUNTEERS, Vote(-1, {MUSIC: 1}), Vote(0, {MUSIC: 1})]}
    clips = {"clip": [*VOLUNTEERS, Vote(-1, {MUSIC: 1})], "silent": [Vote(1, rest=-1)], **agreed}
    annotations = _read(tmp_path, clips, "v2")
    assert annotations.soft_labels.dtype == np.float32
    assert annotations.labels.dtype == np.int64
    assert annotations.soft_labels.shape == annotations.labels.shape == (3, len(COARSE))
    assert _soft(annotations, ENGINE) == pytest.approx(2 / 3)
    assert _soft(annotations, IMPACT) == pytest.approx(1 / 3)
    assert _soft(annotations, MUSIC) == 0  # two said absent, the third nothing; the team is no volunteer
    assert not annotations.soft_labels[1].any()
    assert _soft(annotations, MUSIC, 2) == 1
    assert _soft(annotations, ENGINE, 2) == 0


def test_nothing_said_leaves_the_share_of_the_others(tmp_path: Path) -> None:
    votes = [Vote(1, {ENGINE: 1}), Vote(2, {ENGINE: -1}), Vote(3, {ENGINE: 0}), Vote(4, {ENGINE: 1})]
    assert _soft(_read(tmp_path, {"clip": votes}, "v2"), ENGINE) == pytest.approx(2 / 3)


def test_categories_are_the_headers_without_the_uncertain_ones(tmp_path: Path) -> None:
    clips = {"clip": [Vote(1, {"engine": 1, "engine-of-uncertain-size": 1, "dog/": 1, "dog-barking-whining": 1})]}
    coarse = _read(tmp_path, clips, "v2")
    assert coarse.category_names == COARSE
    assert _present(coarse) == {"engine", "dog"}
    fine = _read(tmp_path, clips, "v2", "fine")
    assert fine.category_names == FINE
    assert len(FINE) == 23
    assert _present(fine) == {"dog-barking-whining"}


@pytest.mark.parametrize("layout", ["v1", "v2"])
def test_both_layouts_are_read_whatever_the_order_of_columns(tmp_path: Path, layout: str) -> None:
    path = write_table(tmp_path / "a.csv", {"clip": VOLUNTEERS, "validate/4/b": [Vote(0)]}, layout)  # type: ignore[arg-type]
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert ("latitude" in rows[0]) == (layout == "v2")
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([row[::-1] for row in rows])
    annotations = read_annotations(path)
    assert annotations.category_names == COARSE
    assert annotations.file_names == ("clip.wav", "b.wav")
    assert annotations.sensors == ("7", "4")
    assert _present(annotations) == {ENGINE, IMPACT}


@pytest.mark.parametrize("aggregation", ["v2", "majority"])
def test_validate_clips_without_what_the_rule_needs_are_left_out(
    tmp_path: Path, aggregation: Aggregation, caplog: pytest.LogCaptureFixture
) -> None:
    team_only = [Vote(-1, {ENGINE: 1})]
    clips = {"validate/1/a": team_only, "validate/1/b": [Vote(0, {MUSIC: 1})], "validate/1/c": team_only}
    annotations = _read(tmp_path, clips, aggregation)
    assert annotations.file_names == ("b.wav",)
    assert annotations.left_out == ("a.wav", "c.wav")
    assert annotations.labels.shape == (1, len(COARSE))
    assert f"Left out 2 clips of validate: --data.aggregation {aggregation}" in caplog.text


def test_volunteers_do_not_verify_a_validate_clip(tmp_path: Path) -> None:
    clips = {"a": VOLUNTEERS, "validate/1/b": VOLUNTEERS}
    assert _read(tmp_path, clips, "v2").left_out == ("b.wav",)
    for aggregation in ("v1", "majority"):
        annotations = _read(tmp_path, clips, aggregation)
        assert annotations.left_out == ()
        assert _present(annotations, 1) == _present(annotations, 0)


@pytest.mark.parametrize(
    ("key", "votes", "aggregation", "wanted"),
    [
        ("train/1/a", [Vote(0, {ENGINE: 1})], "v2", "a volunteer's line"),
        ("test/1/a", VOLUNTEERS, "v2", "annotator 0's line"),
        ("test/1/a", [Vote(-2)], "majority", "a volunteer's line"),
        ("train/1/a", [Vote(-2)], "majority", "a volunteer's line"),
    ],
)
def test_train_and_test_clips_without_what_the_rule_needs_are_refused(
    tmp_path: Path, key: str, votes: list[Vote], aggregation: Aggregation, wanted: str
) -> None:
    with pytest.raises(
        DatasetLayoutError,
        match=rf"expected {wanted} on a\.wav of .*{aggregation}, found none\. Add it.*aggregation v1",
    ):
        _read(tmp_path, {key: votes}, aggregation)
    assert _read(tmp_path, {key: votes}, "v1").file_names == ("a.wav",)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "annotations.csv", {"a": VOLUNTEERS, "b": VOLUNTEERS})


MUSIC_COLUMN = "6_music_presence"
NOT_WHOLE = "line 3: expected a file name, a split of train, validate, test .*found .*"
DAMAGE: list[tuple[int, str, str, str, Level]] = [
    *[
        (1, column, "renamed", rf"{column} not found among .*Fetch annotations\.csv of Zenodo", "coarse")
        for column in ("split", "sensor_id", "audio_filename", "annotator_id")
    ],
    (1, MUSIC_COLUMN, "renamed", r"expected 8 columns <c>_<name>_presence .*found 7: 1_engine_pr.*Fetch", "coarse"),
    (1, "5-3_siren_presence", "renamed", r"expected 23 columns <c>-<f>_<name>_p.*found 22: 1-1_small.*Fetch", "fine"),
    *[
        (4, MUSIC_COLUMN, vote, f"line 4: expected 1, 0 or -1 in {MUSIC_COLUMN}, found {vote!r}", "coarse")
        for vote in ("2", "", "yes", "1.0")
    ],
    (3, "split", "Train", f"{NOT_WHOLE}'Train'", "coarse"),
    (3, "audio_filename", "", f"{NOT_WHOLE}''", "coarse"),
    (3, "annotator_id", "x", f"{NOT_WHOLE}'x'", "coarse"),
    (3, "annotator_id", "", f"{NOT_WHOLE}''", "coarse"),
    (6, "split", "test", r"line 6: expected split 'train' of b\.wav as in line 5, found 'test'", "coarse"),
    (6, "sensor_id", "8", r"line 6: expected sensor_id '7' of b\.wav as in line 5, found '8'", "coarse"),
    (7, "annotator_id", "1", r"line 7: expected one line of annotator 1 on b\.wav, found another", "coarse"),
]


@pytest.mark.parametrize(("line", "column", "value", "message", "level"), DAMAGE)
def test_a_damaged_table_is_told_by_line_and_column(
    table: Path, line: int, column: str, value: str, message: str, level: Level
) -> None:
    edit_field(table, line, column, value)
    with pytest.raises(DatasetLayoutError, match=message):
        read_annotations(table, level)


def test_missing_table_says_what_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing, match=r"Expected a table at .*Fetch"):
        read_annotations(tmp_path / "annotations.csv")
