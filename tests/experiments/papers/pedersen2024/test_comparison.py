"""The thesis's comparison through the real command, on rendered events and hardly trained."""

import contextlib
import csv
import dataclasses
import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from experiments.grids.cell import Cell, read_result
from experiments.grids.cell_run import read_curves, read_window_embeddings, run_cell
from experiments.papers.command import reproduce
from experiments.papers.pedersen2024.comparison import report_study, run_study
from experiments.papers.pedersen2024.runs import ClipStudy, clip_study_of
from tests.lightning_modules.frontends.pretrained.test_yamnet import write_keras_release
from tests.replicas.esc50 import make_esc50

SMALL = ["--folds", "1", "--data.clips_per_class=10", "--trainer.max_epochs=1",
         "--model.latent_dim=4", "--model.encoder.init_args.hidden_dim=8",
         *(f"--model.{network}.init_args.channels=[4,4,4,4]" for network in ("encoder", "decoder"))]  # fmt: skip
SMOKE = ["llar", "--preset", "smoke", "--output", "out", *SMALL]
TABLES = {"classes", "overview", "mcnemar", "linear", "search", "pairs"}
FIGURES = {"accuracy", "training", "confusion"}


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder, with no corpus or weights named by the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for variable in [name for name in os.environ if name.startswith("EARMARK_")]:
            patch.delenv(variable)
        with threadpool_limits(1):  # threads of BLAS wait for each other where other processes run
            yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the smoke preset once; return its folder and what it printed."""
    folder = tmp_path_factory.mktemp("llar")
    with inside(folder), contextlib.redirect_stdout(io.StringIO()) as printed:
        assert reproduce([*SMOKE, "--no_wandb"]) == 0
    return folder, printed.getvalue()


def run_folder(folder: Path) -> Path:
    (found,) = (folder / "out" / "runs").iterdir()
    return found


def small_cell() -> Cell:
    """Return the cell of the smoke preset."""
    study = clip_study_of("smoke")
    return dataclasses.replace(study, arguments=(*study.arguments, *SMALL[2:])).cells()["vae_small", 1]


# What is written.


@pytest.mark.processes
def test_every_table_and_figure_is_written(finished: tuple[Path, str]) -> None:
    output = finished[0] / "out"
    assert {path.stem for path in output.glob("*.csv")} == TABLES
    assert {path.stem for path in output.glob("*.svg")} == FIGURES
    for names, suffixes in ((TABLES, ("md", "tex", "csv")), (FIGURES, ("png", "svg"))):
        assert all((output / f"{name}.{suffix}").stat().st_size > 200 for name in names for suffix in suffixes)


@pytest.mark.processes
def test_the_report_names_the_data_and_shows_every_figure(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    report = (folder / "out" / "report.md").read_text(encoding="utf-8")
    assert report.startswith("# Learned and given representations of clips, rendered events\n")
    assert "Ours: rendered events, 20 of 100 clips ask." in report
    assert all(f"]({name}.png)" in report for name in FIGURES)
    overview = (folder / "out" / "overview.md").read_text(encoding="utf-8")
    assert overview in report
    assert overview.partition("\n\n")[2] in printed


@pytest.mark.processes
def test_a_row_of_the_overview_is_what_its_embeddings_give(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    with next(folder.glob("data/rendered-events/*/meta/esc50.csv")).open(newline="") as file:
        clips = list(csv.DictReader(file))
    targets, folds = (np.array([int(clip[name]) for clip in clips]) for name in ("target", "fold"))
    vectors = np.load(run_folder(folder) / "window_embeddings.npy").astype(np.float64).mean(axis=1)
    with (folder / "out" / "overview.csv").open(newline="") as file:
        rows = {(row["1-NN accuracy in %"], row["distance"]): row for row in csv.DictReader(file)}
    asks = np.flatnonzero(folds == 1)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    squares = np.square(vectors[asks, None] - vectors).sum(axis=2)
    for metric, distances in (("cosine", 1 - unit[asks] @ unit.T), ("Euclidean", squares)):
        row = rows["VAE, mean", metric]
        for protocol, excluded in (("leave-one-out", asks[:, None] == np.arange(100)),
                                   ("fold-disjoint", folds[asks, None] == folds)):  # fmt: skip
            nearest = np.where(excluded, np.inf, distances).argmin(axis=1)
            for label_set, labels in (("subclasses", targets), ("superclasses", targets // 10)):
                accuracy = 100 * (labels[nearest] == labels[asks]).mean()
                assert float(row[f"{protocol}, {label_set}"]) == pytest.approx(accuracy)
        assert row["size"] == "4"
    assert len(rows) == 2 * 6  # random, PCA, statistics, and three of the VAE


@pytest.mark.processes
def test_what_is_learned_is_compared_with_what_is_given(finished: tuple[Path, str]) -> None:
    with (finished[0] / "out" / "mcnemar.csv").open(newline="") as file:
        lines = [row for row in csv.DictReader(file) if not row["models"].startswith("thesis")]
    assert len(lines) == 2 * 2 * 2  # distances, protocols, label sets
    assert {row["models"] for row in lines} == {"VAE, mean / log-mel statistics"}
    counts = ("both right", "only the first", "only the second", "neither")
    assert all(sum(int(row[name]) for name in counts) == 20 for row in lines)


@pytest.mark.processes
def test_a_run_keeps_embeddings_curves_and_checkpoint(finished: tuple[Path, str]) -> None:
    folder = run_folder(finished[0])
    embeddings = read_window_embeddings(folder)
    assert embeddings.dtype == np.float32
    assert embeddings.shape == (100, (156 - 32) // 8 + 1, 4)
    assert np.isfinite(embeddings).all()
    curves = read_curves(folder)
    assert set(curves["train/negative_elbo"]) == {0}
    assert set(curves["test/mAP"]) == {1}
    assert (folder / "last.ckpt").is_file()
    result = read_result(finished[0] / "out" / "cells" / f"{folder.name}.json")
    assert (result.data_name, result.num_items, len(result.query_index)) == ("rendered events", 80, 20)
    assert "--data.fold=1" in result.command


# Again.


@pytest.mark.processes
def test_again_trains_nothing_says_the_same_and_logs_it(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    kept = {path: path.stat().st_mtime_ns for name in ("runs", "cells") for path in (folder / "out" / name).rglob("*")}
    texts = {
        path: path.read_bytes() for suffix in ("md", "tex", "csv") for path in (folder / "out").glob(f"*.{suffix}")
    }
    assert len(texts) == 3 * len(TABLES) + 1
    with inside(folder), contextlib.redirect_stdout(io.StringIO()) as again:
        assert reproduce(SMOKE) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert {path: path.read_bytes() for path in texts} == texts
    assert again.getvalue().strip().startswith(printed.strip())
    assert "W&B runs, offline" in again.getvalue()
    assert len(list((folder / "out").glob("wandb/offline-run-*"))) == 2  # a training, and the tables


@pytest.mark.processes
def test_a_killed_run_goes_on(finished: tuple[Path, str], tmp_path: Path) -> None:
    # validated less often than every epoch, which a checkpoint must not wait for
    own = ("--trainer.accelerator=cpu", "--trainer.check_val_every_n_epoch=5")
    cell = dataclasses.replace(small_cell(), arguments=(*small_cell().arguments, *own))
    assert "--trainer.max_epochs=1" in cell.arguments
    with inside(finished[0]):
        first = run_cell(cell, tmp_path)
        weights = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
        embeddings, curves = read_window_embeddings(tmp_path), read_curves(tmp_path)
        # killed before its result was written: nothing is left to train
        second = run_cell(cell, tmp_path)
        assert second.average_precision == first.average_precision
        assert np.array_equal(read_window_embeddings(tmp_path), embeddings)
        assert read_curves(tmp_path) == curves
        # killed after one of two epochs
        longer = dataclasses.replace(cell, arguments=(*cell.arguments, "--trainer.max_epochs=2"))
        run_cell(longer, tmp_path)
    assert {path.name for path in (tmp_path / "curves").iterdir()} == {"start-0", "start-1", "start-2"}
    merged = read_curves(tmp_path)
    assert set(merged["train/negative_elbo"]) == {0, 1}
    assert merged["train/negative_elbo"][0] == curves["train/negative_elbo"][0]
    assert merged["train/beta"] == pytest.approx({0: 0.1, 1: 0.2})  # the warm-up goes on too
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert checkpoint["epoch"] == 1
    assert any(not torch.equal(weights[name], tensor) for name, tensor in checkpoint["state_dict"].items())
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["last.ckpt"]
    again = read_window_embeddings(tmp_path)
    assert again.shape == embeddings.shape
    assert np.isfinite(again).all()
    assert not np.array_equal(again, embeddings)


def test_of_an_epoch_that_was_trained_twice_the_last_start_counts(tmp_path: Path) -> None:
    starts = {2: "0,5,0.25,\n1,11,0.5,\n", 0: "0,5,9,7\n", 10: "1,11,0.75,\n2,17,0.125,3\n"}
    for number, rows in starts.items():
        path = tmp_path / "curves" / f"start-{number}" / "metrics.csv"
        path.parent.mkdir(parents=True)
        path.write_text(f"epoch,step,train/loss,val/loss\n{rows}")
    assert read_curves(tmp_path) == {"train/loss": {0: 0.25, 1: 0.75, 2: 0.125}, "val/loss": {0: 7, 2: 3}}
    assert read_curves(tmp_path / "nothing") == {}


# Other studies.


def test_yamnet_alone_is_searched_classified_and_swept(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_keras_release(in_tmp / "yamnet.h5")
    monkeypatch.setenv("EARMARK_YAMNET_WEIGHTS", str(in_tmp / "yamnet.h5"))
    root = make_esc50(in_tmp / "corpus", num_classes=3, seconds=1.0)
    keep_folds(root / "meta" / "esc50.csv", "12")
    options = (f"--data.root={root}", "--data.name", "replica of ESC-50")
    with threadpool_limits(1):
        result = run_study(ClipStudy("data/esc50.yaml", ("yamnet",), (1, 2), (0.0, 1e9), options), in_tmp / "out")
    report = report_study(result, in_tmp / "out")
    tables = report.tables
    assert [table.name for table in tables] == ["overview", "linear", "sweep", "search", "classes", "pairs"]
    assert [path.name for path in report.pictures] == ["accuracy.png", "sweep.png"]
    page = (in_tmp / "out" / "report.md").read_text(encoding="utf-8")
    assert "Ours: replica of ESC-50, 12 of 12 clips ask." in page
    linear, sweep, pairs = tables[1], tables[2], tables[5]
    assert [line[:2] for line in linear.lines] == [["YAMNet, delta", "subclasses"], ["YAMNet, delta", "superclasses"]]
    assert [line[:2] for line in sweep.lines] == [["0.0000", "1024"], ["1000000000.0000", "0"]]
    assert sweep.lines[1][2:] == ["none left"] * 4
    assert len(pairs.lines) == 8 * (8 * 7 // 2)


def keep_folds(table: Path, folds: str) -> None:
    header, *rows = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([header, *(row for row in rows if row[0] in folds)]) + "\n", encoding="utf-8")


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data_config", "data/esc51.yaml"], "No config 'data/esc51.yaml'"),
        (["--data.root=nowhere"], "Expected ESC-50 in"),
        (["--data.rot=nowhere"], "Expected options of data/esc50.yaml; got --data.rot=nowhere"),
        (["--model.preprocessing.frontend.num_mels=32"], "llar compares several front ends on the same clips"),
        (["--data.on_bad_audio=skip"], "llar compares several front ends on the same clips"),
        # not that it is missing, nor that a subset isn't a number
        (
            ["--data_config", "data/fsd_kaggle2018.yaml"],
            "llar asks fold by fold; data/fsd_kaggle2018.yaml has no folds.",
        ),
        (["--data_config", "data/audio_folder.yaml"], "llar asks fold by fold; data/audio_folder.yaml has no"),
    ],
)
def test_what_cannot_run_ends_with_one_line(
    arguments: list[str], message: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce(["llar", "--preset", "quick", "--no_wandb", *arguments]) == 1
    assert f"error: {message}" in capsys.readouterr().err
    assert not list(in_tmp.iterdir())


def test_a_fold_that_is_not_there_ends_with_one_line(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replica = make_esc50(in_tmp / "corpus", num_classes=2, clips_per_fold=1)
    arguments = ["llar", "--preset", "quick", "--no_wandb", "--methods", "random", f"--data.root={replica}"]
    assert reproduce([*arguments, "--folds", "6"]) == 1
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "option",
    [["--bits", "8"], ["--num_codewords", "4"], ["--seeds", "1"], ["--label_fractions", "0.5"],
     ["--embeddings", "yamnet"], ["--root", "x"], ["--fingerprinter", "a.ckpt"]],
)  # fmt: skip
def test_options_of_codes_are_refused(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        reproduce(["llar", *option])
    said = f"unrecognized arguments: {' '.join(option)}. Expected what `python reproduce.py llar --help` lists"
    assert said in capsys.readouterr().err


def test_a_representation_that_is_not_known_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        reproduce(["llar", "--methods", "vae_smol"])
    assert "'vae_smol' (choose from 'random', 'pca', 'log_mel', 'yamnet', 'vae_small'" in capsys.readouterr().err


@pytest.mark.processes
def test_a_model_that_cannot_be_trained_is_left_out(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*SMOKE, "--no_wandb", "--methods", "random", "vae_small", "--model.window_frames=999"]
    with threadpool_limits(1):
        assert reproduce(arguments) == 1
    assert "failed: ValueError: Expected clips of at least window_frames = 999" in capsys.readouterr().err
    with (in_tmp / "out" / "overview.csv").open(newline="") as file:
        assert {row["1-NN accuracy in %"] for row in csv.DictReader(file)} == {"random"}
