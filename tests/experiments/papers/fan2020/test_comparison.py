"""The comparison of models that compare pairs through the real command, on a replica and hardly trained."""

import contextlib
import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_limits

from experiments.grids.cell import CellResult
from experiments.papers.command import reproduce
from experiments.papers.fan2020.comparison import PairStudyResult, report_pair_study
from experiments.papers.fan2020.runs import METHODS, MODELS, pair_study_of
from retrieval.metrics import LevelScores
from tests.replicas.sonyc_ust import COARSE, make_sonyc_ust

TABLES = {"overview", "accuracy", "cost", "first_stage", "all"}


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder, with no corpus or weights named by the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for variable in [name for name in os.environ if name.startswith("EARMARK_")]:
            patch.delenv(variable)
        with threadpool_limits(1):  # threads of BLAS wait for each other where other processes run
            yield


def arguments(folder: Path) -> list[str]:
    return ["sonyc", "--preset", "smoke", "--output", "out", f"--data.root={folder / 'corpus'}", "--workers", "1",
            "--model.preprocessing.frontend=lightning_modules.frontends.LogMel", "--data.frames_per_clip=8",
            "--data.batch_size=8",
            "--trainer.max_epochs=12"]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the smoke preset once; return its folder and what it printed."""
    folder = tmp_path_factory.mktemp("sonyc")
    make_sonyc_ust(folder / "corpus", seconds=0.5)
    with inside(folder), contextlib.redirect_stdout(io.StringIO()) as printed:
        assert reproduce([*arguments(folder), "--no_wandb"]) == 0
    return folder, printed.getvalue()


def read_table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "out" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.processes
def test_every_table_and_figure_is_written(finished: tuple[Path, str]) -> None:
    output = finished[0] / "out"
    assert {path.stem for path in output.glob("*.csv")} == TABLES
    assert all((output / f"{name}.{suffix}").stat().st_size > 100 for name in TABLES for suffix in ("md", "tex", "csv"))
    assert all((output / f"fig3.{suffix}").stat().st_size > 1000 for suffix in ("png", "svg"))
    report = (output / "report.md").read_text(encoding="utf-8")
    assert report.startswith("# Retrieval of sounds with several labels, SONYC-UST\n")
    assert "](fig3.png)" in report


@pytest.mark.processes
def test_the_overview_has_every_method_and_is_printed(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    rows = read_table(folder, "overview")
    shown = ["random", "cosine", "classifier", "siamese", "plus"]
    assert [row["method"] for row in rows] == [METHODS[name] for name in shown]
    assert all(METHODS[name] in printed for name in shown)
    for row in rows:
        assert all(0 <= float(row[key]) <= 100 for key in ("8@1", "8@10", "8@100", "7@1", "7@10", "7@100"))
        assert (row["p"] == "") == (row["method"] == METHODS["classifier"])


@pytest.mark.processes
def test_runs_are_told_of(finished: tuple[Path, str]) -> None:
    folder = finished[0]
    accuracy = read_table(folder, "accuracy")
    assert list(accuracy[0]) == ["method", *COARSE]
    cost = {row["method"]: row for row in read_table(folder, "cost")}
    assert float(cost[METHODS["siamese"]]["epochs chosen"]) >= 1
    assert cost[METHODS["plus"]]["epochs chosen"] == ""  # trained for a fixed number
    assert float(cost[METHODS["siamese"]]["change of level"]) > 1e-6
    assert float(cost[METHODS["plus"]]["change of level"]) < 1e-5
    assert all(float(row["pairs/s in the test"]) > 0 for row in cost.values())
    stages = [row for row in read_table(folder, "first_stage") if row["method"] == METHODS["plus"]]
    overview = {row["method"]: row for row in read_table(folder, "overview")}
    assert float(stages[-1]["compared"]) == 100
    assert float(stages[-1]["8@10"]) == pytest.approx(float(overview[METHODS["plus"]]["8@10"]), abs=1e-4)


@pytest.mark.processes
def test_a_second_start_runs_nothing(finished: tuple[Path, str]) -> None:
    folder = finished[0]
    cells = {path: path.stat().st_mtime_ns for path in (folder / "out" / "cells").glob("*.json")}
    assert len(cells) == 3
    with inside(folder), contextlib.redirect_stdout(io.StringIO()):
        assert reproduce([*arguments(folder), "--no_wandb"]) == 0
    assert {path: path.stat().st_mtime_ns for path in (folder / "out" / "cells").glob("*.json")} == cells


def test_seeds_are_meaned_query_by_query(tmp_path: Path) -> None:
    count = torch.tensor([1, 2, 0, 1])
    by_seed = {
        seed: LevelScores({(8, 10): torch.tensor(values).double()}, count, 9)
        for seed, values in enumerate(([0.0, 1.0, 0.5, 0.5], [1.0, 1.0, 0.5, 0.9]))
    }
    zero = {0: LevelScores({(8, 10): torch.zeros(4).double()}, count, 9)}
    result = PairStudyResult(
        "small", COARSE, {"random": zero, "siamese": by_seed}, dict[str, dict[int, CellResult]](), []
    )
    tables = report_pair_study(result, tmp_path).tables
    lines = {line[0]: line[1] for line in tables[0].lines}
    assert lines[METHODS["siamese"]] == "67.5 ± 24.7"
    assert lines[METHODS["random"]] == "0.0"
    full = {(line[0], line[1]): line[5] for line in tables[-1].lines}
    assert full[METHODS["siamese"], "single"] == "60.0"
    assert full[METHODS["siamese"], "multi"] == "100.0"


def test_presets_name_known_methods_and_configs() -> None:
    for preset in ("smoke", "quick", "full", "paper"):
        study = pair_study_of(preset)
        assert set(study.methods) <= set(METHODS)
        keys = [cell.key for cell in study.cells().values()]
        assert len(keys) == len(set(keys)) == len(study.seeds) * (len(study.methods) - 2)
    assert {model.name for model in MODELS} - set(pair_study_of("full").methods) == {"vggish"}


def test_a_missing_corpus_is_said(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with inside(in_tmp):
        assert reproduce(["sonyc", "--preset", "smoke", "--data.root=nowhere"]) == 1
    assert "Expected SONYC-UST in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--bits", "8"], "unrecognized arguments: --bits 8. Expected what `python reproduce.py sonyc --help` lists"),
        (["--methods", "dqn"], "invalid choice: 'dqn' (choose from 'random', 'cosine'"),
        (["--preset", "large"], "Got value: large"),
    ],
)
def test_options_that_it_does_not_have_are_refused(
    wrong: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        reproduce(["sonyc", *wrong])
    assert message in capsys.readouterr().err
