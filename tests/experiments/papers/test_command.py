"""Tables and figures through the real command, on rendered events."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.command.configs import CONFIG_FOLDER
from experiments.grids.cell import read_result
from experiments.grids.grid import run_grid
from experiments.papers.command import reproduce
from experiments.papers.jati2020.grid import grid_of

ROOT = Path(__file__).resolve().parents[3]


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "reproduce.py"), *arguments],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run table 2's smoke preset once; return its folder and what it printed."""
    folder = tmp_path_factory.mktemp("reproduce")
    done = run(["table2", "--preset", "smoke"], folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.mark.processes
def test_smoke_writes_every_kind_of_table_and_figure(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    output = folder / "runs" / "reproduce" / "table2-rendered_events"
    for suffix in ("md", "csv", "tex", "png", "svg"):
        assert (output / f"table2.{suffix}").stat().st_size > 200, suffix
    assert (output / "table2.md").read_text() in printed
    assert "](table2.png)" in (output / "report.md").read_text()
    with (output / "table2.csv").open(newline="") as file:
        rows = {(row["method"], row["num_bits"]): row for row in csv.DictReader(file)}
    assert set(rows) == {(method, bits) for method in ("lsh", "itq", "pq", "dqn") for bits in ("6", "12")}
    assert all(0.1 < float(row["mAP"]) < 1 for row in rows.values())
    assert rows["pq", "6"]["paper_tlweak"] == "0.27"
    assert len(list((output / "cells").glob("*.json"))) == 8
    assert len(list(output.glob("wandb/offline-run-*"))) == 5  # one a method, one with the table


@pytest.mark.processes
def test_a_second_run_reads_everything_back(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    table = (folder / "runs" / "reproduce" / "table2-rendered_events" / "table2.md").read_text()
    again = run(["table2", "--preset", "smoke", "--no_wandb"], folder)
    assert again.returncode == 0, again.stderr
    assert "0 cells run now, 8 in all" in again.stdout
    assert table in again.stdout


@pytest.mark.processes
def test_a_cell_is_what_its_command_gives(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    cells = grid_of("table2", "smoke").cells()
    cell = next(cell for cell in cells if cell.method == "dqn")
    kept = read_result(folder / "runs" / "reproduce" / "table2-rendered_events" / "cells" / f"{cell.key}.json")
    threads, *command = kept.command.split()
    assert command[:3] == ["python", "train.py", "fit"]
    name, _, num_threads = threads.partition("=")
    alone = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *command[2:], "--trainer.default_root_dir=alone",
         "--trainer.logger=false"],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False, env=os.environ | {name: num_threads},
    )  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    report = json.loads((folder / "alone" / "report" / "results.json").read_text())
    assert abs(report[0]["mAP"] - kept.mean_ap) < 1e-6


@pytest.mark.processes
def test_a_killed_grid_goes_on_where_it_stopped(in_tmp: Path) -> None:
    arguments = ["table2", "--preset", "smoke", "--no_wandb", "--output", "out", "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "reproduce.py"), *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while len(list(in_tmp.glob("out/cells/*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in in_tmp.glob("out/cells/*.json")}
    assert 2 <= len(kept) < 8
    done = run(arguments, in_tmp)
    assert done.returncode == 0, done.stderr
    assert f"{8 - len(kept)} cells run now, 8 in all" in done.stdout
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())


@pytest.mark.processes
def test_an_interrupted_grid_finishes_what_runs_and_stops(in_tmp: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "reproduce.py"), "table2", "--preset", "smoke", "--no_wandb", "--output", "out"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while len(list(in_tmp.glob("out/cells/*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Stopped. The same command goes on" in messages
    assert 2 <= len(list(in_tmp.glob("out/cells/*.json"))) < 8
    assert not list(in_tmp.glob("out/cells/*.error"))


@pytest.mark.processes
def test_workers_end_when_their_parent_is_killed(in_tmp: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "reproduce.py"), "table2", "--preset", "smoke", "--no_wandb", "--output", "out"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while not list(in_tmp.glob("out/output/*.log")) and time.monotonic() < deadline:
        time.sleep(0.1)
    workers = [int(path.stem) for path in in_tmp.glob("out/output/*.log")]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert workers
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


@pytest.mark.processes
def test_a_missing_corpus_is_said_once(in_tmp: Path) -> None:
    done = run(["table2", "--preset", "quick", "--no_wandb", "--output", "out", "--data.root=nowhere"], in_tmp)
    assert done.returncode == 1
    assert done.stderr.count("failed: DatasetMissing: Expected ESC-50") == 1
    assert "The other runs of this embedding are left out." in done.stderr
    assert len(list(in_tmp.glob("out/cells/*.error"))) == 1


@pytest.mark.processes
def test_a_failing_cell_is_named_and_the_others_finish(in_tmp: Path) -> None:
    arguments = ["table2", "--preset", "smoke", "--no_wandb", "--output", "out", "--methods", "lsh", "pq"]
    done = run([*arguments, "--bits", "6", "12", "--num_codewords", "1024"], in_tmp)
    assert done.returncode == 1
    assert "failed: ValueError" in done.stderr
    assert "baselines/pq.yaml" in done.stderr
    assert "| LSH" in done.stdout
    assert len(list(in_tmp.glob("out/cells/*.error"))) == 2


@pytest.mark.processes
def test_figures_are_drawn_from_the_same_cells(in_tmp: Path) -> None:
    for target, num_run in (("fig2", 2), ("fig3", 0)):
        done = run([target, "--preset", "smoke", "--no_wandb", "--output", "out", "--methods", "dqn"], in_tmp)
        assert done.returncode == 0, done.stderr
        assert f"{num_run} cells run now, 2 in all" in done.stdout
        for suffix in ("png", "svg", "csv", "md", "tex"):
            assert (in_tmp / "out" / f"{target}.{suffix}").stat().st_size > 100
        with (in_tmp / "out" / f"{target}.csv").open(newline="") as file:
            fractions = [row["label_fraction"] for row in csv.DictReader(file)]
        assert fractions == ["0.1", "0.5"]


@pytest.mark.processes
def test_complexity_is_measured(in_tmp: Path) -> None:
    done = run(["complexity", "--preset", "smoke", "--output", "out"], in_tmp)
    assert done.returncode == 0, done.stderr
    text = (in_tmp / "out" / "complexity.md").read_text()
    assert all(method in text for method in ("Euclidean", "VQ", "PQ", "DQN"))


def test_list_explains_each_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(target in shown for target in ("table1", "table2", "fig2", "fig3", "complexity"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table2", "--data_config", "data/esc51.yaml"], "No config 'data/esc51.yaml'"),
        (["complexity", "--data.root", "x"], "complexity trains nothing, so it takes no --data.root"),
    ],
)
def test_a_wrong_name_ends_with_one_line(
    arguments: list[str], message: str, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce(arguments) == 1
    assert message in capsys.readouterr().err
    assert not list(in_tmp.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["complexity", "--bits", "8"], "unrecognized arguments: --bits 8"),
        (["table2", "--label_fractions", "0.5"], "unrecognized arguments: --label_fractions 0.5"),
        (["table2", "--methods", "lhs"], "invalid choice: 'lhs' (choose from 'lsh'"),
        (["table2", "--embeddings", "mfcc"], "invalid choice: 'mfcc' (choose from 'yamnet'"),
        (["table2", "--bit", "8"], "unrecognized arguments: --bit 8"),
        (["table2", "--root", "x"], "such as --data.root DIR"),
        (["table3"], "invalid choice: 'table3' (choose from"),
    ],
)
def test_options_that_are_not_understood_are_refused_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        reproduce(arguments)
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_damaged_result_is_refused(in_tmp: Path) -> None:
    cell = grid_of("table2", "smoke").cells()[0]
    path = in_tmp / "cells" / f"{cell.key}.json"
    path.parent.mkdir()
    path.write_text('{"mean_ap":')
    with pytest.raises(ValueError, match="expected the result of a cell"):
        run_grid([cell], in_tmp)


def test_readme_names_every_config() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in CONFIG_FOLDER.rglob("*.yaml"):
        assert path.name in readme or f"`{path.stem}`" in readme, path.name
