"""SONYC-UST is read in all its layouts, split as it is split, padded with 0 and trained on in pairs."""

import hashlib
import inspect
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from torch import Tensor
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader

from datamodules import PrecomputedEmbeddings, Roles, SonycUst
from datamodules.errors import DatasetLayoutError, DatasetMissing, SplitError
from datamodules.sonyc_ust.corpus import ROOT_VARIABLE
from datamodules.sonyc_ust.release import ARCHIVES
from storage.errors import ChecksumMismatch
from tests.datamodules.counting_front_end import embedded
from tests.replicas.sonyc_ust import COARSE, FINE, make_sonyc_ust

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "data"
NUM_TRAIN, NUM_VALIDATE, NUM_TEST = 24, 6, 5
NUM_DATABASE = NUM_TRAIN + NUM_VALIDATE - 1  # one validate clip was never verified
FIELDS = {"feature", "num_frames", "label", "soft_label", "item_index"}

Make = Callable[..., SonycUst]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpora that tests only read, and their caches."""
    folder = tmp_path_factory.mktemp("sonyc")
    make_sonyc_ust(folder / "v2")
    make_sonyc_ust(folder / "v1", "v1", num_test=0)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A corpus a test may damage."""
    return make_sonyc_ust(tmp_path / "corpus", num_train=8, seconds=0.1)


@pytest.fixture
def make(shared: Path) -> Make:
    """Make a data module of v2 that is set up; caches are shared between tests."""

    def made(root: str = "v2", **options: object) -> SonycUst:
        place = {"root": str(shared / root), "cache_dir": str(shared / "cache")}
        data = embedded(SonycUst(**place, **options))  # type: ignore[arg-type]
        data.prepare_data()
        data.setup()
        return data

    return made


def _data(root: Path | None, cache_dir: Path, **options: object) -> SonycUst:
    return embedded(SonycUst(root=str(root) if root else None, cache_dir=str(cache_dir), **options))  # type: ignore[arg-type]


def _columns(loader: DataLoader[dict[str, Tensor]]) -> dict[str, Tensor]:
    batches = list(loader)
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def _positions(roles: Roles) -> dict[str, list[int]]:
    return {name: getattr(roles, name).tolist() for name in ("train", "query", "database", "val_query", "val_database")}


@pytest.mark.parametrize("frames_per_clip", [None, 6])
@pytest.mark.parametrize("level", ["coarse", "fine"])
def test_batches_have_the_documented_fields(make: Make, frames_per_clip: int | None, level: str) -> None:
    data = make(frames_per_clip=frames_per_clip, level=level, batch_size=4)
    num_categories = {"coarse": 8, "fine": 23}[level]
    pairs = data.train_dataloader()
    loaders = [pairs, *data.val_dataloader(), *data.test_dataloader(), data.predict_dataloader()]
    for loader in loaders:
        batch = next(iter(loader))
        prefixes = ("", "other_") if loader is pairs else ("",)
        assert set(batch) == {f"{prefix}{name}" for prefix in prefixes for name in FIELDS}
        size = len(batch["label"])
        for prefix in prefixes:
            frames = () if frames_per_clip is None else (frames_per_clip,)
            assert batch[f"{prefix}feature"].shape == (size, *frames, data.frontend.frame_dim)
            assert batch[f"{prefix}label"].shape == batch[f"{prefix}soft_label"].shape == (size, num_categories)
            assert batch[f"{prefix}num_frames"].shape == batch[f"{prefix}item_index"].shape == (size,)
            for name in ("feature", "soft_label"):
                assert batch[f"{prefix}{name}"].dtype == torch.float32
            for name in ("label", "num_frames", "item_index"):
                assert batch[f"{prefix}{name}"].dtype == torch.int64
    item = data.role_dataset("query")[0]
    assert set(item) == FIELDS
    assert item["label"].shape == (num_categories,)


def test_test_clips_ask_and_all_others_answer(make: Make) -> None:
    data = make()
    queries, database = (_columns(loader)["item_index"].tolist() for loader in data.test_dataloader())
    assert [data.items[index].split for index in queries] == ["test"] * NUM_TEST
    assert [data.items[index].split for index in database] == ["train"] * NUM_TRAIN + ["validate"] * (NUM_VALIDATE - 1)
    assert _columns(data.predict_dataloader())["item_index"].tolist() == list(range(len(data.items)))
    assert data.class_names == list(COARSE)
    assert data.num_classes == len(COARSE)
    assert len({item.name for item in data.items}) == len(data.items) == NUM_DATABASE + NUM_TEST
    assert all(item.path.is_file() for item in data.items)


def test_labels_are_those_of_the_table(make: Make) -> None:
    data = make()
    everything = _columns(data.predict_dataloader())
    for index, label, soft_label in zip(
        everything["item_index"].tolist(), everything["label"], everything["soft_label"], strict=True
    ):
        assert tuple(label.tolist()) == data.items[index].labels
        assert tuple(soft_label.tolist()) == data.items[index].soft_labels
    train = data.items[:NUM_TRAIN]
    assert train[1].labels == (1, 0, 0, 0, 0, 0, 0, 0)  # volunteers heard an engine of uncertain size
    assert not any(train[4].labels)
    shares = np.array([item.soft_labels for item in train])
    np.testing.assert_allclose(np.unique(shares), [0, 2 / 3, 1], rtol=1e-6)
    assert all(set(item.soft_labels) <= {0, 1} for item in data.items[NUM_TRAIN:])
    fine = make(level="fine")
    assert fine.class_names == list(FINE)
    assert not any(fine.items[1].labels)


def test_names_say_what_was_measured(make: Make) -> None:
    assert make().data_name == "SONYC-UST"
    assert make(level="fine").data_name == "SONYC-UST, fine"
    assert make(name="simulated", level="fine").data_name == "simulated, fine"
    assert make("v1", aggregation="v1", query_split="validate").data_name == "SONYC-UST, validate asks"


def test_verification_is_asked_for_by_the_rule(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    assert len(make().items) == NUM_DATABASE + NUM_TEST
    assert "Left out 1 clips of validate" in caplog.text
    assert "doesn't name" not in caplog.text
    assert len(make(aggregation="v1").items) == NUM_DATABASE + NUM_TEST + 1


def test_both_layouts_and_formats_give_one_corpus(tmp_path: Path, make: Make) -> None:
    reference = make(aggregation="v1")
    v1 = make_sonyc_ust(tmp_path / "v1", "v1", suffix=".flac")
    data = _data(v1, tmp_path / "cache", aggregation="v1")
    assert {item.name.split("/")[0] for item in data.items} == {"train", "validate", "test"}
    assert {item.name.split("/")[0] for item in reference.items} == {"audio-0", "audio-1"}
    found = [(item.path.stem, item.sensor, item.split) for item in data.items]
    assert found == [(item.path.stem, item.sensor, item.split) for item in reference.items]
    assert [item.labels for item in data.items[:NUM_TRAIN]] == [item.labels for item in reference.items[:NUM_TRAIN]]
    nested = tmp_path / "v1" / "audio-dev" / "deep"
    shutil.move(v1 / "train", nested)
    assert [item.path.stem for item in _data(v1, tmp_path / "cache", aggregation="v1").items] == [
        item.path.stem for item in reference.items
    ]


def test_first_record_of_v1_is_asked_with_its_validate_clips(make: Make, shared: Path, tmp_path: Path) -> None:
    data = make("v1", aggregation="v1", query_split="validate")
    assert [data.items[index].split for index in data.roles.query] == ["validate"] * NUM_VALIDATE
    assert [data.items[index].split for index in data.roles.database] == ["train"] * NUM_TRAIN
    with pytest.raises(SplitError, match=r"Expected usable test clips .*found 0 and 30.*query_split validate"):
        _data(shared / "v1", tmp_path, aggregation="v1").setup()
    both = make(query_split="validate")
    assert {both.items[index].split for index in both.roles.database} == {"train"}


def test_short_clips_are_padded_with_0(make: Make) -> None:
    data = make(frames_per_clip=12)
    cache = data.open_cache()
    own = np.diff(cache.offsets)
    assert sorted(set(own.tolist())) == [2, 16]
    served = _columns(data.predict_dataloader())
    assert served["num_frames"].tolist() == np.minimum(own, 12).tolist()
    for index, feature, num_frames in zip(
        served["item_index"].tolist(), served["feature"], served["num_frames"].tolist(), strict=True
    ):
        assert not feature[num_frames:].any()
        assert feature[:num_frames].any()
        np.testing.assert_array_equal(feature[:num_frames], cache.clip_frames(index)[:12])


def test_what_is_measured_tells_which_frames_are_padding(make: Make) -> None:
    data = make(frames_per_clip=12)
    served = _columns(data.test_dataloader()[1])
    features, lengths = zip(*data.database_features(100), strict=True)
    np.testing.assert_array_equal(np.concatenate(features), served["feature"].numpy())
    np.testing.assert_array_equal(np.concatenate(lengths), served["num_frames"].numpy())
    assert all(num_frames is None for _, num_frames in make().database_features(100))  # means have no frames


def test_means_have_one_frame(make: Make) -> None:
    assert set(_columns(make().predict_dataloader())["num_frames"].tolist()) == {1}


def test_training_serves_every_listed_pair_once_shuffled(make: Make) -> None:
    data = make(partners_each=2, batch_size=16)
    orders = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        loader = data.train_dataloader()
        batch = _columns(loader)
        orders.append(torch.stack([batch["item_index"], batch["other_item_index"]], 1).tolist())
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(loader.dataset.pairs.tolist())  # type: ignore[attr-defined]
    train = set(data.roles.train.tolist())
    assert {index for pair in orders[0] for index in pair} <= train
    assert all(first != second for first, second in orders[0])
    batch = _columns(loader)
    for first, second, label, other_label in zip(
        batch["item_index"].tolist(), batch["other_item_index"].tolist(), batch["label"], batch["other_label"],
        strict=True,
    ):  # fmt: skip
        assert tuple(label.tolist()) == data.items[first].labels
        assert tuple(other_label.tolist()) == data.items[second].labels


def test_partners_are_chosen_as_asked(make: Make) -> None:
    first, random, other = (
        make(partners_each=2, partners=partners, pair_seed=seed).train_dataloader().dataset.pairs.tolist()  # type: ignore[attr-defined]
        for partners, seed in (("first", 0), ("random", 0), ("random", 1))
    )
    assert len(random) > len(first)
    assert random != other


def test_last_batch_of_one_pair_is_dropped(make: Make) -> None:
    num_pairs = len(make(partners_each=1).train_dataloader().dataset)  # type: ignore[arg-type]
    sizes = [len(batch["label"]) for batch in make(partners_each=1, batch_size=num_pairs - 1).train_dataloader()]
    assert sizes == [num_pairs - 1]


def test_a_tenth_of_the_database_is_held_out_by_the_seed(make: Make) -> None:
    positions = _positions(make().roles)
    assert len(positions["val_query"]) == 3
    assert sorted(positions["val_query"] + positions["train"]) == positions["database"]
    assert positions["val_database"] == positions["train"]
    assert positions == _positions(make().roles)
    assert positions["val_query"] != _positions(make(val_seed=1).roles)["val_query"]
    assert len(make(val_share=0.5).roles.val_query) == pytest.approx(NUM_DATABASE / 2, abs=1)


@pytest.mark.parametrize("val_seed", range(4))
def test_whole_sensors_are_held_out(make: Make, val_seed: int) -> None:
    data = make(val_by="sensors", val_share=0.3, val_seed=val_seed)
    sensors = {
        role: {data.items[index].sensor for index in getattr(data.roles, role)} for role in ("val_query", "train")
    }
    assert sensors["val_query"]
    assert sensors["train"]
    assert not sensors["val_query"] & sensors["train"]
    assert 0.1 < len(data.roles.val_query) / NUM_DATABASE < 0.5


def test_hold_out_can_be_switched_between_epochs(make: Make) -> None:
    data = make(partners_each=2)
    held_out, pairs = _positions(data.roles), data.train_dataloader().dataset.pairs.tolist()  # type: ignore[attr-defined]
    assert [len(loader.dataset) for loader in data.val_dataloader()] == [3, NUM_DATABASE - 3]  # type: ignore[arg-type]
    data.hold_out = False
    assert data.val_dataloader() == []
    whole = _positions(data.roles)
    assert whole["train"] == whole["database"] == held_out["database"]
    assert whole["query"] == held_out["query"]
    seen = set(data.train_dataloader().dataset.pairs.flatten().tolist())  # type: ignore[attr-defined]
    assert seen & set(held_out["val_query"])
    assert whole == _positions(make(hold_out=False).roles)
    data.hold_out = True
    assert _positions(data.roles) == held_out
    assert data.train_dataloader().dataset.pairs.tolist() == pairs  # type: ignore[attr-defined]


class PairRecorder(pl.LightningModule):
    """Remember the pairs of each epoch; stop holding out at one."""

    def __init__(self, release_at: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.release_at = release_at
        self.epochs: dict[int, list[list[int]]] = {}

    def on_train_epoch_end(self) -> None:
        if self.current_epoch + 1 == self.release_at:
            self.trainer.datamodule.hold_out = False  # type: ignore[attr-defined]

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        pairs = torch.stack([batch["item_index"], batch["other_item_index"]], 1).tolist()
        self.epochs.setdefault(self.current_epoch, []).extend(pairs)
        return self.weight.sum()

    def configure_optimizers(self) -> Optimizer:
        return SGD(self.parameters(), lr=0.1)


def _trainer(folder: Path, num_epochs: int) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", max_epochs=num_epochs, reload_dataloaders_every_n_epochs=1, logger=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, limit_val_batches=0,
    )  # fmt: skip


def test_new_pairs_are_drawn_each_epoch_and_again_after_resuming(make: Make, tmp_path: Path) -> None:
    options = {"pairs": "balanced", "pairs_per_epoch": 40, "batch_size": 10}
    model = PairRecorder()
    trainer = _trainer(tmp_path, 3)
    trainer.fit(model, datamodule=make(**options))
    drawn = {epoch: sorted(pairs) for epoch, pairs in model.epochs.items()}
    assert [len(pairs) for pairs in drawn.values()] == [40] * 3
    assert drawn[0] != drawn[1] != drawn[2]
    first = make(**options).train_dataloader().dataset.pairs.tolist()  # type: ignore[attr-defined]
    assert drawn[0] == sorted(first)
    other = make(**options, pair_seed=1).train_dataloader().dataset.pairs.tolist()  # type: ignore[attr-defined]
    assert drawn[0] != sorted(other)
    half = _trainer(tmp_path, 1)
    half.fit(PairRecorder(), datamodule=make(**options))
    half.save_checkpoint(tmp_path / "half.ckpt")
    resumed = PairRecorder()
    _trainer(tmp_path, 3).fit(
        resumed, datamodule=make(**options), ckpt_path=str(tmp_path / "half.ckpt"), weights_only=False
    )
    assert {epoch: sorted(pairs) for epoch, pairs in resumed.epochs.items()} == {1: drawn[1], 2: drawn[2]}


def test_a_callback_may_stop_holding_out(make: Make, tmp_path: Path) -> None:
    data, model = make(partners_each=2), PairRecorder(release_at=1)
    held_out = set(data.roles.val_query.tolist())
    _trainer(tmp_path, 2).fit(model, datamodule=data)
    assert not held_out & {index for pair in model.epochs[0] for index in pair}
    assert held_out <= {index for pair in model.epochs[1] for index in pair}


def test_pairs_drawn_once_are_warned_about(make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = make(pairs="balanced", pairs_per_epoch=4)
    trainer = _trainer(tmp_path, 1)
    data.trainer = trainer
    data.train_dataloader()
    assert "drawn once" not in caplog.text
    trainer.reload_dataloaders_every_n_epochs = 0  # type: ignore[attr-defined]
    data.train_dataloader()
    assert "reload_dataloaders_every_n_epochs 1" in caplog.text


def test_embeddings_computed_beforehand_serve(shared: Path, tmp_path: Path) -> None:
    names = [item.name for item in _data(shared / "v2", tmp_path).items]
    array = np.random.default_rng(0).standard_normal((len(names), 5)).astype(np.float32)
    np.save(tmp_path / "array.npy", array)
    (tmp_path / "table.csv").write_text("\n".join(["name", *names]) + "\n")
    frontend = PrecomputedEmbeddings(str(tmp_path / "array.npy"), str(tmp_path / "table.csv"))
    data = SonycUst(root=str(shared / "v2"), cache_dir=str(tmp_path))
    data.embed_with(frontend)
    data.prepare_data()
    data.setup()
    np.testing.assert_array_equal(_columns(data.predict_dataloader())["feature"], array)


def test_missing_clips_are_counted_and_the_first_named(root: Path, tmp_path: Path) -> None:
    removed = sorted(root.glob("audio-*/*"), key=lambda path: path.stem.split("_")[1])[2:4]
    for path in removed:
        path.unlink()
    with pytest.raises(
        DatasetMissing, match=rf"names 2 clips .*first {removed[0].name} .*Restore them, from all archives"
    ):
        _data(root, tmp_path).prepare_data()


def test_clips_without_a_line_are_left_out(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = next(root.glob("audio-0/*"))
    shutil.copy(source, root / "audio-1" / "99_999999.wav")
    shutil.copy(source, root / "audio-1" / "._99_999998.wav")  # what macOS leaves behind
    (root / "audio-0.tar.gz").write_bytes(b"")
    assert "99_999999" not in {item.path.stem for item in _data(root, tmp_path).items}
    assert "Left out 1 clips that " in caplog.text


def test_damaged_table_is_refused(root: Path, tmp_path: Path) -> None:
    table = root / "annotations.csv"
    table.write_text(table.read_text().replace("\ntrain,", "\ntraining,", 1))
    with pytest.raises(DatasetLayoutError, match=r"line 2: .*found .*'training'"):
        _data(root, tmp_path).prepare_data()


def test_bad_clip_is_skipped_where_asked_for(root: Path, tmp_path: Path) -> None:
    bad = next(root.glob("audio-0/*"))
    bad.write_bytes(b"")
    data = _data(root, tmp_path / "cache", on_bad_audio="skip", frames_per_clip=2)
    data.prepare_data()
    data.setup()
    everything = data.roles.database.tolist() + data.roles.query.tolist()
    assert bad not in {data.items[index].path for index in everything}
    assert len(everything) == len(data.items) - 1


def test_too_few_clips_to_hold_out_or_pair_are_refused(tmp_path: Path) -> None:
    root = make_sonyc_ust(tmp_path / "corpus", num_train=1, num_validate=0, num_test=1, seconds=0.1)
    with pytest.raises(SplitError, match=r"at least two groups of clips .*found 1\."):
        _data(root, tmp_path / "cache").setup()
    data = _data(root, tmp_path / "cache", hold_out=False)
    data.setup()
    with pytest.raises(SplitError, match=r"at least two clips to train on .*found 1\."):
        data.train_dataloader()
    sensors = make_sonyc_ust(tmp_path / "sensors", num_train=1, num_validate=3, num_test=1, seconds=0.1)
    data = _data(sensors, tmp_path / "cache", val_by="sensors")
    data.setup()
    assert {data.items[index].sensor for index in data.roles.val_query}.isdisjoint(
        data.items[index].sensor for index in data.roles.train
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_share": 0.0}, r"val_share must be between 0 and 1; got 0\.0"),
        ({"val_share": 1.0}, r"val_share must be between 0 and 1; got 1\.0"),
        ({"partners_each": 0}, "partners_each and pairs_per_epoch must be at least 1; got 0 and 25600"),
        ({"pairs_per_epoch": 0}, "must be at least 1; got 30 and 0"),
        ({"version": "v3"}, "version must be v1 or v2; got 'v3'. Set --data.version"),
        ({"level": "all"}, "level must be coarse or fine; got 'all'"),
        ({"aggregation": "mean"}, "aggregation must be v2 or v1 or majority; got 'mean'"),
        ({"query_split": "train"}, "query_split must be test or validate; got 'train'"),
        ({"pairs": "all"}, "pairs must be listed or balanced or uniform; got 'all'"),
        ({"partners": "last"}, "partners must be first or random; got 'last'"),
        ({"val_by": "days"}, "val_by must be clips or sensors; got 'days'"),
    ],
)
def test_wrong_options_are_refused(
    tmp_path: Path, options: dict[str, object], message: str, unchecked_types: None
) -> None:
    with pytest.raises(SplitError, match=message):
        _data(tmp_path, tmp_path, **options)


def test_shipped_config_names_options_there_are(tmp_path: Path) -> None:
    config = yaml.safe_load((CONFIGS / "sonyc_ust.yaml").read_text(encoding="utf-8"))["data"]
    assert config["class_path"] == "datamodules.SonycUst"
    assert _data(tmp_path, tmp_path, **config["init_args"]).frames_per_clip == 20
    assert set(config["init_args"]) <= set(inspect.signature(SonycUst).parameters)


# Finding and fetching it.


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_missing_corpus_says_what_to_fetch(tmp_path: Path, version: str) -> None:
    with pytest.raises(DatasetMissing) as caught:
        _data(tmp_path / "nowhere", tmp_path / "cache", version=version).prepare_data()
    record, file = {"v1": ("2590742", "audio.tar.gz"), "v2": ("3966543", "audio-18.tar.gz")}[version]
    for part in (str(tmp_path / "nowhere"), "--data.root", ROOT_VARIABLE, record, file, "demo.yaml"):
        assert part in str(caught.value)
    assert ("--data.download true" in str(caught.value)) == (version == "v2")
    assert not (tmp_path / "nowhere").exists()


def test_environment_names_the_folder_and_the_argument_wins(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(shared / "v2"))
    data = _data(None, tmp_path, download=True)
    assert data.folder == shared / "v2"
    assert data.own_copy == str(shared / "v2")
    assert _data(tmp_path / "other", tmp_path).folder == tmp_path / "other"


def test_manifest_has_all_files_of_v2_and_nothing_without_a_checksum() -> None:
    assert ARCHIVES["v1"] == ()
    names = [archive.url.rsplit("/", 1)[1] for archive in ARCHIVES["v2"]]
    assert names == [f"audio-{part}.tar.gz" for part in range(19)] + ["dcase-ust-taxonomy.yaml", "annotations.csv"]
    digests = [archive.checksum.removeprefix("md5:") for archive in ARCHIVES["v2"]]
    assert all(len(digest) == 32 and int(digest, 16) >= 0 for digest in digests)
    assert len(set(digests)) == len(digests)
    assert all(archive.url.startswith("https://zenodo.org/records/3966543/files/") for archive in ARCHIVES["v2"])


def _release(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pack the corpus as the release is packed, in two parts, and have it fetched from there."""
    release = root.parent / "release"
    release.mkdir()
    for part in (0, 1):
        with tarfile.open(release / f"audio-{part}.tar.gz", "w:gz") as archive:
            archive.add(root / f"audio-{part}", f"audio-{part}")
    shutil.copy(root / "annotations.csv", release)
    archives = []
    for name in ("audio-0.tar.gz", "audio-1.tar.gz", "annotations.csv"):
        checksum = f"md5:{hashlib.md5((release / name).read_bytes()).hexdigest()}"
        archives.append(replace(ARCHIVES["v2"][0], name=name, url=(release / name).as_uri(), checksum=checksum))
    monkeypatch.setattr("datamodules.sonyc_ust.release.ARCHIVES", {"v1": (), "v2": tuple(archives)})
    return release


def test_download_fetches_all_parts_into_the_default_folder(
    root: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _release(root, monkeypatch)
    data = _data(None, in_tmp / "cache", download=True)
    data.prepare_data()
    data.setup()
    assert [item.path.stem for item in data.items] == [item.path.stem for item in _data(root, in_tmp).items]
    names = {path.name for path in (in_tmp / "data" / "SONYC-UST").iterdir() if path.suffix != ".lock"}
    assert names == {"audio-0", "audio-1", "annotations.csv"}
    assert caplog.text.index("3 files, 13.3 GB together") < caplog.text.index("Fetching")


def test_a_killed_download_goes_on(root: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = _release(root, monkeypatch)
    table = release / "annotations.csv"
    content = table.read_bytes()
    table.write_bytes(content + b"x")
    with pytest.raises(ChecksumMismatch, match="expected md5"):
        _data(None, in_tmp / "cache", download=True).prepare_data()
    assert not (in_tmp / "data" / "SONYC-UST" / "annotations.csv").exists()
    table.write_bytes(content)
    (in_tmp / "data" / "SONYC-UST" / "annotations.csv.part").unlink()
    (release / "audio-0.tar.gz").unlink()  # is not fetched again
    _data(None, in_tmp / "cache", download=True).prepare_data()


def test_nothing_is_fetched_unless_asked_for_and_v1_never(
    root: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _release(root, monkeypatch)
    typo = str(in_tmp / "typo")
    for options in ({}, {"root": typo, "download": True}, {"version": "v1", "download": True}):
        data = embedded(SonycUst(cache_dir=str(in_tmp), **options))  # type: ignore[arg-type]
        with pytest.raises(DatasetMissing, match=r"annotations\.csv is not there\. Fetch"):
            data.prepare_data()
    assert not (in_tmp / "data").exists()
    assert not (in_tmp / "typo").exists()
