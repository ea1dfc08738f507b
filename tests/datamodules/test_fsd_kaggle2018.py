"""FSDKaggle2018 is read from both layouts and spellings; its split is the official one and keeps recordings whole."""

from collections import Counter
from pathlib import Path

import pytest

from datamodules import FsdKaggle2018, Roles
from datamodules import fsd_kaggle2018 as fsd_module
from datamodules.errors import DatasetLayoutError, DatasetMissing, SplitError
from datamodules.fsd_kaggle2018 import ARCHIVES, NUM_CLIPS
from tests.datamodules.makers import corpus_at, edit_field, label_counts, read_rows, recordings, set_up
from tests.replicas.fsd_kaggle2018 import CLASSES, make_fsd_kaggle2018

NUM_CLASSES = 3
TRAIN_PER_CLASS = 12
TEST_PER_CLASS = 2
TRAIN_TABLE = "FSDKaggle2018.meta/train_post_competition.csv"
TEST_TABLE = "FSDKaggle2018.meta/test_post_competition_scoring_clips.csv"


@pytest.fixture(scope="module")
def shared_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus that tests only read."""
    return make_fsd_kaggle2018(tmp_path_factory.mktemp("shared") / "FSDKaggle2018", seconds=0.1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A corpus a test may damage."""
    return make_fsd_kaggle2018(tmp_path / "FSDKaggle2018", train_per_class=6, seconds=0.05)


def _data(root: Path | None, cache_dir: Path, **options: object) -> FsdKaggle2018:
    return corpus_at(FsdKaggle2018, root, cache_dir, **options)


def _roles(root: Path | None, cache_dir: Path, **options: object) -> tuple[FsdKaggle2018, Roles]:
    data = set_up(_data(root, cache_dir, **options))
    return data, data.roles


def test_official_test_clips_ask_and_train_clips_answer(shared_root: Path, tmp_path: Path) -> None:
    data, roles = _roles(shared_root, tmp_path)
    assert data.class_names == list(CLASSES[:NUM_CLASSES])
    assert data.data_name == "FSDKaggle2018"
    tables = {"train": read_rows(shared_root / TRAIN_TABLE), "test": read_rows(shared_root / TEST_TABLE)}
    for part, positions in (("train", roles.database), ("test", roles.query)):
        served = [data.items[position] for position in positions]
        assert [(item.path.name, data.class_names[item.label]) for item in served] == [
            (row["fname"], row["label"]) for row in tables[part]
        ]
        assert {item.path.parent.name for item in served} == {f"FSDKaggle2018.audio_{part}"}
        assert all(item.name == item.path.relative_to(shared_root).as_posix() for item in served)


def test_a_tenth_of_each_class_is_labelled_by_the_seed(tmp_path: Path) -> None:
    root = make_fsd_kaggle2018(tmp_path / "corpus", train_per_class=20, seconds=0.05)
    data, roles = _roles(root, tmp_path / "cache")
    assert label_counts(data, roles.train) == [2] * NUM_CLASSES
    assert set(roles.train) <= set(roles.database)
    _, again = _roles(root, tmp_path / "cache", label_seed=0)
    _, other = _roles(root, tmp_path / "cache", label_seed=1)
    assert roles.train.tolist() == again.train.tolist() != other.train.tolist()
    _, more = _roles(root, tmp_path / "cache", label_fraction=0.5)
    assert label_counts(data, more.train) == [10] * NUM_CLASSES
    _, counted = _roles(root, tmp_path / "cache", labels_per_class=3)
    assert label_counts(data, counted.train) == [3] * NUM_CLASSES


@pytest.mark.parametrize("label_seed", range(4))
def test_validation_keeps_takes_together(shared_root: Path, tmp_path: Path, label_seed: int) -> None:
    data, roles = _roles(shared_root, tmp_path, label_seed=label_seed, labels_per_class=2, val_fraction=0.5)
    assert all(count >= 3 for count in label_counts(data, roles.val_query))  # half of at least 8 recordings
    assert not recordings(data, roles.val_query) & recordings(data, roles.train)
    assert not recordings(data, roles.val_query) & recordings(data, roles.val_database)
    assert sorted([*roles.val_query, *roles.val_database]) == roles.database.tolist()


def test_validation_is_drawn_by_its_seed(shared_root: Path, tmp_path: Path) -> None:
    drawn = [_roles(shared_root, tmp_path, split_seed=seed)[1].val_query.tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_recordings_are_freesounds_where_known(shared_root: Path, tmp_path: Path) -> None:
    data = _data(shared_root, tmp_path)
    takes = Counter(item.recording for item in data.items)
    assert sorted(takes.values())[-NUM_CLASSES:] == [2] * NUM_CLASSES
    unknown = [item for item in data.items if not item.recording.isdigit()]
    assert [item.recording for item in unknown] == [item.name for item in unknown]
    assert len(unknown) == NUM_CLASSES


@pytest.mark.parametrize("suffix", [".wav", ".ogg"])
def test_both_layouts_and_spellings_give_one_split(shared_root: Path, tmp_path: Path, suffix: str) -> None:
    reference, roles = _roles(shared_root, tmp_path / "cache")
    spelt = make_fsd_kaggle2018(tmp_path / "spelt", seconds=0.1, recording_column="fsID", suffix=suffix)  # type: ignore[arg-type]
    kaggle = make_fsd_kaggle2018(tmp_path / "kaggle", seconds=0.1, layout="kaggle", suffix=suffix)  # type: ignore[arg-type]
    for root in (spelt, kaggle):
        data, found = _roles(root, tmp_path / "cache")
        assert [(item.path.stem, item.label) for item in data.items] == [
            (item.path.stem, item.label) for item in reference.items
        ]
        for role in ("train", "query", "database"):
            assert getattr(found, role).tolist() == getattr(roles, role).tolist()
        if root is spelt:
            assert found.val_query.tolist() == roles.val_query.tolist()
            assert [item.recording.split("/")[-1].split(".")[0] for item in data.items] == [
                item.recording.split("/")[-1].split(".")[0] for item in reference.items
            ]
        else:  # its train table names no recordings, so each clip counts as one
            assert all(item.recording == item.name for item in data.items if item.subset == "train")


def test_clips_that_are_not_scored_are_left_out(tmp_path: Path) -> None:
    root = make_fsd_kaggle2018(tmp_path / "kaggle", seconds=0.05, layout="kaggle")
    assert (root / "audio_test" / "ffffff00.wav").is_file()
    data = _data(root, tmp_path)
    assert "None" not in data.class_names
    assert [item.subset for item in data.items].count("test") == NUM_CLASSES * TEST_PER_CLASS


def test_only_verified_clips_where_asked_for(shared_root: Path, tmp_path: Path) -> None:
    data, roles = _roles(shared_root, tmp_path, verified_only=True)
    verified = {row["fname"] for row in read_rows(shared_root / TRAIN_TABLE) if row["manually_verified"] == "1"}
    assert {data.items[position].path.name for position in roles.database} == verified
    assert len(verified) == NUM_CLASSES * TRAIN_PER_CLASS // 2
    assert len(roles.query) == NUM_CLASSES * TEST_PER_CLASS
    assert data.data_name == "FSDKaggle2018, verified"


def test_a_partial_copy_is_read_and_told(shared_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(_data(shared_root, tmp_path).items) == NUM_CLASSES * (TRAIN_PER_CLASS + TEST_PER_CLASS)
    assert "36 train clips, 9473 expected" in caplog.text
    assert "6 test clips, 1600 expected" in caplog.text


def test_a_whole_copy_is_not_warned_about(
    shared_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert NUM_CLIPS == {"train": 9_473, "test": 1_600}
    whole = {"train": NUM_CLASSES * TRAIN_PER_CLASS, "test": NUM_CLASSES * TEST_PER_CLASS}
    monkeypatch.setattr(fsd_module, "NUM_CLIPS", whole)
    for verified_only in (False, True):
        assert _data(shared_root, tmp_path, verified_only=verified_only).items
    assert not caplog.records


def test_train_clips_of_a_test_recording_are_left_out(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = read_rows(root / TEST_TABLE)[0]["freesound_id"]
    edit_field(root / TRAIN_TABLE, 5, "freesound_id", source)
    data, roles = _roles(root, tmp_path / "cache")
    assert "Left out 1 train clips" in caplog.text
    assert not recordings(data, roles.query) & recordings(data, roles.database)
    assert len(roles.database) == NUM_CLASSES * 6 - 1


each_table = pytest.mark.parametrize("table", [TRAIN_TABLE, TEST_TABLE])


@each_table
@pytest.mark.parametrize("column", ["fname", "label"])
def test_missing_column_is_named(root: Path, tmp_path: Path, table: str, column: str) -> None:
    edit_field(root / table, 1, column, "renamed")
    with pytest.raises(DatasetLayoutError, match=f"columns fname, label; {column} not found among .*Fetch") as caught:
        _data(root, tmp_path).prepare_data()
    assert str(root / table) in str(caught.value)


def test_verification_is_asked_for_only_where_it_is_needed(root: Path, tmp_path: Path) -> None:
    edit_field(root / TRAIN_TABLE, 1, "manually_verified", "renamed")
    _data(root, tmp_path).prepare_data()
    with pytest.raises(DatasetLayoutError, match="manually_verified not found"):
        _data(root, tmp_path, verified_only=True).prepare_data()
    edit_field(root / TRAIN_TABLE, 1, "renamed", "manually_verified")
    edit_field(root / TRAIN_TABLE, 4, "manually_verified", "yes")
    with pytest.raises(DatasetLayoutError, match="expected 0 or 1 in manually_verified, found 'yes'"):
        _data(root, tmp_path, verified_only=True).prepare_data()


def test_label_of_the_test_table_alone_is_named(root: Path, tmp_path: Path) -> None:
    edit_field(root / TEST_TABLE, 3, "label", "Bork")
    with pytest.raises(DatasetLayoutError, match="expected the 3 labels of the train table, found 'Bork' of"):
        _data(root, tmp_path).prepare_data()


@each_table
@pytest.mark.parametrize("column", ["fname", "label"])
def test_empty_field_is_told_by_its_line(root: Path, tmp_path: Path, table: str, column: str) -> None:
    edit_field(root / table, 4, column, "")
    with pytest.raises(DatasetLayoutError, match=r"line 4: expected a file name .*and a label, found .*''"):
        _data(root, tmp_path).prepare_data()


def test_clip_named_twice_is_told_by_its_line(root: Path, tmp_path: Path) -> None:
    edit_field(root / TRAIN_TABLE, 6, "fname", read_rows(root / TRAIN_TABLE)[0]["fname"])
    with pytest.raises(DatasetLayoutError, match="line 6: expected a file name not named before"):
        _data(root, tmp_path).prepare_data()


@each_table
def test_empty_table_is_refused(root: Path, tmp_path: Path, table: str) -> None:
    path = root / table
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(DatasetLayoutError, match="expected one line a clip, found none"):
        _data(root, tmp_path).prepare_data()
    path.write_text("")
    with pytest.raises(DatasetLayoutError, match="fname, label not found among no columns"):
        _data(root, tmp_path).prepare_data()


@pytest.mark.parametrize("part", ["train", "test"])
def test_part_without_a_usable_clip_is_refused(root: Path, tmp_path: Path, part: str) -> None:
    for path in (root / f"FSDKaggle2018.audio_{part}").iterdir():
        path.write_bytes(b"")
    data = _data(root, tmp_path, on_bad_audio="skip")
    with pytest.raises(SplitError, match="Expected queries and a database of FSDKaggle2018"):
        data.setup()


def test_competition_without_test_labels_says_which_table_is_missing(tmp_path: Path) -> None:
    root = make_fsd_kaggle2018(tmp_path / "kaggle", seconds=0.05, layout="kaggle")
    (root / "test_post_competition.csv").unlink()
    with pytest.raises(DatasetMissing, match=r"test_post_competition_scoring_clips\.csv or test_post_competition\.csv"):
        _data(root, tmp_path).prepare_data()


def test_archives_are_the_three_that_are_read() -> None:
    assert {archive.top_folder for archive in ARCHIVES} == {
        "FSDKaggle2018.meta", "FSDKaggle2018.audio_train", "FSDKaggle2018.audio_test",
    }  # fmt: skip
    assert ARCHIVES[-1].top_folder == "FSDKaggle2018.meta"  # what a killed download goes by
    for archive in ARCHIVES:
        assert archive.url == f"https://zenodo.org/records/2552860/files/{archive.top_folder}.zip"
        algorithm, digest = archive.checksum.split(":")
        assert algorithm == "md5"
        assert len(digest) == 32
