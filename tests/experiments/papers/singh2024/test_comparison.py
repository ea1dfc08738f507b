"""FlowHash's comparison through the real command, on a replica and hardly trained."""

import contextlib
import csv
import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from experiments.papers.command import reproduce
from experiments.papers.singh2024.settings import LEARNED_CONFIGS, METHODS, FlowStudy, flow_study_of
from tests.replicas.fma import make_fma
from tests.replicas.musan import make_musan

TABLES = {"overview", "table1", "table2", "table5", "repeats", "efficiency", "balance", "closeness", "false_alarms",
          "all"}  # fmt: skip
FIGURES = {"efficiency", "fig2", "fig3", "fig4", "fig5"}
CONDITIONS = ("noise 0 dB", "noise 10 dB")


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder, with no corpus or weights named by the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for variable in [name for name in os.environ if name.startswith("EARMARK_")]:
            patch.delenv(variable)
        patch.setattr("experiments.papers.singh2024.study.flow_study_of", shortened)
        with threadpool_limits(1):
            yield


def shortened(preset: str) -> FlowStudy:
    """Return the preset with next to no training, and without the longest queries."""
    epoch = ("--trainer.max_epochs=2", "--model.projection_epochs=1", "--trainer.limit_train_batches=2")
    return replace(
        flow_study_of(preset), seconds=(1.0, 2.0), ot_steps=3, toy_steps=3, num_tuning=50,
        hash_arguments=dict.fromkeys(LEARNED_CONFIGS, epoch) | {"flowhash_plus": ()},
    )  # fmt: skip


def arguments(folder: Path) -> list[str]:
    return [
        "flowhash", "--preset", "smoke", "--output", "out", "--bits", "6", "--num_queries", "170", "4",
        "--no_wandb", f"--data.root={folder / 'fma'}", f"--data.noise.root={folder / 'musan'}",
        "--data.queries.kinds=[noise]", "--data.queries.snr_db=[0.0,10.0]", "--data.rooms.num_train=1",
        "--data.rooms.seconds=0.1", "--trainer.accelerator=cpu",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the smoke preset once; return its folder and what it printed."""
    folder = tmp_path_factory.mktemp("flowhash")
    make_fma(folder / "fma", seconds=6.0)
    make_musan(folder / "musan")
    with inside(folder), contextlib.redirect_stdout(io.StringIO()) as printed:
        assert reproduce(arguments(folder)) == 0
    return folder, printed.getvalue()


def read_table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "out" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_part(folder: Path, part: str) -> dict[str, np.ndarray]:
    (found,) = (folder / "out" / "fingerprints").glob(f"pooled-*/{part}")
    return {path.stem: np.load(path) for path in found.glob("*.npy")}


@pytest.mark.processes
def test_every_table_and_figure_is_written(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    output = folder / "out"
    assert {path.stem for path in output.glob("*.csv")} == TABLES
    assert all((output / f"{name}.{suffix}").stat().st_size > 100 for name in TABLES for suffix in ("md", "tex", "csv"))
    assert {path.stem for path in output.glob("*.png")} == FIGURES
    assert all((output / f"{name}.svg").stat().st_size > 1000 for name in FIGURES)
    report = (output / "report.md").read_text(encoding="utf-8")
    assert report.startswith("# Fingerprints and hash codes, FMA medium\n")
    assert all(f"]({name}.png)" in report for name in FIGURES)
    assert "table3 is on another corpus: --data_config data/librispeech.yaml" in report
    searched = set(METHODS.values()) - {METHODS["flowhash_without_bce"]}
    assert all(label in printed for label in searched)


@pytest.mark.processes
def test_exact_search_is_what_can_be_counted_by_hand(finished: tuple[Path, str]) -> None:
    folder = finished[0]
    items, queries = read_part(folder, "item"), read_part(folder, "query-1s-170")
    found = np.argmax(queries["fingerprint"][:, 0] @ items["fingerprint"].T, axis=1)
    in_track = items["track"][found] == queries["track"]
    error = np.abs(items["start_seconds"][found] - queries["start_seconds"])
    rows = {(row["search"], row["seconds"], row["condition"]): row for row in read_table(folder, "all")}
    for number, condition in enumerate(CONDITIONS):
        here = queries["condition"] == number
        row = rows[METHODS["exact"], "1", condition]
        assert int(row["queries"]) == here.sum() == 170
        assert float(row["track"]) == pytest.approx(100 * in_track[here].mean())
        assert float(row["top1"]) == pytest.approx(100 * (in_track & (error < 0.050001))[here].mean())
        assert float(row["eval_percent"]) == 100
        assert float(row["top1_low"]) < float(row["top1"]) < float(row["top1_high"])


@pytest.mark.processes
def test_long_queries_are_aligned_as_by_hand(finished: tuple[Path, str]) -> None:
    folder = finished[0]
    items, queries = read_part(folder, "item"), read_part(folder, "query-2s-4")
    num_segments = queries["fingerprint"].shape[1]
    assert num_segments == 11
    scores = np.einsum("qsf,if->qsi", queries["fingerprint"], items["fingerprint"])
    hits = []
    for query in range(len(scores)):
        best, place = -np.inf, -1
        for start in range(len(items["track"]) - num_segments + 1):
            lies_on = np.arange(start, start + num_segments)
            is_one = items["track"][lies_on[0]] == items["track"][lies_on[-1]]
            top = np.argsort(-scores[query], axis=1)[:, :5]
            proposed = bool((top == lies_on[:, None]).any())
            value = scores[query, np.arange(num_segments), lies_on].mean()
            if is_one and proposed and value > best:
                best, place = value, start
        error = abs(items["start_seconds"][place] - queries["start_seconds"][query])
        hits.append(place >= 0 and items["track"][place] == queries["track"][query] and error < 0.050001)
    rows = {(row["search"], row["seconds"], row["condition"]): row for row in read_table(folder, "all")}
    for number, condition in enumerate(CONDITIONS):
        expected = 100 * np.mean(np.array(hits)[queries["condition"] == number])
        assert float(rows[METHODS["exact"], "2", condition]["top1"]) == pytest.approx(expected)


@pytest.mark.processes
def test_tables_evaluate_less_than_everything(finished: tuple[Path, str]) -> None:
    rows = read_table(finished[0], "efficiency")
    assert {row["search"] for row in rows} == set(METHODS.values()) - {
        METHODS["exact"], METHODS["flowhash_widths"], METHODS["flowhash_without_bce"],
    }  # fmt: skip
    for row in rows:
        assert 0 < float(row["eval %"]) <= 100
        assert float(row["% of exact recall"]) >= 90
    assert {int(row["bits"]) for row in rows} == {6}


@pytest.mark.processes
def test_balance_is_that_of_the_codes(finished: tuple[Path, str]) -> None:
    folder = finished[0]
    rows = {(row["hash"], row["bits"]): row for row in read_table(folder, "balance")}
    assert len(rows) == 8 + 1
    items = read_part(folder, "item")["fingerprint"].astype(np.float64)
    centred = items - items.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:6]
    components = centred @ directions.T
    codes = (components > np.median(components, axis=0)) @ 2 ** np.arange(6)
    shares = np.bincount(codes, minlength=64) / len(codes)
    entropy = -(shares[shares > 0] * np.log2(shares[shares > 0])).sum()
    assert float(rows[METHODS["pca_median"], "6"]["entropy"]) == pytest.approx(entropy, abs=0.02)


@pytest.mark.processes
def test_false_alarms_are_counted_on_tracks_that_are_left_out(finished: tuple[Path, str]) -> None:
    (row,) = read_table(finished[0], "false_alarms")  # longer queries are too few
    assert row["query"] == "1 s"
    assert 0 <= float(row["false alarms, %"]) <= 100
    assert float(row["right, %"]) <= float(row["right without threshold, %"])


@pytest.mark.processes
def test_a_second_start_computes_nothing(finished: tuple[Path, str]) -> None:
    folder = finished[0]
    kept = [
        path for name in ("cells", "fingerprints", "hashes", "training") for path in (folder / "out" / name).rglob("*")
    ]
    times = {path: path.stat().st_mtime_ns for path in kept}
    assert len(times) > 50
    with inside(folder), contextlib.redirect_stdout(io.StringIO()), pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.papers.singh2024.fingerprints.FrozenFingerprinter.__call__", None)
        patch.setattr("experiments.papers.singh2024.report.make_figures", lambda result: {})
        assert reproduce(arguments(folder)) == 0
    again = [
        path for name in ("cells", "fingerprints", "hashes", "training") for path in (folder / "out" / name).rglob("*")
    ]
    assert {path: path.stat().st_mtime_ns for path in again} == times


def test_options_of_other_targets_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        reproduce(["flowhash", "--seeds", "1"])
    assert "unrecognized arguments: --seeds 1" in capsys.readouterr().err


def test_a_missing_checkpoint_is_told_of(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_fma(in_tmp / "fma")
    assert (
        reproduce(["flowhash", "--preset", "smoke", "--fingerprinter", "none.ckpt", f"--data.root={in_tmp / 'fma'}"])
        == 1
    )
    assert "Expected a fingerprinter's checkpoint at none.ckpt" in capsys.readouterr().err


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
