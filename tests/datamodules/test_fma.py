"""FMA's table is read with its odd rows, and its subsets are ordered."""

import csv
import os
from pathlib import Path

import pytest

from datamodules import Fma
from datamodules.errors import DatasetLayoutError, DatasetMissing
from datamodules.fma import BROKEN_TRACKS, ROOT_VARIABLE, TABLE, read_table
from datamodules.splits.track_roles import Track
from tests.datamodules.makers import edit_field
from tests.replicas.fma import TRACKS, make_fma


@pytest.fixture(scope="module")
def shared_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus that tests only read."""
    return make_fma(tmp_path_factory.mktemp("fma") / "fma", seconds=0.2)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table a test may damage."""
    return make_fma(tmp_path / "fma", seconds=0.05, suffix=".wav") / TABLE


def _numbers(tracks: list[Track]) -> list[int]:
    return [int(track.path.stem) for track in tracks]


def test_table_with_a_header_of_two_rows_is_read(shared_root: Path) -> None:
    assert read_table(shared_root / TABLE) == list(TRACKS)
    assert csv.field_size_limit() == 131_072


def test_subsets_hold_the_smaller_ones(shared_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = Fma(root=str(shared_root))
    # not 143, which has no file, 1486, which is broken, and 100002, of subset large
    assert _numbers(data.tracks) == [2, 5, 10, 140, 141, 142, 144, 145, 100_001]
    assert _numbers([track for track in data.tracks if track.is_trained]) == [2, 5, 10, 140]
    assert all(track.is_indexed for track in data.tracks)
    assert "1 tracks of the table that have no file, and 1 known to be broken" in caplog.text
    assert (data.data_name, Fma(root=str(shared_root), name="some music").data_name) == ("FMA medium", "some music")
    large = Fma(root=str(shared_root), train_subset="medium", index_subset="large")
    assert _numbers(large.tracks) == [2, 5, 10, 140, 141, 142, 144, 145, 100_001, 100_002]
    assert _numbers([track for track in large.tracks if not track.is_trained]) == [100_002]
    small = Fma(root=str(shared_root), train_subset="medium", index_subset="small")
    assert _numbers([track for track in small.tracks if track.is_indexed]) == [2, 5, 10, 140]


def test_training_split_leaves_the_others_to_be_asked_for(shared_root: Path) -> None:
    data = Fma(root=str(shared_root), train_subset="medium", train_split="training")
    assert _numbers([track for track in data.tracks if track.is_trained]) == [2, 5, 10, 141]


def test_tracks_are_named_by_their_path_and_found_in_any_format(shared_root: Path, tmp_path: Path) -> None:
    data = Fma(root=str(shared_root))
    assert data.track_names[:2] == ["fma_medium/000/000002.mp3", "fma_medium/000/000005.flac"]
    transcoded = Fma(root=str(make_fma(tmp_path / "fma", seconds=0.05, suffix=".wav")))
    assert _numbers(transcoded.tracks) == _numbers(data.tracks)
    clip = tmp_path / "fma" / "fma_full" / "000" / "000002.wav"
    clip.parent.mkdir(parents=True)
    clip.touch()
    assert transcoded.track_names[0] == Fma(root=str(tmp_path / "fma")).track_names[0]  # the clip, not the whole track


def test_known_broken_tracks_are_all_listed() -> None:
    assert len(BROKEN_TRACKS) == 21
    assert {99134, 108925, 133297} <= BROKEN_TRACKS


def test_root_comes_from_the_environment(shared_root: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetMissing, match=r"data/fma.*22 GiB.*EARMARK_FMA_ROOT"):
        _ = Fma().tracks
    monkeypatch.setenv(ROOT_VARIABLE, os.fspath(shared_root))
    assert len(Fma().tracks) == 9


def test_table_without_tracks_is_an_error(table: Path) -> None:
    (table.parent.parent / "fma_medium").rename(table.parent.parent / "elsewhere")
    with pytest.raises(DatasetMissing, match=r"names 10, none of which is there"):
        _ = Fma(root=str(table.parent.parent)).tracks


@pytest.mark.parametrize(
    ("line", "column", "value"), [(0, 4, "sat"), (1, 4, "subsat"), (2, 0, "id"), (4, 4, "tiny"), (4, 0, "five")]
)
def test_damaged_tables_are_named(table: Path, line: int, column: int, value: str) -> None:
    edit_field(table, line + 1, column, value)
    with pytest.raises(DatasetLayoutError, match=r"tracks\.csv.*fma_metadata\.zip again"):
        read_table(table)


def test_unreadable_table_is_an_error(table: Path) -> None:
    table.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetLayoutError, match="UTF-8"):
        read_table(table)
