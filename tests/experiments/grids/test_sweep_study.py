"""`reproduce.py sweep` and `choose`, with real runs in this process; the pool of processes has tests of its own."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from experiments.grids.cell import Cell, GridResult, read_result, write_result
from experiments.grids.cell_run import run_cell
from experiments.papers.command import reproduce

SMALL = [
    "--config", "demo.yaml", "--trainer.max_epochs=1", "--data.clips_per_class=10", "--data.labels_per_class=4",
    "--model.num_codewords=4", "--model.num_bits=8", "--data.passes_per_epoch=1", "--output", "out",
]  # fmt: skip


def run_here(cells: Sequence[Cell], folder: Path, num_workers: int | None = None) -> GridResult:
    """Run cells one after the other, resumably as a grid does."""
    results, num_run = {}, 0
    for cell in cells:
        path = folder / "cells" / f"{cell.key}.json"
        if not path.is_file():
            write_result(path, run_cell(cell, folder / "runs" / cell.key))
            num_run += 1
        results[cell] = read_result(path)
    return GridResult(results, {}, num_run)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Where clips are rendered and embedded once."""
    folder = tmp_path_factory.mktemp("corpus")
    return [f"--data.root={folder}", f"--data.cache_dir={folder / 'cache'}"]


@pytest.fixture
def here(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("experiments.grids.grid.run_grid", run_here)
    return in_tmp


def test_a_sweep_is_compared_and_goes_on(here: Path, corpus: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sweep", *SMALL, *corpus, "--over", "model.quantization_weight=0,0.1", "--seeds", "1"]
    command += ["--baseline", "model.quantization_weight=0"]
    assert reproduce(command) == 0
    assert "2 runs now, 2 in all" in capsys.readouterr().out
    with (here / "out" / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model.quantization_weight"] for row in rows] == ["0", "0.1"]
    assert [row["num_seeds"] for row in rows] == ["1", "1"]
    assert rows[1]["paired"] == "20 queries"
    assert 0 < float(rows[1]["test/mAP"]) < 1
    assert (here / "out" / "comparison.html").is_file()
    assert reproduce(command) == 0
    assert "0 runs now, 2 in all" in capsys.readouterr().out


def test_a_value_is_chosen_without_the_test_queries(
    here: Path, corpus: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce(["choose", *SMALL, *corpus, "--values", "0.1", "0.01", "--num_folds", "2"]) == 0
    printed = capsys.readouterr().out
    text = (here / "out" / "report.md").read_text()
    with (here / "out" / "choice.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert [row[0] for row in rows] == ["0.01", "0.1"]
    means = [float(row[1]) for row in rows]
    assert f"Chosen: --model.quantization_weight={'0.01' if means[0] >= means[1] else '0.1'}" in printed
    assert "rendered events, labelled clips alone: 40 labelled clips ask in 2 folds" in text
    assert (here / "out" / "choice.png").stat().st_size > 5000
    asked = [read_result(path).query_index for path in sorted((here / "out" / "cells").glob("*.json"))]
    assert sorted(len(queries) for queries in asked) == [20] * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep"], "Expected a config of train.py"),
        (["sweep", "--config", "demo.yaml"], "Expected what to vary"),
        (["sweep", "--config", "demo.yaml", "--over", "model.num_bits"], "Expected --over OPTION=VALUE"),
        (["sweep", "--config", "demo.yaml", "--over", "model.bits=8"], "'bits' is not accepted"),
        (
            ["sweep", "--file", "nothing.yaml"],
            "No sweep 'nothing.yaml': it is not a file, and experiments/grids/sweeps has dqn",
        ),
        (["choose", "--config", "demo.yaml", "--values", "1"], "two values to choose from"),
        (["choose", "--config", "demo.yaml", "--option", "model.network", "--values", "a", "b"], "could not convert"),
    ],
)
def test_what_goes_wrong_is_said(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert reproduce(arguments) == 1
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(here.rglob("*.json"))


def test_an_option_that_it_does_not_have_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        reproduce(["choose", "--config", "demo.yaml", "--bits", "8"])
    assert "unrecognized arguments: --bits 8" in capsys.readouterr().err


def test_both_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(["--list"]) == 0
    printed = capsys.readouterr().out
    assert "sweep" in printed
    assert "choose" in printed
