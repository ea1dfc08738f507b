"""SONYC-UST is read in all its layouts, split as it is split, padded with 0 and trained on in pairs."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from datamodules import PrecomputedEmbeddings, SonycUst
from datamodules.errors import DatasetLayoutError, DatasetMissing, SplitError
from datamodules.sonyc_ust.release import ARCHIVES
from tests.datamodules.makers import columns, set_up
from tests.datamodules.sonyc_ust.makers import CONFIGS, NUM_DATABASE, NUM_TEST, NUM_TRAIN, NUM_VALIDATE, Make, sonyc_at
from tests.replicas.sonyc_ust import COARSE, FINE, make_sonyc_ust

FIELDS = {"feature", "num_frames", "label", "soft_label", "item_index"}


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
    queries, database = (columns(loader)["item_index"].tolist() for loader in data.test_dataloader())
    assert [data.items[index].split for index in queries] == ["test"] * NUM_TEST
    assert [data.items[index].split for index in database] == ["train"] * NUM_TRAIN + ["validate"] * (NUM_VALIDATE - 1)
    assert columns(data.predict_dataloader())["item_index"].tolist() == list(range(len(data.items)))
    assert data.class_names == list(COARSE)
    assert data.num_classes == len(COARSE)
    assert len({item.name for item in data.items}) == len(data.items) == NUM_DATABASE + NUM_TEST
    assert all(item.path.is_file() for item in data.items)


def test_labels_are_those_of_the_table(make: Make) -> None:
    data = make()
    everything = columns(data.predict_dataloader())
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
    data = sonyc_at(v1, tmp_path / "cache", aggregation="v1")
    assert {item.name.split("/")[0] for item in data.items} == {"train", "validate", "test"}
    assert {item.name.split("/")[0] for item in reference.items} == {"audio-0", "audio-1"}
    found = [(item.path.stem, item.sensor, item.split) for item in data.items]
    assert found == [(item.path.stem, item.sensor, item.split) for item in reference.items]
    assert [item.labels for item in data.items[:NUM_TRAIN]] == [item.labels for item in reference.items[:NUM_TRAIN]]
    nested = tmp_path / "v1" / "audio-dev" / "deep"
    shutil.move(v1 / "train", nested)
    assert [item.path.stem for item in sonyc_at(v1, tmp_path / "cache", aggregation="v1").items] == [
        item.path.stem for item in reference.items
    ]


def test_first_record_of_v1_is_asked_with_its_validate_clips(make: Make, shared: Path, tmp_path: Path) -> None:
    data = make("v1", aggregation="v1", query_split="validate")
    assert [data.items[index].split for index in data.roles.query] == ["validate"] * NUM_VALIDATE
    assert [data.items[index].split for index in data.roles.database] == ["train"] * NUM_TRAIN
    with pytest.raises(SplitError, match=r"Expected usable test clips .*found 0 and 30.*query_split validate"):
        sonyc_at(shared / "v1", tmp_path, aggregation="v1").setup()
    both = make(query_split="validate")
    assert {both.items[index].split for index in both.roles.database} == {"train"}


def test_short_clips_are_padded_with_0(make: Make) -> None:
    data = make(frames_per_clip=12)
    cache = data.open_cache()
    own = np.diff(cache.offsets)
    assert sorted(set(own.tolist())) == [2, 16]
    served = columns(data.predict_dataloader())
    assert served["num_frames"].tolist() == np.minimum(own, 12).tolist()
    for index, feature, num_frames in zip(
        served["item_index"].tolist(), served["feature"], served["num_frames"].tolist(), strict=True
    ):
        assert not feature[num_frames:].any()
        assert feature[:num_frames].any()
        np.testing.assert_array_equal(feature[:num_frames], cache.clip_frames(index)[:12])


def test_what_is_measured_tells_which_frames_are_padding(make: Make) -> None:
    data = make(frames_per_clip=12)
    served = columns(data.test_dataloader()[1])
    features, lengths = zip(*data.database_features(100), strict=True)
    np.testing.assert_array_equal(np.concatenate(features), served["feature"].numpy())
    np.testing.assert_array_equal(np.concatenate(lengths), served["num_frames"].numpy())
    assert all(num_frames is None for _, num_frames in make().database_features(100))  # means have no frames


def test_means_have_one_frame(make: Make) -> None:
    assert set(columns(make().predict_dataloader())["num_frames"].tolist()) == {1}


def test_embeddings_computed_beforehand_serve(shared: Path, tmp_path: Path) -> None:
    names = [item.name for item in sonyc_at(shared / "v2", tmp_path).items]
    array = np.random.default_rng(0).standard_normal((len(names), 5)).astype(np.float32)
    np.save(tmp_path / "array.npy", array)
    (tmp_path / "table.csv").write_text("\n".join(["name", *names]) + "\n")
    frontend = PrecomputedEmbeddings(str(tmp_path / "array.npy"), str(tmp_path / "table.csv"))
    data = SonycUst(root=str(shared / "v2"), cache_dir=str(tmp_path))
    data.embed_with(frontend)
    set_up(data)
    np.testing.assert_array_equal(columns(data.predict_dataloader())["feature"], array)


def test_clips_without_a_line_are_left_out(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = next(root.glob("audio-0/*"))
    shutil.copy(source, root / "audio-1" / "99_999999.wav")
    shutil.copy(source, root / "audio-1" / "._99_999998.wav")  # what macOS leaves behind
    (root / "audio-0.tar.gz").write_bytes(b"")
    assert "99_999999" not in {item.path.stem for item in sonyc_at(root, tmp_path).items}
    assert "Left out 1 clips that " in caplog.text


def test_damaged_table_is_refused(root: Path, tmp_path: Path) -> None:
    table = root / "annotations.csv"
    table.write_text(table.read_text().replace("\ntrain,", "\ntraining,", 1))
    with pytest.raises(DatasetLayoutError, match=r"line 2: .*found .*'training'"):
        sonyc_at(root, tmp_path).prepare_data()


def test_too_few_clips_to_hold_out_or_pair_are_refused(tmp_path: Path) -> None:
    root = make_sonyc_ust(tmp_path / "corpus", num_train=1, num_validate=0, num_test=1, seconds=0.1)
    with pytest.raises(SplitError, match=r"at least two groups of clips .*found 1\."):
        sonyc_at(root, tmp_path / "cache").setup()
    data = sonyc_at(root, tmp_path / "cache", hold_out=False)
    data.setup()
    with pytest.raises(SplitError, match=r"at least two clips to train on .*found 1\."):
        data.train_dataloader()
    sensors = make_sonyc_ust(tmp_path / "sensors", num_train=1, num_validate=3, num_test=1, seconds=0.1)
    data = sonyc_at(sensors, tmp_path / "cache", val_by="sensors")
    data.setup()
    assert {data.items[index].sensor for index in data.roles.val_query}.isdisjoint(
        data.items[index].sensor for index in data.roles.train
    )


def test_shipped_config_names_options_there_are(tmp_path: Path) -> None:
    config = yaml.safe_load((CONFIGS / "sonyc_ust.yaml").read_text(encoding="utf-8"))["data"]
    assert config["class_path"] == "datamodules.SonycUst"
    assert sonyc_at(tmp_path, tmp_path, **config["init_args"]).frames_per_clip == 20


def test_v1_is_not_offered_for_download(tmp_path: Path) -> None:
    with pytest.raises(DatasetMissing, match=r"audio\.tar\.gz .*2590742") as caught:
        sonyc_at(tmp_path / "nowhere", tmp_path / "cache", version="v1").prepare_data()
    assert "--data.download true" not in str(caught.value)


def test_manifest_has_all_files_of_v2_and_nothing_without_a_checksum() -> None:
    assert ARCHIVES["v1"] == ()
    names = [archive.url.rsplit("/", 1)[1] for archive in ARCHIVES["v2"]]
    assert names == [f"audio-{part}.tar.gz" for part in range(19)] + ["dcase-ust-taxonomy.yaml", "annotations.csv"]
    digests = [archive.checksum.removeprefix("md5:") for archive in ARCHIVES["v2"]]
    assert all(len(digest) == 32 and int(digest, 16) >= 0 for digest in digests)
    assert len(set(digests)) == len(digests)
    assert all(archive.url.startswith("https://zenodo.org/records/3966543/files/") for archive in ARCHIVES["v2"])
