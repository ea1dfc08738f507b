"""Runs read from what loggers left: W&B's offline files written by W&B itself, CSV logs, reports, cells."""

import csv
import json
from pathlib import Path

import pytest
import wandb
import yaml

from experiments.compare.run_files import NoRunsFound, find_runs
from experiments.compare.run_records import LeftOut, RunRecord, read_runs
from tests.experiments.run_makers import config_tree, make_cell, make_csv_run


def log_offline(folder: Path, seed: int) -> None:
    """Log a run as train.py does: options, two epochs, a test."""
    with wandb.init(
        project="earmark", dir=folder, mode="offline", group="dqn", job_type="fit", tags=["dqn", "hashing"],
        config=config_tree(seed=seed) | {"data_name": "made up"}, settings=wandb.Settings(silent=True),
    ) as run:  # fmt: skip
        for epoch in range(2):
            run.log({"epoch": epoch, "val/mAP": 0.3 + 0.1 * epoch, "train/loss": float("nan")})
        run.log({"epoch": 2, "test/mAP": 0.6 + 0.01 * seed, "report/table": wandb.Table(columns=["a"], data=[[1]])})


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which W&B has logged one run of a run folder, and one without."""
    folder = tmp_path_factory.mktemp("offline")
    run = folder / "runs" / "dqn" / "20260101-000000-1"
    make_csv_run(run, config_tree(), None, [0.5, 0.7])
    (run / "csv" / "version_0" / "metrics.csv").unlink()
    log_offline(run, 0)
    log_offline(folder, 1)
    wandb.teardown()  # on a busy machine its process writes the files' ends after the runs have
    return folder


def read(*names: Path | str) -> tuple[list[RunRecord], list[LeftOut]]:
    return read_runs(find_runs([str(name) for name in names]))


@pytest.mark.processes
def test_wandb_files_are_read_offline(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")  # nobody is asked
    records, left_out = read(offline)
    assert not left_out
    assert len(records) == 2  # links to the latest run are not followed
    by_seed = {run.options["seed_everything"]: run for run in records}
    run = by_seed["0"]
    assert run.name == str(offline / "runs" / "dqn" / "20260101-000000-1")
    assert (run.config, run.data_name, run.group, run.job_type) == ("dqn", "made up", "dqn", "fit")
    assert run.tags == ("dqn", "hashing")
    assert run.options["model.num_bits"] == "8"
    assert run.metrics["test/mAP"] == 0.6
    assert by_seed["1"].metrics["test/mAP"] == 0.61
    assert [(point.epoch, point.value) for point in run.curves["val/mAP"]] == [(0, 0.3), (1, 0.4)]
    assert all(point.seconds is not None for point in run.curves["val/mAP"])
    assert "train/loss" not in run.metrics  # no number
    assert run.query_scores == {"test/mAP": {"query 0": 0.5, "query 1": 0.7}}
    assert by_seed["1"].query_scores == {}


@pytest.mark.processes
def test_a_file_that_was_cut_off_is_left_out_with_its_reason(offline: Path, tmp_path: Path) -> None:
    (whole,) = offline.glob("wandb/offline-run-*/*.wandb")
    kept = whole.read_bytes()
    for name, content in {"killed": kept[: len(kept) // 2], "empty": b"", "foreign": b"something else" * 20}.items():
        folder = tmp_path / "wandb" / f"offline-run-{name}"
        folder.mkdir(parents=True)
        (folder / f"run-{name}.wandb").write_bytes(content)
    records, left_out = read(tmp_path)
    assert not records
    reasons = {Path(each.name).name: each.reason for each in left_out}
    assert "it still runs, or was killed" in reasons["offline-run-killed"]
    assert "can't be read" in reasons["offline-run-empty"]
    assert "can't be read" in reasons["offline-run-foreign"]


def test_csv_logs_are_read_with_their_options(tmp_path: Path) -> None:
    make_csv_run(tmp_path / "a", config_tree(num_bits=16), 0.5, [0.4, 0.6])
    make_csv_run(tmp_path / "stopped", config_tree(), None, epochs=1)
    records, left_out = read(tmp_path)
    (run,) = records
    assert run.options["model.num_bits"] == "16"
    assert run.metrics["test/mAP"] == 0.5
    assert [point.value for point in run.curves["val/mAP"]] == [0.3, 0.4]
    assert run.curves["val/mAP"][0].seconds is None
    assert left_out == [
        LeftOut(str(tmp_path / "stopped"), "it has 1 of 2 epochs and no test; it still runs, or was stopped")
    ]


def test_a_report_alone_is_a_run(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "pq" / "20260101-000000-7"
    (run / "report").mkdir(parents=True)
    (run / "config.yaml").write_text(yaml.safe_dump({"seed_everything": 2}))
    rows = [
        {"data": "made up", "num_bits": 8, "method": "ours", "mAP": 0.25, "hit@1": 0.5},
        {"data": "made up", "num_bits": 8, "method": "theirs", "mAP": 0.9, "hit@1": 0.9},
    ]
    with (run / "report" / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    ((found,), left_out) = read(tmp_path)
    assert not left_out
    assert found.metrics == {"test/mAP": 0.25, "test/hit@1": 0.5}
    assert (found.config, found.data_name, found.options["seed_everything"]) == ("pq", "made up", "2")


@pytest.mark.parametrize("damage", ["config.yaml", "report/results.csv", "report/queries.csv"])
def test_a_damaged_run_folder_is_left_out(tmp_path: Path, damage: str) -> None:
    make_csv_run(tmp_path, config_tree(), 0.5, [0.4, 0.6])
    (tmp_path / "report" / "results.csv").write_text("data,num_bits,method,mAP\nmade up,8,ours,0.5\n")
    assert len(read(tmp_path)[0]) == 1
    (tmp_path / damage).write_text("{a: [\n" if damage == "config.yaml" else "query,mAP,data\nx,not a number,y\n")
    records, (left_out,) = read(tmp_path)
    assert not records
    assert Path(damage).name in left_out.reason


def test_cells_of_a_grid_are_runs(tmp_path: Path) -> None:
    command = "OMP_NUM_THREADS=1 python train.py fit --config=dqn.yaml --config=data/esc50.yaml --seed_everything=3 "
    command += "--data.fold=2 --model.optimizer.init_args.lr=1e-3 --data.name 'ESC-50 (resynthesised)'"
    path = make_cell(tmp_path, "dqn-8-abc", command, [0.2, 0.4])
    (tmp_path / "cells" / "broken.json").write_text("{")
    (run,), (broken,) = read(tmp_path)
    assert run.config == "dqn"
    assert run.options["model.optimizer.lr"] == "0.001"
    assert run.options["data.name"] == "ESC-50 (resynthesised)"
    assert run.seeds == (("seed_everything", "3"),)
    assert run.fold == (("data.fold", "2"),)
    assert run.metrics["test/mAP"] == pytest.approx(0.3)
    assert run.metrics["test/mAP@1"] == 0.5
    assert run.query_scores == {"test/mAP": {"0": 0.2, "1": 0.4}}
    assert "damaged" in broken.reason
    assert len(find_runs([str(path)])) == 1


def test_a_run_is_found_once_however_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_csv_run(tmp_path / "a" / "b", config_tree(), 0.5)
    make_csv_run(tmp_path / "a" / "c", config_tree(), 0.5)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "latest-run").symlink_to(tmp_path / "a" / "b")
    assert len(find_runs(["a", "a/b", str(tmp_path / "a"), "a/*"])) == 2
    assert len(find_runs(["**/version_0/metrics.csv"])) == 2
    assert len(find_runs(["a/c"])) == 1


@pytest.mark.processes
def test_a_table_that_was_logged_is_no_run(tmp_path: Path) -> None:
    with wandb.init(project="earmark", dir=tmp_path, mode="offline", tags=["reproduce", "table2"],
                    settings=wandb.Settings(silent=True)) as run:  # fmt: skip
        run.log({"mAP": 0.5})
    records, (left_out,) = read(tmp_path)
    assert not records
    assert "a line of a table" in left_out.reason


@pytest.mark.parametrize("name", ["nowhere", "*.none", "empty"])
def test_where_nothing_lies_it_is_said_what_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.json").write_text(json.dumps({}))
    with pytest.raises(NoRunsFound, match=r"No runs found in .*Looked for W&B runs .*metrics\.csv.*cells/\*\.json"):
        find_runs([name])
