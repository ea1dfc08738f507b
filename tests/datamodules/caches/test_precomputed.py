"""A user's own array serves any corpus in place of a front end, and a wrong array or table is told what is wrong."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import train
from callbacks.exports.code_export import export_codes
from datamodules import AudioFolder, EmbeddingDataModule, Esc50, FsdKaggle2018, PrecomputedEmbeddings, RenderedEvents
from datamodules.errors import DatasetLayoutError, DatasetMissing, SplitError
from retrieval.codes import ProductQuantizer
from tests.datamodules.makers import set_up
from tests.replicas.audio_folder import make_audio_folder
from tests.replicas.esc50 import make_esc50
from tests.replicas.fsd_kaggle2018 import make_fsd_kaggle2018

FRONTEND = "--model.preprocessing.frontend"
DIM = 6


def _write(folder: Path, array: np.ndarray, names: Sequence[str], column: str = "name") -> PrecomputedEmbeddings:
    folder.mkdir(exist_ok=True)
    np.save(folder / "X.npy", array)
    with (folder / "X.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["number", column])
        writer.writerows(enumerate(names))
    return PrecomputedEmbeddings(str(folder / "X.npy"), str(folder / "X.csv"))


def _random(rows: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, DIM)).astype(dtype)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Replicas that tests only read."""
    folder = tmp_path_factory.mktemp("corpora")
    make_esc50(folder / "esc50", 3, 2, seconds=0.1)
    make_audio_folder(folder / "folder", 4, 10, seconds=0.1)
    make_fsd_kaggle2018(folder / "fsd", seconds=0.1)
    return folder


def _corpus(
    corpora: Path, kind: str, frontend: PrecomputedEmbeddings, cache: Path, **options: object
) -> EmbeddingDataModule:
    given = {"cache_dir": str(cache), "labels_per_class": 2, **options}
    make = {"esc50": Esc50, "fsd": FsdKaggle2018, "folder": AudioFolder, "rendered": RenderedEvents}[kind]
    own = {"clips_per_class": 10} if kind == "rendered" else {}
    data: EmbeddingDataModule = make(root=str(corpora / kind), **own, **given)
    data.embed_with(frontend)
    return data


def _names(corpora: Path, kind: str, cache: Path) -> list[str]:
    corpus = _corpus(corpora, kind, PrecomputedEmbeddings("", ""), cache)
    corpus.find_corpus()
    return [item.name for item in corpus.items]


@pytest.mark.parametrize("kind", ["esc50", "fsd", "folder", "rendered"])
@pytest.mark.parametrize("column", ["name", "filename"])
def test_every_corpus_takes_rows_by_name(corpora: Path, tmp_path: Path, kind: str, column: str) -> None:
    names = _names(corpora, kind, tmp_path)
    array = _random(len(names) + 3)
    order = np.random.default_rng(1).permutation(len(array))
    labels = [*names, "some/other.wav", "another", "ü.wav"]
    frontend = _write(tmp_path / "own", array[order], [labels[row] for row in order], column)
    data = _corpus(corpora, kind, frontend, tmp_path / "cache")
    assert data.frontend.frame_dim == DIM
    data.prepare_data()
    data.setup()
    assert not (tmp_path / "cache").exists()
    for batch in data.predict_dataloader():
        assert batch["feature"].dtype == torch.float32
        np.testing.assert_array_equal(batch["feature"].numpy(), array[batch["item_index"].numpy()])


def test_audio_is_never_opened(tmp_path: Path) -> None:
    root = make_esc50(tmp_path / "esc50", 3, 2, seconds=0.05)
    for path in (root / "audio").iterdir():
        path.write_bytes(b"")
    names = sorted(f"audio/{path.name}" for path in (root / "audio").iterdir())
    data = Esc50(root=str(root), labels_per_class=2)
    data.embed_with(_write(tmp_path, _random(len(names)), names))
    data.prepare_data()
    data.setup()
    assert len(data.roles.query) + len(data.roles.database) == len(names)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_of_any_width_are_served_as_float32(tmp_path: Path, dtype: str) -> None:
    array = _random(3, dtype)
    cache = _write(tmp_path, array, ["a.wav", "b.wav", "c.wav"]).select(["a.wav", "b.wav", "c.wav"])
    assert cache.mean.dtype == np.float32
    np.testing.assert_array_equal(cache.mean, array.astype(np.float32))
    for clip in range(3):
        np.testing.assert_array_equal(cache.clip_frames(clip), array[clip : clip + 1].astype(np.float32))


def test_rows_in_order_stay_on_disk(tmp_path: Path) -> None:
    cache = _write(tmp_path, _random(2), ["a.wav", "b.wav"]).select(["a.wav", "b.wav"])
    assert isinstance(cache.mean, np.memmap)


def test_exact_names_come_before_stems(tmp_path: Path) -> None:
    array = _random(4)
    frontend = _write(tmp_path, array, ["b/x.wav", "a/x.wav", "c/y.wav", "z.flac"])
    clips = ["a/x.wav", "b/x.wav", "other/folder/y.ogg", "z.wav"]
    np.testing.assert_array_equal(frontend.select(clips).mean, array[[1, 0, 2, 3]])


@pytest.mark.parametrize(
    ("clips", "names"),
    [
        (["a/x.wav"], ["b/x.wav", "c/x.wav"]),  # two rows for one clip
        (["a/x.wav", "b/x.wav"], ["a/x.wav", "y.wav"]),  # one row, two clips
        (["a/x.wav"], ["a/X.wav"]),
    ],
)
def test_ambiguous_or_absent_rows_are_missing(tmp_path: Path, clips: list[str], names: list[str]) -> None:
    frontend = _write(tmp_path, _random(len(names)), names)
    with pytest.raises(DatasetMissing, match=r"Expected one line of .*; 1 have none, first .*x\.wav\. Name rows"):
        frontend.select(clips)


def test_missing_rows_are_counted_or_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    array = _random(2)
    frontend = _write(tmp_path, array, ["a.wav", "c.wav"])
    with pytest.raises(DatasetMissing, match=r"each of 4 clips; 2 have none, first b\.wav.*--data\.on_bad_audio skip"):
        frontend.select(["a.wav", "b.wav", "c.wav", "d.wav"])
    cache = frontend.select(["a.wav", "b.wav", "c.wav", "d.wav"], "skip")
    assert set(cache.skipped) == {1, 3}
    assert "Skipped 2 clips" in caplog.text
    np.testing.assert_array_equal(cache.mean[[0, 2]], array)
    assert not cache.mean[[1, 3]].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("is_whole", [True, False])
def test_values_that_are_not_finite_are_told_by_their_row(tmp_path: Path, value: float, is_whole: bool) -> None:
    array, clips = _random(4), ["a.wav", "b.wav", "c.wav", "d.wav"]
    array[2, 1] = value
    frontend = _write(tmp_path, array, clips)
    clips = clips[0 if is_whole else 1 :]
    with pytest.raises(DatasetLayoutError, match=r"X\.npy, row 2: .* finite values for c\.wav, found NaN.*Compute"):
        frontend.select(clips)
    cache = frontend.select(clips, "skip")
    assert list(cache.skipped) == [clips.index("c.wav")]
    assert np.isfinite(cache.mean).all()
    np.testing.assert_array_equal(np.load(tmp_path / "X.npy"), array)  # the user's file is never written to


def test_a_broken_row_that_no_clip_needs_is_no_matter(tmp_path: Path) -> None:
    array = _random(2)
    array[1] = np.nan
    frontend = _write(tmp_path, array, ["a.wav", "b.wav"])
    np.testing.assert_array_equal(frontend.select(["a.wav"]).mean, array[:1])


def test_skipped_clips_have_no_role(corpora: Path, tmp_path: Path) -> None:
    names = _names(corpora, "esc50", tmp_path)
    array = _random(len(names) - 1)
    array[4] = np.nan
    data = set_up(_corpus(corpora, "esc50", _write(tmp_path, array, names[1:]), tmp_path, on_bad_audio="skip"))
    assert sorted([*data.roles.query, *data.roles.database]) == sorted(set(range(len(names))) - {0, 5})
    assert all(batch["feature"].isfinite().all() for batch in data.predict_dataloader())


def test_an_embedding_is_one_frame_and_no_more(corpora: Path, tmp_path: Path) -> None:
    names = _names(corpora, "esc50", tmp_path)
    frontend = _write(tmp_path, array := _random(len(names)), names)
    data = set_up(_corpus(corpora, "esc50", frontend, tmp_path, frames_per_clip=1))
    for batch in data.predict_dataloader():
        np.testing.assert_array_equal(batch["feature"].numpy(), array[batch["item_index"].numpy(), None])
    with pytest.raises(SplitError, match=r"must be 1 or left out with embeddings computed beforehand.* got 2"):
        _corpus(corpora, "esc50", frontend, tmp_path, frames_per_clip=2)


@pytest.mark.parametrize("missing", ["X.npy", "X.csv"])
def test_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    frontend = _write(tmp_path, _random(2), ["a.wav", "b.wav"])
    (tmp_path / missing).unlink()
    with pytest.raises(DatasetMissing, match=f"Expected .* at .*{missing}; there is none"):
        frontend.prepare()


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros(4, np.float32), r"float32 \[4\]"),
        (np.zeros((4, 2, 3), np.float32), r"float32 \[4, 2, 3\]"),
        (np.zeros((4, 0), np.float32), r"float32 \[4, 0\]"),
        (np.zeros((4, 2), np.uint8), r"uint8 \[4, 2\]"),
        (np.zeros((4, 2), np.complex64), r"complex64 \[4, 2\]"),
    ],
)
def test_wrong_shape_or_kind_is_told(tmp_path: Path, array: np.ndarray, found: str) -> None:
    frontend = _write(tmp_path, array, ["a", "b", "c", "d"])
    for use in (frontend.prepare, lambda: frontend.frame_dim, lambda: frontend.select(["a"])):
        with pytest.raises(DatasetLayoutError, match=rf"X\.npy: expected floats \[row, feature\], found {found}. Save"):
            use()


def test_file_that_is_no_array_is_refused(tmp_path: Path) -> None:
    frontend = _write(tmp_path, _random(1), ["a"])
    pickled = io.BytesIO()  # could run code
    np.save(pickled, np.array([{"a": 1}], dtype=object))
    for content in (b"", b"<html>", b"\x93NUMPY\x01\x00", pickled.getvalue()):
        (tmp_path / "X.npy").write_bytes(content)
        with pytest.raises(DatasetLayoutError, match=r"expected a \.npy file of numbers.*numpy\.save"):
            frontend.prepare()
    with (tmp_path / "X.npy").open("wb") as file:
        np.savez(file, _random(1))
    with pytest.raises(DatasetLayoutError, match="found an archive of arrays"):
        frontend.prepare()


@pytest.mark.parametrize("rows", [1, 4])
def test_as_many_rows_as_lines(tmp_path: Path, rows: int) -> None:
    frontend = _write(tmp_path, _random(rows), ["a.wav", "b.wav", "c.wav"])
    with pytest.raises(DatasetLayoutError, match=rf"found 3 lines and {rows} rows\. Write one line a row"):
        frontend.prepare()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"name\na.wav\na.wav\n", r"expected every name once, found 'a\.wav' 2 times\. Keep one"),
        (b"number,clip\n0,a.wav\n1,b.wav\n", "expected a column name or filename, found number, clip"),
        (b"number,name\n0,b.wav\n1\n", "line 3: expected 2 fields, found 1"),
        (b"number,name\n0,b.wav\n1,a.wav,more\n", "line 3: expected 2 fields, found 3"),
        (b"name\n\xff\xfe\n", "expected a CSV file in UTF-8"),
    ],
)
def test_a_wrong_table_is_told(tmp_path: Path, table: bytes, message: str) -> None:
    frontend = _write(tmp_path, _random(2), ["a.wav", "b.wav"])
    (tmp_path / "X.csv").write_bytes(table)
    with pytest.raises(DatasetLayoutError, match=message):
        frontend.prepare()


def test_a_spreadsheets_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    frontend = _write(tmp_path, _random(1), ["a.wav"])
    (tmp_path / "X.csv").write_text("name\r\na.wav\r\n", encoding="utf-8-sig")
    assert len(frontend.select(["a.wav"]).mean) == 1


def test_exported_embeddings_come_back(corpora: Path, tmp_path: Path) -> None:
    corpus = _corpus(corpora, "fsd", PrecomputedEmbeddings("", ""), tmp_path)
    embeddings = torch.from_numpy(_random(len(corpus.items)))
    quantizer = ProductQuantizer(DIM, 2, 4)
    quantizer.fit(embeddings)
    indices = list(range(len(corpus.items)))
    export_codes(
        tmp_path / "codes", quantizer, embeddings, indices, torch.tensor([item.label for item in corpus.items]), corpus
    )
    frontend = PrecomputedEmbeddings(str(tmp_path / "codes" / "embeddings.npy"), str(tmp_path / "codes" / "items.csv"))
    data = set_up(_corpus(corpora, "fsd", frontend, tmp_path))
    for batch in data.predict_dataloader():
        assert torch.equal(batch["feature"], embeddings[batch["item_index"]])


QUIET = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


def test_the_command_trains_on_an_array(corpora: Path, in_tmp: Path) -> None:
    names = _names(corpora, "fsd", in_tmp)
    _write(in_tmp, _random(len(names)), names)
    shared = [
        "--config=dqn.yaml", "--config=data/fsd_kaggle2018.yaml", *QUIET, f"--data.root={corpora / 'fsd'}",
        f"{FRONTEND}.class_path", "datamodules.PrecomputedEmbeddings", f"{FRONTEND}.init_args.array", "X.npy",
        f"{FRONTEND}.init_args.table", "X.csv", "--data.labels_per_class=2", "--model.num_codewords=2",
        "--model.num_bits=4", "--trainer.fast_dev_run=true",
    ]  # fmt: skip
    cli = train.main(["fit", *shared, f"--trainer.default_root_dir={in_tmp / 'run'}"])
    assert cli.trainer.state.finished
    assert cli.model.network(torch.zeros(2, DIM)).shape == (2, 8)
    rows = json.loads((in_tmp / "run" / "report" / "results.json").read_text())
    assert rows[0]["data"] == "FSDKaggle2018"
    assert not (in_tmp / "cache").exists()


def test_the_command_says_which_array_is_missing(corpora: Path, in_tmp: Path) -> None:
    arguments = ["--config=dqn.yaml", *QUIET, f"--data.root={corpora / 'esc50'}"]
    arguments += [
        f"{FRONTEND}=datamodules.PrecomputedEmbeddings",
        f"{FRONTEND}.array=absent.npy",
    ]
    with pytest.raises(DatasetMissing, match=rf"absent\.npy; there is none\. Correct {FRONTEND}\.array"):
        train.main(["fit", *arguments, f"{FRONTEND}.table=X.csv"])
