"""A user's own folder is split by class and recording, with or without a split file, and told what is wrong with it."""

from pathlib import Path

import numpy as np
import pytest

from datamodules import AudioFolder, Roles
from datamodules.errors import DatasetLayoutError, DatasetMissing, SplitError
from tests.datamodules.makers import corpus_at, label_counts, recordings, set_up
from tests.replicas.audio_folder import CLASSES, make_audio_folder

NUM_CLASSES = 4
CLIPS_PER_CLASS = 12


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that tests only read."""
    parent = tmp_path_factory.mktemp("shared")
    return make_audio_folder(parent / "Geräusche", NUM_CLASSES, CLIPS_PER_CLASS, seconds=0.1, with_split=True)


def _data(root: Path, cache_dir: Path, split_file: Path | None = None, **options: object) -> AudioFolder:
    return corpus_at(AudioFolder, root, cache_dir, split_file=str(split_file) if split_file else None, **options)


def _roles(root: Path, cache_dir: Path, split_file: Path | None = None, **options: object) -> tuple[AudioFolder, Roles]:
    data = set_up(_data(root, cache_dir, split_file, **options))
    return data, data.roles


def _lines(root: Path) -> list[str]:
    return (root / "split.csv").read_text(encoding="utf-8").splitlines()


def _split(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_every_format_rate_and_name_is_read(root: Path, tmp_path: Path) -> None:
    data, _ = _roles(root, tmp_path)
    assert data.class_names == sorted(CLASSES[:NUM_CLASSES])
    assert {item.path.suffix for item in data.items} == {".wav", ".flac", ".ogg"}
    assert "sirène/glück_00.wav" in [item.name for item in data.items]
    assert all(data.class_names[item.label] == item.path.parent.name for item in data.items)
    assert [item.name for item in data.items] == sorted(item.name for item in data.items)
    assert data.data_name == "Geräusche"
    assert _data(root, tmp_path, name="mine").data_name == "mine"


def test_without_split_file_each_class_gives_its_share_of_queries(root: Path, tmp_path: Path) -> None:
    data, roles = _roles(root, tmp_path, query_fraction=0.25, labels_per_class=2)
    assert label_counts(data, roles.query) == [3] * NUM_CLASSES
    assert sorted([*roles.query, *roles.database]) == list(range(NUM_CLASSES * CLIPS_PER_CLASS))
    assert label_counts(data, roles.train) == [2] * NUM_CLASSES
    assert set(roles.train) <= set(roles.database)
    assert label_counts(data, roles.val_query) == [2] * NUM_CLASSES  # a quarter of 12 - 3 - 2
    assert set(roles.val_query) <= set(roles.database) - set(roles.train)
    assert set(roles.val_database) == set(roles.database) - set(roles.val_query)


def test_split_is_drawn_by_its_seed_alone(root: Path, tmp_path: Path) -> None:
    _, first = _roles(root, tmp_path, split_seed=1)
    np.random.seed(99)  # the global generator must not matter
    _, again = _roles(root, tmp_path, split_seed=1)
    _, other = _roles(root, tmp_path, split_seed=2)
    assert first.query.tolist() == again.query.tolist()
    assert first.val_query.tolist() == again.val_query.tolist()
    assert first.query.tolist() != other.query.tolist()


@pytest.mark.parametrize("labels_per_class", [1, 3])
def test_split_file_decides_and_recordings_stay_whole(root: Path, tmp_path: Path, labels_per_class: int) -> None:
    data, roles = _roles(root, tmp_path, root / "split.csv", labels_per_class=labels_per_class)
    assert {data.items[position].subset for position in roles.query} == {"query"}
    assert {data.items[position].subset for position in roles.database} == {"database"}
    assert label_counts(data, roles.query) == [4] * NUM_CLASSES
    assert label_counts(data, roles.database) == [8] * NUM_CLASSES
    assert not recordings(data, roles.query) & recordings(data, roles.database)
    assert len(roles.val_query) > 0
    assert not recordings(data, roles.val_query) & recordings(data, roles.train)
    assert not recordings(data, roles.val_query) & recordings(data, roles.val_database)
    assert set(roles.val_query) | set(roles.val_database) == set(roles.database)


def test_clips_the_split_file_does_not_name_are_left_out(root: Path, tmp_path: Path) -> None:
    lines = _lines(root)
    dropped = [line.split(",")[0] for line in lines[1:] if "clip_03" in line]
    split_file = _split(tmp_path / "split.csv", *[line for line in lines if "clip_03" not in line])
    data, _ = _roles(root, tmp_path, split_file)
    assert len(dropped) == NUM_CLASSES
    assert {item.name for item in data.items} == {line.split(",")[0] for line in lines[1:]} - set(dropped)


def test_without_the_column_recording_each_clip_is_one(root: Path, tmp_path: Path) -> None:
    lines = _lines(root)
    split_file = _split(tmp_path / "split.csv", *[line.rsplit(",", 1)[0] for line in lines])
    data, _ = _roles(root, tmp_path, split_file)
    assert [item.recording for item in data.items] == [item.name for item in data.items]


def test_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing, match=r"one sub-folder a class at .*nowhere.*--data\.root"):
        _data(tmp_path / "nowhere", tmp_path).prepare_data()


def test_folder_without_clips_is_told(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "notes.txt").write_text("none")
    (tmp_path / "loose.wav").write_bytes(b"not in a class")
    with pytest.raises(DatasetMissing, match=r"clips as class/clip\.ext"):
        _data(tmp_path, tmp_path / "cache").prepare_data()


def test_missing_split_file_is_told(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing, match=r"table at .*absent\.csv.*--data\.split_file"):
        _data(root, tmp_path, tmp_path / "absent.csv").prepare_data()


@pytest.mark.parametrize("column", ["filename", "split"])
def test_missing_column_is_named(root: Path, tmp_path: Path, column: str) -> None:
    lines = _lines(root)
    split_file = _split(tmp_path / "split.csv", lines[0].replace(column, "other"), *lines[1:])
    with pytest.raises(DatasetLayoutError, match=f"; {column} not found"):
        _data(root, tmp_path, split_file).prepare_data()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bells/clip_01.flac,train,x", "split must be query or database; found 'train'"),
        ("bells/clip_01.flac", "expected 3 fields, found 1"),
    ],
)
def test_a_wrong_line_is_named(root: Path, tmp_path: Path, line: str, message: str) -> None:
    lines = _lines(root)
    split_file = _split(tmp_path / "split.csv", *lines[:2], *lines[3:4], line)
    with pytest.raises(DatasetLayoutError, match=f"line 4: {message}"):
        _data(root, tmp_path, split_file).prepare_data()


def test_clip_named_twice_is_told(root: Path, tmp_path: Path) -> None:
    lines = _lines(root)
    split_file = _split(tmp_path / "split.csv", *lines, lines[2].replace("database", "query"))
    with pytest.raises(DatasetLayoutError, match=rf"{lines[2].split(',')[0]} .*once"):
        _data(root, tmp_path, split_file).prepare_data()


def test_clip_of_the_split_file_that_is_not_there_is_named(root: Path, tmp_path: Path) -> None:
    split_file = _split(tmp_path / "split.csv", "filename,split", "bells/none.wav,query", "bells/clip_01.flac,database")
    with pytest.raises(DatasetMissing, match=r"names 1 files that are not in .*, first bells/none\.wav"):
        _data(root, tmp_path, split_file).prepare_data()


def test_recording_on_both_sides_is_named(root: Path, tmp_path: Path) -> None:
    lines = _lines(root)
    lines[1] = lines[1].replace("database", "query")
    data = _data(root, tmp_path, _split(tmp_path / "split.csv", *lines))
    with pytest.raises(SplitError, match="'bells-0' has clips among queries and database"):
        data.setup()


def test_split_without_queries_is_refused(root: Path, tmp_path: Path) -> None:
    text = (root / "split.csv").read_text(encoding="utf-8").replace(",query,", ",database,")
    data = _data(root, tmp_path, _split(tmp_path / "split.csv", *text.splitlines()))
    with pytest.raises(SplitError, match=f"found 0 and {NUM_CLASSES * CLIPS_PER_CLASS} usable clips"):
        data.setup()


def test_one_clip_a_class_gives_no_query(tmp_path: Path) -> None:
    data = _data(make_audio_folder(tmp_path / "few", 2, 1, seconds=0.1), tmp_path)
    with pytest.raises(SplitError, match="found 0 and 2 usable clips"):
        data.setup()
