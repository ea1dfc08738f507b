"""ESC-50's splits keep recordings whole, its labels are those of the table, and a wrong copy is told what is wrong."""

from pathlib import Path

import numpy as np
import pytest

from datamodules import Esc50, Roles
from datamodules.errors import DatasetLayoutError, SplitError
from datamodules.esc50 import SUPERCLASSES
from tests.datamodules.makers import corpus_at, edit_field, label_counts, own_paths, read_rows, recordings, set_up
from tests.replicas.esc50 import CLASSES, make_esc50

NUM_CLASSES = 5
CLIPS_PER_FOLD = 4


@pytest.fixture(scope="module")
def shared_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus that tests only read: 5 classes x 5 folds x 2 recordings x 2 takes."""
    return make_esc50(tmp_path_factory.mktemp("shared") / "ESC-50", NUM_CLASSES, CLIPS_PER_FOLD, seconds=0.1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A corpus a test may damage: two clips of each class and fold."""
    return make_esc50(tmp_path / "ESC-50", NUM_CLASSES, seconds=0.1)


def _data(root: Path | None, cache_dir: Path, **options: object) -> Esc50:
    return corpus_at(Esc50, root, cache_dir, **options)


def _roles(root: Path, cache_dir: Path, **options: object) -> tuple[Esc50, Roles]:
    data = set_up(_data(root, cache_dir, **options))
    return data, data.roles


def _folds(data: Esc50, positions: np.ndarray) -> set[str]:
    return {data.items[position].subset for position in positions}


@pytest.mark.parametrize("fold", [1, 3, 5])
@pytest.mark.parametrize("label_seed", [0, 1])
def test_roles_follow_the_folds(shared_root: Path, tmp_path: Path, fold: int, label_seed: int) -> None:
    data, roles = _roles(shared_root, tmp_path, fold=fold, label_seed=label_seed)
    val_fold = {1: "2", 3: "4", 5: "1"}[fold]
    assert _folds(data, roles.query) == {str(fold)}
    assert _folds(data, roles.database) == {"1", "2", "3", "4", "5"} - {str(fold)}
    assert sorted([*roles.query, *roles.database]) == list(range(len(data.items)))
    assert not recordings(data, roles.query) & recordings(data, roles.database)
    assert set(roles.train) <= set(roles.database)
    assert _folds(data, roles.val_query) == {val_fold}
    assert not recordings(data, roles.val_query) & recordings(data, roles.train)
    assert _folds(data, roles.val_database) == {"1", "2", "3", "4", "5"} - {str(fold), val_fold}
    assert not recordings(data, roles.val_query) & recordings(data, roles.val_database)
    unlabelled_in_val_fold = {
        position
        for position in roles.database
        if data.items[position].subset == val_fold
        and data.items[position].recording not in recordings(data, roles.train)
    }
    assert set(roles.val_query) == unlabelled_in_val_fold


@pytest.mark.parametrize(
    ("labels_per_class", "label_fraction", "expected"),
    [(1, None, 1), (4, None, 4), (7, None, 7), (None, 0.01, 1), (None, 0.25, 4), (None, 0.5, 8)],
)
def test_each_class_gets_the_labels_asked_for(
    shared_root: Path, tmp_path: Path, labels_per_class: int | None, label_fraction: float | None, expected: int
) -> None:
    given = {"labels_per_class": labels_per_class} | ({"label_fraction": label_fraction} if label_fraction else {})
    data, roles = _roles(shared_root, tmp_path, **given)
    assert label_counts(data, roles.train) == [expected] * NUM_CLASSES
    assert len(set(roles.train)) == len(roles.train)


def test_labels_are_drawn_by_their_seed_alone(shared_root: Path, tmp_path: Path) -> None:
    _, first = _roles(shared_root, tmp_path, label_seed=3)
    np.random.seed(99)  # the global generator must not matter
    _, again = _roles(shared_root, tmp_path, label_seed=3)
    _, other = _roles(shared_root, tmp_path, label_seed=4)
    assert first.train.tolist() == again.train.tolist()
    assert first.train.tolist() != other.train.tolist()
    assert first.query.tolist() == other.query.tolist()


def test_labels_are_ranks_of_targets(shared_root: Path, tmp_path: Path) -> None:
    data = _data(shared_root, tmp_path)
    expected = [name for _, name, _ in sorted(CLASSES[:NUM_CLASSES])]
    assert data.class_names == expected
    assert data.num_classes == NUM_CLASSES
    for item in data.items:
        target = int(item.path.stem.split("-")[3])
        assert expected[item.label] == {number: name for number, name, _ in CLASSES}[target]


def test_items_are_in_the_order_of_the_table(shared_root: Path, tmp_path: Path) -> None:
    names = [f"audio/{row['filename']}" for row in read_rows(shared_root / "meta" / "esc50.csv")]
    items = _data(shared_root, tmp_path).items
    assert [item.name for item in items] == names
    assert all(item.path == shared_root / item.name for item in items)
    assert all(item.recording == item.path.stem.split("-")[1] for item in items)


def test_esc10_keeps_its_classes_only(tmp_path: Path) -> None:
    root = make_esc50(tmp_path / "ESC-50", 7, 2, seconds=0.1)
    data, roles = _roles(root, tmp_path, esc10=True)
    assert data.class_names == ["dog", "rooster", "rain", "clock_tick"]
    assert len(data.items) == 4 * 5 * 2
    assert {data.items[position].label for position in roles.query} == {0, 1, 2, 3}
    assert data.data_name == "ESC-10"


def test_superclasses_are_tens_of_targets(tmp_path: Path) -> None:
    root = make_esc50(tmp_path / "ESC-50", 8, 2, seconds=0.1)
    data = _data(root, tmp_path, superclasses=True)
    assert data.class_names == list(SUPERCLASSES)
    superclass = {item.path.stem.split("-")[3]: SUPERCLASSES[item.label] for item in data.items}
    assert superclass == {
        "0": "animals", "1": "animals", "10": "nature", "14": "nature", "26": "human", "30": "interior",
        "38": "interior", "42": "exterior",
    }  # fmt: skip
    assert data.data_name == "ESC-50, superclasses"


def test_superclass_of_a_class_is_the_ten_of_its_target(tmp_path: Path) -> None:
    root = make_esc50(tmp_path / "ESC-50", 8, 2, seconds=0.1)
    data = _data(root, tmp_path)
    assert data.class_names == [
        "dog", "rooster", "rain", "chirping_birds", "laughing", "door_wood_knock", "clock_tick", "siren",
    ]  # fmt: skip
    assert data.superclass_of is not None
    assert data.superclass_of.tolist() == [0, 0, 1, 1, 2, 3, 3, 4]
    assert data.superclass_names == list(SUPERCLASSES)
    of_esc10 = _data(root, tmp_path, esc10=True).superclass_of
    assert of_esc10 is not None
    assert of_esc10.tolist() == [0, 0, 1, 3]
    themselves = _data(root, tmp_path, superclasses=True)
    assert themselves.superclass_of is None
    assert themselves.superclass_names is None


@pytest.mark.parametrize("fold", [2, 5])
def test_training_on_the_database_keeps_a_quarter_of_the_next_fold(tmp_path: Path, fold: int) -> None:
    root = make_esc50(tmp_path / "ESC-50", 2, 8, seconds=0.05)  # 4 recordings of 2 takes in each fold and class
    data, roles = _roles(root, tmp_path, fold=fold, train_on="database")
    assert _folds(data, roles.val_query) == {str(fold % 5 + 1)}
    assert label_counts(data, roles.val_query) == [2, 2]  # both takes of one recording
    assert len(recordings(data, roles.val_query)) == 2
    assert len(roles.train) == len(roles.val_database) == 2 * 4 * 8 - 4
    others = [_roles(root, tmp_path, fold=fold, train_on="database", label_seed=seed)[1] for seed in range(1, 5)]
    assert any(other.val_query.tolist() != roles.val_query.tolist() for other in others)


def test_training_on_the_database_without_validation_takes_all_of_it(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, roles = _roles(root, tmp_path, train_on="database")  # one recording of each fold and class: none to spare
    assert roles.train.tolist() == roles.database.tolist()
    assert data.val_dataloader() == []
    assert "No validation" in caplog.text


def test_skipped_clips_are_neither_trained_on_nor_served(root: Path, tmp_path: Path) -> None:
    bad = sorted((root / "audio").iterdir())[::7]
    for path in bad:
        path.write_bytes(b"")
    data, roles = _roles(root, tmp_path, on_bad_audio="skip", train_on="database", frames_per_clip=2)
    assert not own_paths(data, roles.train, roles.val_query) & set(bad)
    assert all(batch["feature"].isfinite().all() for batch in data.predict_dataloader())


def test_features_before_there_is_a_front_end_are_refused(root: Path) -> None:
    with pytest.raises(RuntimeError, match=r"Call embed_with\(frontend\)"):
        Esc50(root=str(root)).prepare_data()


def test_name_given_is_the_name(shared_root: Path, tmp_path: Path) -> None:
    assert _data(shared_root, tmp_path).data_name == "ESC-50"
    assert _data(shared_root, tmp_path, name="tiny copy").data_name == "tiny copy"


def test_transcoded_copy_has_the_same_split(tmp_path: Path) -> None:
    suffixes = (".wav", ".flac", ".ogg")
    roots = [make_esc50(tmp_path / suffix, 3, 2, suffix, seconds=0.1) for suffix in suffixes]  # type: ignore[arg-type]
    results = [_roles(root, tmp_path) for root in roots]
    assert [{item.path.suffix for item in data.items} for data, _ in results] == [{suffix} for suffix in suffixes]
    stems = [[(item.path.stem, item.label) for item in data.items] for data, _ in results]
    assert stems[0] == stems[1] == stems[2]
    trains = [roles.train.tolist() for _, roles in results]
    assert trains[0] == trains[1] == trains[2]


@pytest.mark.parametrize("column", ["filename", "fold", "target", "category", "esc10", "src_file", "take"])
def test_missing_column_is_named(root: Path, tmp_path: Path, column: str) -> None:
    table = root / "meta" / "esc50.csv"
    edit_field(table, 1, column, "renamed")
    with pytest.raises(DatasetLayoutError, match=f"; {column} not found") as caught:
        _data(root, tmp_path).prepare_data()
    assert str(table) in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value"),
    [("target", "50"), ("target", "-1"), ("target", "dog"), ("target", ""), ("target", "²"), ("fold", ""),
     ("fold", "one"), ("fold", "6"), ("fold", "0"), ("filename", "")],
)  # fmt: skip
def test_impossible_line_is_named(root: Path, tmp_path: Path, column: str, value: str) -> None:
    edit_field(root / "meta" / "esc50.csv", 9, column, value)
    with pytest.raises(DatasetLayoutError, match="line 9: expected") as caught:
        _data(root, tmp_path).prepare_data()
    assert repr(value) in str(caught.value)


def test_table_cut_off_is_told_by_its_line(root: Path, tmp_path: Path) -> None:
    path = root / "meta" / "esc50.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], lines[4].split(",")[0]]))
    with pytest.raises(DatasetLayoutError, match="line 5: expected"):
        _data(root, tmp_path).prepare_data()


def test_empty_table_is_refused(root: Path, tmp_path: Path) -> None:
    path = root / "meta" / "esc50.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(DatasetLayoutError, match="found none"):
        _data(root, tmp_path).prepare_data()


def test_esc10_of_a_table_without_it_is_refused(root: Path, tmp_path: Path) -> None:
    path = root / "meta" / "esc50.csv"
    path.write_text(path.read_text().replace("True", "False"))
    with pytest.raises(DatasetLayoutError, match="esc10"):
        _data(root, tmp_path, esc10=True).prepare_data()


def _keep_folds(root: Path, folds: str) -> None:
    path = root / "meta" / "esc50.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], *[line for line in lines[1:] if line[0] in folds]]))


def test_fold_without_clips_is_refused(root: Path, tmp_path: Path) -> None:
    _keep_folds(root, "12")
    data = _data(root, tmp_path, fold=3)
    with pytest.raises(SplitError, match=r"clips in fold 3 .* found folds \[1, 2\]"):
        data.setup()


def test_nothing_to_answer_validation_queries_from_is_refused(root: Path, tmp_path: Path) -> None:
    _keep_folds(root, "12")
    data = _data(root, tmp_path, fold=1, labels_per_class=1)
    with pytest.raises(SplitError, match=r"a fold other than 1 and 2.*--data\.fold"):
        data.setup()
    _, roles = _roles(root, tmp_path, fold=2, labels_per_class=1)  # without clips in fold 3 there is no validation
    assert len(roles.val_query) == 0


def test_roles_before_setup_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"Call setup\(\)"):
        _ = _data(root, tmp_path).roles
