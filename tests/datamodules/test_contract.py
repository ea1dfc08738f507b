"""What holds for every data module, and for the datasets they serve."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules import AudioFolder, EmbeddingDataModule, Esc50, FsdKaggle2018, LabelledFold, RenderedEvents
from datamodules.errors import SplitError
from datamodules.rendered_events.synthesis import EVENTS
from tests.datamodules.counting_front_end import CountingFrontEnd
from tests.datamodules.makers import columns, corpus_at, label_counts, recordings, set_up
from tests.replicas.audio_folder import make_audio_folder
from tests.replicas.esc50 import make_esc50
from tests.replicas.fsd_kaggle2018 import make_fsd_kaggle2018

LABELS_PER_CLASS = 2
ROLES = ("train", "query", "database", "val_query", "val_database")

Make = Callable[..., EmbeddingDataModule]


# Name -> kind, folder, options, number of classes.
CORPORA: dict[str, tuple[type[EmbeddingDataModule], str, dict[str, Any], int]] = {
    "esc50": (Esc50, "esc50", {}, 5),
    "esc10": (Esc50, "esc50", {"esc10": True}, 2),
    "superclasses": (Esc50, "esc50", {"superclasses": True, "fold": 5}, 5),
    "audio_folder": (AudioFolder, "folder", {}, 4),
    "split_folder": (AudioFolder, "folder", {"split_file": "folder/split.csv"}, 4),
    "fsd_kaggle2018": (FsdKaggle2018, "fsd", {}, 4),
    "kaggles_copy": (FsdKaggle2018, "kaggle", {}, 3),
    "rendered": (RenderedEvents, "rendered", {"clips_per_class": 10}, len(EVENTS)),
}


def positions(data: EmbeddingDataModule, *roles: str) -> dict[str, list[int]]:
    return {role: getattr(data.roles, role).tolist() for role in roles or ROLES}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    make_esc50(folder / "esc50", 5, 4, seconds=0.1)
    make_audio_folder(folder / "folder", 4, 10, seconds=0.1, with_split=True)
    make_fsd_kaggle2018(folder / "fsd", 4, seconds=0.1)
    make_fsd_kaggle2018(folder / "kaggle", seconds=0.1, layout="kaggle")
    return folder


@pytest.fixture(params=list(CORPORA))
def make(request: pytest.FixtureRequest, root: Path) -> Make:
    """Make a data module that is set up; caches are shared between tests."""
    kind, folder, own, num_classes = CORPORA[request.param]
    own = {name: str(root / value) if name == "split_file" else value for name, value in own.items()}

    def made(stage: str | None = None, **options: object) -> EmbeddingDataModule:
        given = {"labels_per_class": LABELS_PER_CLASS, **own, **options}
        return set_up(corpus_at(kind, root / folder, root / "cache", **given), stage)

    made.num_classes = num_classes  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize(
    "options",
    [{}, {"frames_per_clip": 3, "passes_per_epoch": 2}, {"frames_per_clip": 3, "train_on": "database"}],
    ids=str,
)
def test_batches_have_the_documented_fields_and_the_size_given(make: Make, options: dict[str, Any]) -> None:
    data = make(batch_size=4, **options)
    shape = (3, data.frontend.frame_dim) if options else (data.frontend.frame_dim,)
    loaders = [data.train_dataloader(), *data.val_dataloader(), *data.test_dataloader(), data.predict_dataloader()]
    for loader in loaders:
        batches = list(loader)
        assert batches
        for batch in batches:
            assert set(batch) == {"feature", "label", "item_index"}
            size = len(batch["label"])
            assert size <= 4 or not options  # means are evaluated many at a time
            assert batch["feature"].shape == (size, *shape)
            assert batch["label"].shape == batch["item_index"].shape == (size,)
            assert batch["feature"].dtype == torch.float32
            assert batch["feature"].isfinite().all()
            assert batch["label"].dtype == batch["item_index"].dtype == torch.int64
    assert data.role_dataset("query")[0]["feature"].shape == shape


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
        assert not recordings(held, held.roles.query) & recordings(held, held.roles.train)
        assert not held.val_dataloader()
        assert not set(held.roles.query.tolist()) & set(data.roles.query.tolist())
        asked += held.roles.query.tolist()
    assert len(asked) == len(set(asked))
    assert asked


def test_each_index_has_one_label_and_feature_in_every_stage(make: Make) -> None:
    everything = columns(make().predict_dataloader())
    labels = {
        int(index): int(label) for index, label in zip(everything["item_index"], everything["label"], strict=True)
    }
    features = dict(zip(everything["item_index"].tolist(), everything["feature"], strict=True))
    for stage in ("fit", "validate", "test", "predict"):
        data = make(stage)
        for loader in (data.train_dataloader(), *data.val_dataloader(), *data.test_dataloader()):
            batch = columns(loader)
            for index, label, feature in zip(
                batch["item_index"].tolist(), batch["label"].tolist(), batch["feature"], strict=True
            ):
                assert label == labels[index] == data.items[index].label
                assert torch.equal(feature, features[index])


def test_split_is_the_same_in_every_stage(make: Make) -> None:
    assert positions(make("fit")) == positions(make("test"))


def test_roles_keep_apart_what_is_to_be_apart(make: Make) -> None:
    data = make()
    roles = data.roles
    assert all(own and len(set(own)) == len(own) for own in positions(data).values())
    assert not recordings(data, roles.query) & recordings(data, roles.database)
    assert not recordings(data, roles.val_query) & recordings(data, roles.train)
    assert not recordings(data, roles.val_query) & recordings(data, roles.val_database)
    assert {*roles.train, *roles.val_query, *roles.val_database} <= set(roles.database)


def test_test_loaders_give_queries_then_database_in_order(make: Make) -> None:
    data = make()
    queries, database = (columns(loader)["item_index"].tolist() for loader in data.test_dataloader())
    assert queries == sorted(data.roles.query)
    assert database == sorted(data.roles.database)
    val_queries, val_database = (columns(loader)["item_index"].tolist() for loader in data.val_dataloader())
    assert val_queries == sorted(data.roles.val_query)
    assert val_database == sorted(data.roles.val_database)


def test_predict_covers_everything_once_in_order(make: Make) -> None:
    data = make()
    assert columns(data.predict_dataloader())["item_index"].tolist() == list(range(len(data.items)))


def test_labelled_items_are_as_many_as_asked_for(make: Make) -> None:
    data = make()
    assert label_counts(data, data.roles.train) == [LABELS_PER_CLASS] * data.num_classes


def test_too_few_clips_for_the_labels_names_the_first_class(make: Make) -> None:
    data = make()
    count = label_counts(data, data.roles.database)[0]
    found = f"'{data.class_names[0]}' has {count} usable clips in the database; 1000 labels"
    with pytest.raises(SplitError, match=rf"{found}.*--data\.labels_per_class"):
        make(labels_per_class=1000)


def test_all_labelled_is_trained_without_validation(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    data = make(labels_per_class=None, label_fraction=1.0)
    assert data.roles.train.tolist() == data.roles.database.tolist()
    assert len(data.roles.val_query) == 0
    assert data.val_dataloader() == []
    assert "No validation" in caplog.text


@pytest.mark.parametrize("passes_per_epoch", [1, 3])
def test_train_loader_goes_through_the_labelled_so_often(make: Make, passes_per_epoch: int) -> None:
    data = make(passes_per_epoch=passes_per_epoch)
    torch.manual_seed(0)
    batch = columns(data.train_dataloader())
    assert sorted(batch["item_index"].tolist()) == sorted(data.roles.train.tolist() * passes_per_epoch)


def test_train_loader_shuffles_by_the_seed(make: Make) -> None:
    data = make(batch_size=3, passes_per_epoch=5)
    orders = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        orders.append(columns(data.train_dataloader())["item_index"].tolist())
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


@pytest.mark.parametrize("frames_per_clip", [None, 4])
def test_the_database_is_measured_as_it_is_served(make: Make, frames_per_clip: int | None) -> None:
    data = make(frames_per_clip=frames_per_clip)
    expected = columns(data.test_dataloader()[1])["feature"].numpy()
    for clips_at_once in (1, 3, 10**6):
        chunks = list(data.database_features(clips_at_once * 3 * (frames_per_clip or 1)))
        assert {len(features) for features, _ in chunks[:-1]} <= {clips_at_once}
        np.testing.assert_array_equal(np.concatenate([features for features, _ in chunks]), expected)
        assert all(num_frames is None for _, num_frames in chunks)  # there is no padding


def test_frames_are_those_of_the_cache_in_order(make: Make) -> None:
    data = make(frames_per_clip=2)
    cache = data.open_cache()
    batch = columns(data.predict_dataloader())
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
    assert not recordings(data, roles.query) & recordings(data, [*roles.train, *roles.val_query])
    assert not recordings(data, roles.train) & recordings(data, roles.val_query)
    assert sorted([*roles.train, *roles.val_query]) == roles.database.tolist()
    assert roles.val_database.tolist() == roles.train.tolist()
    assert len(roles.train) > 0.8 * len(roles.database)
    assert positions(data) == positions(other)
    assert positions(data, "query", "database") == positions(labelled, "query", "database")
    assert bool(data.val_dataloader()) == (len(roles.val_query) > 0)
    served = columns(data.train_dataloader())["item_index"].tolist()
    assert sorted(served) == roles.train.tolist()


def test_training_on_the_database_needs_no_labels(make: Make) -> None:
    few, many = make(train_on="database", labels_per_class=1), make(train_on="database", labels_per_class=10_000)
    assert positions(few) == positions(many)


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
    batches = [columns(data.predict_dataloader())["feature"] for data in (prepared, other)]
    assert torch.equal(batches[0], batches[1])
