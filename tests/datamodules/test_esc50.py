"""ESC-50's splits keep recordings whole, its labels are those of the table, and a wrong copy is told what is wrong."""

import csv
import hashlib
import shutil
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from datamodules import Esc50, Roles
from datamodules import esc50 as esc50_module
from datamodules.errors import DatasetLayoutError, DatasetMissing, SplitError
from datamodules.esc50 import ROOT_VARIABLE, SUPERCLASSES
from sound.errors import AudioFileError
from storage.fetch import Archive
from tests.datamodules.counting_front_end import embedded
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
    return embedded(Esc50(root=str(root) if root else None, cache_dir=str(cache_dir), **options))  # type: ignore[arg-type]


def _roles(root: Path, cache_dir: Path, **options: object) -> tuple[Esc50, Roles]:
    data = _data(root, cache_dir, **options)
    data.prepare_data()
    data.setup()
    return data, data.roles


def _recordings(data: Esc50, positions: np.ndarray) -> set[str]:
    return {data.items[position].recording for position in positions}


def _folds(data: Esc50, positions: np.ndarray) -> set[str]:
    return {data.items[position].subset for position in positions}


def _edit_table(root: Path, line: int, column: str, value: str) -> None:
    """Change one field; lines count from 1, the header."""
    path = root / "meta" / "esc50.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    rows[line - 1][rows[0].index(column)] = value
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


@pytest.mark.parametrize("fold", [1, 3, 5])
@pytest.mark.parametrize("label_seed", [0, 1])
def test_roles_follow_the_folds(shared_root: Path, tmp_path: Path, fold: int, label_seed: int) -> None:
    data, roles = _roles(shared_root, tmp_path, fold=fold, label_seed=label_seed)
    val_fold = {1: "2", 3: "4", 5: "1"}[fold]
    assert _folds(data, roles.query) == {str(fold)}
    assert _folds(data, roles.database) == {"1", "2", "3", "4", "5"} - {str(fold)}
    assert sorted([*roles.query, *roles.database]) == list(range(len(data.items)))
    assert not _recordings(data, roles.query) & _recordings(data, roles.database)
    assert set(roles.train) <= set(roles.database)
    assert _folds(data, roles.val_query) == {val_fold}
    assert not _recordings(data, roles.val_query) & _recordings(data, roles.train)
    assert _folds(data, roles.val_database) == {"1", "2", "3", "4", "5"} - {str(fold), val_fold}
    assert not _recordings(data, roles.val_query) & _recordings(data, roles.val_database)
    unlabelled_in_val_fold = {
        position
        for position in roles.database
        if data.items[position].subset == val_fold
        and data.items[position].recording not in _recordings(data, roles.train)
    }
    assert set(roles.val_query) == unlabelled_in_val_fold


def test_each_class_gets_the_labels_asked_for(shared_root: Path, tmp_path: Path) -> None:
    for labels_per_class in (1, 4, 7):
        data, roles = _roles(shared_root, tmp_path, labels_per_class=labels_per_class)
        labels = [data.items[position].label for position in roles.train]
        assert np.bincount(labels).tolist() == [labels_per_class] * NUM_CLASSES
        assert len(set(roles.train)) == len(roles.train)


def test_each_class_gets_the_share_of_labels_asked_for(shared_root: Path, tmp_path: Path) -> None:
    for label_fraction, expected in ((0.01, 1), (0.25, 4), (0.5, 8)):
        data, roles = _roles(shared_root, tmp_path, labels_per_class=None, label_fraction=label_fraction)
        labels = [data.items[position].label for position in roles.train]
        assert np.bincount(labels).tolist() == [expected] * NUM_CLASSES


def test_labels_are_drawn_by_their_seed_alone(shared_root: Path, tmp_path: Path) -> None:
    _, first = _roles(shared_root, tmp_path, label_seed=3)
    np.random.seed(99)  # the global generator must not matter
    _, again = _roles(shared_root, tmp_path, label_seed=3)
    _, other = _roles(shared_root, tmp_path, label_seed=4)
    assert first.train.tolist() == again.train.tolist()
    assert first.train.tolist() != other.train.tolist()
    assert first.query.tolist() == other.query.tolist()


def test_all_labelled_is_trained_without_validation(
    shared_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, roles = _roles(shared_root, tmp_path, labels_per_class=None, label_fraction=1.0)
    assert roles.train.tolist() == roles.database.tolist()
    assert len(roles.val_query) == 0
    assert data.val_dataloader() == []
    assert "No validation" in caplog.text


def test_labels_are_ranks_of_targets(shared_root: Path, tmp_path: Path) -> None:
    data = _data(shared_root, tmp_path)
    expected = [name for _, name, _ in sorted(CLASSES[:NUM_CLASSES])]
    assert data.class_names == expected
    assert data.num_classes == NUM_CLASSES
    for item in data.items:
        target = int(item.path.stem.split("-")[3])
        assert expected[item.label] == {number: name for number, name, _ in CLASSES}[target]


def test_items_are_in_the_order_of_the_table(shared_root: Path, tmp_path: Path) -> None:
    with (shared_root / "meta" / "esc50.csv").open(newline="") as file:
        names = [f"audio/{row['filename']}" for row in csv.DictReader(file)]
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
    labels = [data.items[position].label for position in roles.val_query]
    assert np.bincount(labels).tolist() == [2, 2]  # both takes of one recording
    assert len(_recordings(data, roles.val_query)) == 2
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
    trained = {data.items[position].path for position in [*roles.train, *roles.val_query]}
    assert not trained & set(bad)
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


def test_skipped_clips_have_no_role(root: Path, tmp_path: Path) -> None:
    bad = sorted((root / "audio").iterdir())[::7]
    for path in bad:
        path.write_bytes(b"")
    data, roles = _roles(root, tmp_path, on_bad_audio="skip", labels_per_class=2)
    served = {data.items[position].path for position in [*roles.query, *roles.database]}
    assert served == set((root / "audio").iterdir()) - set(bad)
    assert set(roles.train) | set(roles.val_query) | set(roles.val_database) <= set(roles.database)
    with pytest.raises(AudioFileError, match=bad[0].name):
        _data(root, tmp_path).prepare_data()


def test_missing_root_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing) as caught:
        _data(tmp_path / "nowhere", tmp_path / "cache").prepare_data()
    for part in (str(tmp_path / "nowhere"), "--data.root", ROOT_VARIABLE, "demo.yaml"):
        assert part in str(caught.value)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("column", ["filename", "fold", "target", "category", "esc10", "src_file", "take"])
def test_missing_column_is_named(root: Path, tmp_path: Path, column: str) -> None:
    _edit_table(root, 1, column, "renamed")
    with pytest.raises(DatasetLayoutError, match=f"; {column} not found") as caught:
        _data(root, tmp_path).prepare_data()
    assert str(root / "meta" / "esc50.csv") in str(caught.value)


def test_missing_clips_are_counted_and_the_first_named(root: Path, tmp_path: Path) -> None:
    removed = sorted((root / "audio").iterdir())[5:8]
    for path in removed:
        path.unlink()
    with pytest.raises(DatasetMissing, match=f"names 3 clips that are not in .*, first {removed[0].name}"):
        _data(root, tmp_path).prepare_data()


@pytest.mark.parametrize(
    ("column", "value"),
    [("target", "50"), ("target", "-1"), ("target", "dog"), ("target", ""), ("target", "²"), ("fold", ""),
     ("fold", "one"), ("fold", "6"), ("fold", "0"), ("filename", "")],
)  # fmt: skip
def test_impossible_line_is_named(root: Path, tmp_path: Path, column: str, value: str) -> None:
    _edit_table(root, 9, column, value)
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


@pytest.mark.parametrize("fold", [0, 6, -1])
def test_impossible_fold_is_refused(tmp_path: Path, fold: int) -> None:
    with pytest.raises(SplitError, match=f"fold must be 1 to 5; got {fold}"):
        _data(tmp_path, tmp_path, fold=fold)


@pytest.mark.parametrize("label_fraction", [0.0, -0.1, 1.1])
def test_impossible_label_fraction_is_refused(tmp_path: Path, label_fraction: float) -> None:
    with pytest.raises(SplitError, match="label_fraction must be above 0"):
        _data(tmp_path, tmp_path, label_fraction=label_fraction)


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


def test_too_few_clips_for_the_labels_names_the_class(root: Path, tmp_path: Path) -> None:
    data = _data(root, tmp_path, labels_per_class=9)
    with pytest.raises(SplitError, match="'dog' has 8 usable clips in the database; 9 labels") as caught:
        data.setup()
    assert "--data.labels_per_class" in str(caught.value)


def test_roles_before_setup_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"Call setup\(\)"):
        _ = _data(root, tmp_path).roles


def test_environment_names_the_folder_and_the_argument_wins(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(root))
    data = Esc50(cache_dir=str(tmp_path))
    assert len(data.items) == NUM_CLASSES * 5 * 2
    assert data.own_copy == str(root)
    assert _data(tmp_path / "other", tmp_path).folder == tmp_path / "other"


def _archive_of(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zip the corpus as the release is zipped, and have it fetched from there."""
    release = root.parent / "release" / "ESC-50-master"
    shutil.copytree(root, release)
    file = Path(shutil.make_archive(str(root.parent / "master"), "zip", release.parent, "ESC-50-master"))
    checksum = f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    archive = Archive("ESC-50", file.as_uri(), 1, checksum, "CC BY-NC 3.0", "Piczak 2015", "ESC-50-master")
    monkeypatch.setattr(esc50_module, "ARCHIVE", archive)


def test_download_fetches_into_the_default_folder(root: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _archive_of(root, monkeypatch)
    data, roles = _roles(cast(Path, None), in_tmp / "cache")
    assert (in_tmp / "data" / "ESC-50" / "meta" / "esc50.csv").is_file()
    assert len(data.items) == NUM_CLASSES * 5 * 2
    assert len(roles.query) == NUM_CLASSES * 2
    assert {path.name for path in (in_tmp / "data").iterdir()} == {"ESC-50", "ESC-50.lock"}


def test_nothing_is_fetched_for_a_folder_named_or_with_download_off(
    root: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _archive_of(root, monkeypatch)
    for data in (_data(in_tmp / "typo", in_tmp), _data(None, in_tmp, download=False)):
        with pytest.raises(DatasetMissing, match=r"demo\.yaml"):
            data.prepare_data()
    assert not (in_tmp / "data").exists()
    assert not (in_tmp / "typo").exists()


def test_default_folder_without_a_table_is_told(root: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _archive_of(root, monkeypatch)
    (in_tmp / "data" / "ESC-50" / "ESC-50-master").mkdir(parents=True)
    with pytest.raises(DatasetMissing, match=r"esc50\.csv"):
        _data(None, in_tmp).prepare_data()
