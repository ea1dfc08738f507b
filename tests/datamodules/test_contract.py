"""What holds for every data module, and for the datasets they serve."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules import AudioFolder, EmbeddingDataModule, Esc50, FsdKaggle2018, LabelledFold, RenderedEvents
from datamodules.batches.feature_dataset import FeatureDataset
from datamodules.errors import SplitError
from datamodules.rendered_events.synthesis import EVENTS
from tests.datamodules.counting_front_end import CountingFrontEnd, embedded
from tests.replicas.audio_folder import make_audio_folder
from tests.replicas.esc50 import make_esc50
from tests.replicas.fsd_kaggle2018 import make_fsd_kaggle2018

LABELS_PER_CLASS = 2
ROLES = ("train", "query", "database", "val_query", "val_database")

Make = Callable[..., EmbeddingDataModule]


def _esc50(root: Path, **options: object) -> EmbeddingDataModule:
    return Esc50(root=str(root / "esc50"), **options)  # type: ignore[arg-type]


def _esc10(root: Path, **options: object) -> EmbeddingDataModule:
    return Esc50(root=str(root / "esc50"), esc10=True, **options)  # type: ignore[arg-type]


def _superclasses(root: Path, **options: object) -> EmbeddingDataModule:
    return Esc50(root=str(root / "esc50"), superclasses=True, fold=5, **options)  # type: ignore[arg-type]


def _audio_folder(root: Path, **options: object) -> EmbeddingDataModule:
    return AudioFolder(root=str(root / "folder"), **options)  # type: ignore[arg-type]


def _split_folder(root: Path, **options: object) -> EmbeddingDataModule:
    folder = root / "folder"
    return AudioFolder(root=str(folder), split_file=str(folder / "split.csv"), **options)  # type: ignore[arg-type]


def _rendered(root: Path, **options: object) -> EmbeddingDataModule:
    return RenderedEvents(root=str(root / "rendered"), clips_per_class=10, **options)  # type: ignore[arg-type]


def _fsd_kaggle2018(root: Path, **options: object) -> EmbeddingDataModule:
    return FsdKaggle2018(root=str(root / "fsd"), **options)  # type: ignore[arg-type]


def _kaggles_copy(root: Path, **options: object) -> EmbeddingDataModule:
    return FsdKaggle2018(root=str(root / "kaggle"), **options)  # type: ignore[arg-type]


NUM_CLASSES = {
    _esc50: 5, _esc10: 2, _superclasses: 5, _audio_folder: 4, _split_folder: 4, _fsd_kaggle2018: 4, _kaggles_copy: 3,
    _rendered: len(EVENTS),
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    make_esc50(folder / "esc50", 5, 4, seconds=0.1)
    make_audio_folder(folder / "folder", 4, 10, seconds=0.1, with_split=True)
    make_fsd_kaggle2018(folder / "fsd", 4, seconds=0.1)
    make_fsd_kaggle2018(folder / "kaggle", seconds=0.1, layout="kaggle")
    return folder


@pytest.fixture(params=list(NUM_CLASSES), ids=lambda make: make.__name__.strip("_"))
def make(request: pytest.FixtureRequest, root: Path) -> Make:
    """Make a data module that is set up; caches are shared between tests."""

    def made(stage: str | None = None, **options: object) -> EmbeddingDataModule:
        given = {"cache_dir": str(root / "cache"), "labels_per_class": LABELS_PER_CLASS, **options}
        data: EmbeddingDataModule = embedded(request.param(root, **given))
        data.prepare_data()
        data.setup(stage)
        return data

    made.num_classes = NUM_CLASSES[request.param]  # type: ignore[attr-defined]
    return made


def _columns(batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def test_batches_have_the_documented_fields(make: Make) -> None:
    data = make(batch_size=4)
    loaders = [data.train_dataloader(), *data.val_dataloader(), *data.test_dataloader(), data.predict_dataloader()]
    for loader in loaders:
        batches = list(loader)
        assert batches
        for batch in batches:
            assert set(batch) == {"feature", "label", "item_index"}
            size = len(batch["label"])
            assert batch["feature"].shape == (size, data.frontend.frame_dim)
            assert batch["label"].shape == batch["item_index"].shape == (size,)
            assert batch["feature"].dtype == torch.float32
            assert batch["label"].dtype == batch["item_index"].dtype == torch.int64


def test_sizes_are_those_of_front_end_and_corpus(make: Make) -> None:
    data = make()
    assert data.frontend.frame_dim == CountingFrontEnd.frame_dim
    assert data.num_classes == len(data.class_names) == make.num_classes  # type: ignore[attr-defined]
    assert {item.label for item in data.items} == set(range(data.num_classes))
    assert data.data_name


def test_items_are_unique_and_there(make: Make) -> None:
    items = make().items
    assert len({item.name for item in items}) == len(items)
    assert all(item.path.is_file() for item in items)


def test_a_labelled_fold_asks_the_other_labelled_clips_and_nothing_else_has_a_role(make: Make) -> None:
    data = make()
    labelled, name = set(data.roles.train.tolist()), data.data_name
    asked: list[int] = []
    for fold in (1, 2):
        held = make(labelled_fold=LabelledFold(fold, 2))
        assert held.data_name == f"{name}, labelled clips alone"
        assert not set(held.roles.query.tolist()) & set(held.roles.train.tolist())
        assert set(held.roles.query.tolist()) | set(held.roles.train.tolist()) == labelled
        assert held.roles.database.tolist() == held.roles.train.tolist()
        recordings = [{held.items[index].recording for index in role} for role in (held.roles.query, held.roles.train)]
        assert not recordings[0] & recordings[1]
        assert not held.val_dataloader()
        assert not set(held.roles.query.tolist()) & set(data.roles.query.tolist())
        asked += held.roles.query.tolist()
    assert len(asked) == len(set(asked))
    assert asked


def test_each_index_has_one_label_and_feature_in_every_stage(make: Make) -> None:
    everything = _columns(list(make().predict_dataloader()))
    labels = {
        int(index): int(label) for index, label in zip(everything["item_index"], everything["label"], strict=True)
    }
    features = dict(zip(everything["item_index"].tolist(), everything["feature"], strict=True))
    for stage in ("fit", "validate", "test", "predict"):
        data = make(stage)
        for loader in (data.train_dataloader(), *data.val_dataloader(), *data.test_dataloader()):
            batch = _columns(list(loader))
            for index, label, feature in zip(
                batch["item_index"].tolist(), batch["label"].tolist(), batch["feature"], strict=True
            ):
                assert label == labels[index] == data.items[index].label
                assert torch.equal(feature, features[index])


def test_split_is_the_same_in_every_stage(make: Make) -> None:
    first, second = make("fit"), make("test")
    for role in ROLES:
        assert getattr(first.roles, role).tolist() == getattr(second.roles, role).tolist()


def test_roles_keep_apart_what_is_to_be_apart(make: Make) -> None:
    data = make()
    positions = {role: set(getattr(data.roles, role).tolist()) for role in ROLES}
    recordings = {role: {data.items[position].recording for position in positions[role]} for role in ROLES}
    assert all(positions.values())
    assert all(len(positions[role]) == len(getattr(data.roles, role)) for role in ROLES)
    assert not recordings["query"] & recordings["database"]
    assert not recordings["val_query"] & recordings["train"]
    assert not recordings["val_query"] & recordings["val_database"]
    assert positions["train"] | positions["val_query"] | positions["val_database"] <= positions["database"]


def test_test_loaders_give_queries_then_database_in_order(make: Make) -> None:
    data = make()
    queries, database = (_columns(list(loader))["item_index"].tolist() for loader in data.test_dataloader())
    assert queries == sorted(data.roles.query)
    assert database == sorted(data.roles.database)
    val_queries, val_database = (_columns(list(loader))["item_index"].tolist() for loader in data.val_dataloader())
    assert val_queries == sorted(data.roles.val_query)
    assert val_database == sorted(data.roles.val_database)


def test_predict_covers_everything_once_in_order(make: Make) -> None:
    data = make()
    assert _columns(list(data.predict_dataloader()))["item_index"].tolist() == list(range(len(data.items)))


def test_labelled_items_are_as_many_as_asked_for(make: Make) -> None:
    data = make()
    labels = [data.items[position].label for position in data.roles.train]
    assert np.bincount(labels).tolist() == [LABELS_PER_CLASS] * data.num_classes


@pytest.mark.parametrize("passes_per_epoch", [1, 3])
def test_train_loader_goes_through_the_labelled_so_often(make: Make, passes_per_epoch: int) -> None:
    data = make(passes_per_epoch=passes_per_epoch)
    torch.manual_seed(0)
    batch = _columns(list(data.train_dataloader()))
    assert sorted(batch["item_index"].tolist()) == sorted(data.roles.train.tolist() * passes_per_epoch)


def test_train_loader_shuffles_by_the_seed(make: Make) -> None:
    data = make(batch_size=3, passes_per_epoch=5)
    orders = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        orders.append(_columns(list(data.train_dataloader()))["item_index"].tolist())
    assert orders[0] == orders[2] != orders[1]


def test_train_loader_drops_a_last_batch_of_one_only(make: Make) -> None:
    num_labelled = LABELS_PER_CLASS * len(make().class_names)
    sizes = {}
    for batch_size in (num_labelled - 1, num_labelled - 2, num_labelled):
        torch.manual_seed(0)
        loader = make(batch_size=batch_size).train_dataloader()
        sizes[batch_size] = [len(batch["label"]) for batch in loader]
    assert sizes[num_labelled - 1] == [num_labelled - 1]
    assert sizes[num_labelled - 2] == [num_labelled - 2, 2]
    assert sizes[num_labelled] == [num_labelled]


@pytest.mark.parametrize("options", [{}, {"train_on": "database"}])
def test_every_loader_serves_frames_in_batches_of_the_size_given(make: Make, options: dict[str, object]) -> None:
    data = make(frames_per_clip=3, batch_size=4, passes_per_epoch=2, **options)
    loaders = [data.train_dataloader(), *data.val_dataloader(), *data.test_dataloader(), data.predict_dataloader()]
    for loader in loaders:
        batches = list(loader)
        assert batches
        for batch in batches:
            assert len(batch["label"]) <= 4
            assert batch["feature"].shape == (len(batch["label"]), 3, data.frontend.frame_dim)
            assert batch["feature"].dtype == torch.float32
            assert batch["feature"].isfinite().all()
    item = data.role_dataset("query")[0]
    assert item["feature"].shape == (3, data.frontend.frame_dim)


@pytest.mark.parametrize("frames_per_clip", [None, 4])
def test_the_database_is_measured_as_it_is_served(make: Make, frames_per_clip: int | None) -> None:
    data = make(frames_per_clip=frames_per_clip)
    expected = _columns(list(data.test_dataloader()[1]))["feature"].numpy()
    for clips_at_once in (1, 3, 10**6):
        chunks = list(data.database_features(clips_at_once * 3 * (frames_per_clip or 1)))
        assert {len(features) for features, _ in chunks[:-1]} <= {clips_at_once}
        np.testing.assert_array_equal(np.concatenate([features for features, _ in chunks]), expected)
        assert all(num_frames is None for _, num_frames in chunks)  # there is no padding


def test_frames_are_those_of_the_cache_in_order(make: Make) -> None:
    data = make(frames_per_clip=2)
    cache = data.open_cache()
    batch = _columns(list(data.predict_dataloader()))
    for index, feature in zip(batch["item_index"].tolist(), batch["feature"], strict=True):
        frames = cache.clip_frames(index)
        np.testing.assert_array_equal(feature[0], frames[0])
        np.testing.assert_array_equal(feature[1], frames[1 % len(frames)])
    many = make(frames_per_clip=50)
    frames_of = {len(cache.clip_frames(index)): index for index in range(len(data.items))}
    for num_frames, index in frames_of.items():
        served = many.role_dataset("query" if index in data.roles.query else "database")
        position = int(np.flatnonzero(served.item_indices == index)[0])
        expected = [cache.clip_frames(index)[frame % num_frames] for frame in range(50)]
        np.testing.assert_array_equal(served[position]["feature"], np.stack(expected))


def test_training_on_the_database_keeps_recordings_apart(make: Make) -> None:
    data, other = make(train_on="database"), make(train_on="database")
    labelled = make()
    roles = data.roles
    recordings = {role: {data.items[position].recording for position in getattr(roles, role)} for role in ROLES}
    assert not recordings["query"] & (recordings["train"] | recordings["val_query"])
    assert not recordings["train"] & recordings["val_query"]
    assert sorted([*roles.train, *roles.val_query]) == roles.database.tolist()
    assert roles.val_database.tolist() == roles.train.tolist()
    assert len(roles.train) > 0.8 * len(roles.database)
    for role in ROLES:
        assert getattr(roles, role).tolist() == getattr(other.roles, role).tolist()
    for role in ("query", "database"):
        assert getattr(roles, role).tolist() == getattr(labelled.roles, role).tolist()
    assert bool(data.val_dataloader()) == (len(roles.val_query) > 0)
    served = _columns(list(data.train_dataloader()))["item_index"].tolist()
    assert sorted(served) == roles.train.tolist()


def test_training_on_the_database_needs_no_labels(make: Make) -> None:
    few, many = make(train_on="database", labels_per_class=1), make(train_on="database", labels_per_class=10_000)
    for role in ROLES:
        assert getattr(few.roles, role).tolist() == getattr(many.roles, role).tolist()


@pytest.mark.parametrize("frames_per_clip", [0, -3])
def test_impossible_number_of_frames_is_refused(make: Make, frames_per_clip: int) -> None:
    with pytest.raises(SplitError, match=f"at least 1; got {frames_per_clip}. Leave --data.frames_per_clip out"):
        make(frames_per_clip=frames_per_clip)


def test_impossible_items_to_train_on_are_refused(make: Make, unchecked_types: None) -> None:
    with pytest.raises(SplitError, match="train_on must be labelled or database; got 'all'"):
        make(train_on="all")


def test_superclasses_are_one_a_class_or_none(make: Make) -> None:
    data = make()
    if data.superclass_of is None:
        assert data.superclass_names is None
        return
    assert data.superclass_names is not None
    assert data.superclass_of.dtype == np.int64
    assert len(data.superclass_of) == data.num_classes
    assert set(data.superclass_of.tolist()) <= set(range(len(data.superclass_names)))


def test_other_processes_open_what_the_first_prepared(make: Make) -> None:
    prepared = make()
    other = make()
    assert isinstance(other.frontend, CountingFrontEnd)
    assert other.frontend.lengths == []
    batches = [_columns(list(data.predict_dataloader()))["feature"] for data in (prepared, other)]
    assert torch.equal(batches[0], batches[1])


def test_dataset_gives_items_of_its_role_by_position() -> None:
    features = np.arange(12, dtype=np.float64).reshape(6, 2)
    dataset = FeatureDataset(features, np.array([0, 1, 0, 1, 2, 2]), np.array([1, 4, 5]))
    assert len(dataset) == 3
    batch = dataset.__getitems__([2, 0, 2])
    assert batch["item_index"].tolist() == [5, 1, 5]
    assert batch["label"].tolist() == [2, 1, 2]
    assert batch["feature"].tolist() == [[10, 11], [2, 3], [10, 11]]
    assert batch["feature"].dtype == torch.float32


def test_dataset_item_is_a_batch_of_one_without_its_axis() -> None:
    dataset = FeatureDataset(np.ones((6, 2), np.float32), np.arange(6), np.array([1, 4, 5]))
    item, batch = dataset[1], dataset.__getitems__([1])
    assert set(item) == set(batch) == {"feature", "label", "item_index"}
    assert item["feature"].shape == (2,)
    assert item["label"].shape == item["item_index"].shape == ()
    assert all(torch.equal(item[name], batch[name][0]) for name in batch)


def test_writing_to_a_batch_leaves_the_features_alone() -> None:
    features = np.ones((3, 2), np.float32)
    dataset = FeatureDataset(features, np.arange(3), np.arange(3))
    dataset.__getitems__([0, 1])["feature"].zero_()
    assert features.all()


def test_dataset_refuses_a_position_it_has_not() -> None:
    dataset = FeatureDataset(np.ones((6, 2), np.float32), np.arange(6), np.array([1, 4, 5]))
    with pytest.raises(IndexError):
        dataset[3]
