"""Runs as loggers leave them on disk, and records of runs made by hand."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from callbacks.reports.query_scores import write_query_scores
from experiments.compare.run_records import RunRecord
from experiments.grids.cell import CellResult, write_result


def config_tree(num_bits: int = 8, seed: int = 0, fold: int = 1, **model: object) -> dict[str, Any]:
    """Return a config as train.py logs it, shortened."""
    return {
        "config": ["configs/dqn.yaml"],
        "seed_everything": seed,
        "model": {"class_path": "lightning_modules.AudioDqn", "init_args": {"num_bits": num_bits, **model}},
        "data": {"class_path": "datamodules.Esc50", "init_args": {"fold": fold, "label_seed": seed, "root": "there"}},
        "trainer": {"max_epochs": 2},
    }


def make_csv_run(
    folder: Path, config: Mapping[str, Any], mean_ap: float | None, queries: Sequence[float] = (), epochs: int = 2
) -> Path:
    """Write what CSVLogger and a report leave: `csv/version_0`, and `report/queries.csv` where there are queries."""
    log = folder / "csv" / "version_0"
    log.mkdir(parents=True)
    (log / "hparams.yaml").write_text(yaml.safe_dump(dict(config)))
    rows: list[dict[str, object]] = [
        {"epoch": epoch, "step": 10 * epoch, "val/mAP": 0.3 + 0.1 * epoch, "test/mAP": ""} for epoch in range(epochs)
    ]
    if mean_ap is not None:
        rows.append({"epoch": epochs, "step": 10 * epochs, "val/mAP": "", "test/mAP": mean_ap})
    with (log / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "config.yaml").write_text(yaml.safe_dump({key: config[key] for key in config if key != "config"}))
    if len(queries):
        names = [f"query {position}" for position in range(len(queries))]
        write_query_scores(folder / "report", names, {"mAP": torch.tensor(queries, dtype=torch.float64)})
    return folder


def make_cell(folder: Path, name: str, command: str, precisions: Sequence[float]) -> Path:
    """Write the result of a cell."""
    mean = sum(precisions) / len(precisions)
    result = CellResult(
        data_name="made up", mean_ap=mean, map_at={"1": 0.5, "10": mean}, average_precision=list(precisions),
        query_index=list(range(len(precisions))), num_items=10, seconds=1.0, command=command,
    )  # fmt: skip
    write_result(folder / "cells" / f"{name}.json", result)
    return folder / "cells" / f"{name}.json"


def record(
    mean_ap: float = 0.5,
    queries: Sequence[float] | None = None,
    seed: int = 0,
    fold: int = 1,
    config: str = "dqn",
    data_name: str = "made up",
    started: str = "",
    **options: str,
) -> RunRecord:
    """Make a record; the options given are of the model."""
    scores = {} if queries is None else {f"q{position}": value for position, value in enumerate(queries)}
    return RunRecord(
        name=json.dumps([config, options, seed, fold, started]),
        config=config,
        data_name=data_name,
        options={f"model.{name}": value for name, value in options.items()}
        | {"seed_everything": str(seed), "data.fold": str(fold)},
        metrics={"test/mAP": mean_ap if queries is None else sum(queries) / len(queries), "test/mAP_low": 0.1},
        query_scores={"test/mAP": scores} if scores else {},
        started=started,
    )
