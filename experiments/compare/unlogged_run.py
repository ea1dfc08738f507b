"""Read what a run left beside its loggers: the report in its folder, or the result of a cell of a grid."""

import csv
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from experiments.compare.logged_run import LoggedRun, RunDamaged, first_line
from experiments.grids.cell import read_result


def read_folder_log(folder: Path) -> LoggedRun:
    """Read `config.yaml` and the run's own row, the first, of `report/results.csv`.

    Metrics get the names that a test logs them under. A report of models that compare pairs has a line a metric.

    Raises:
        RunDamaged: If a file can't be read.
    """
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        with (folder / "report" / "results.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        if not isinstance(config, dict) or not rows:
            raise RunDamaged("its config.yaml or report/results.csv is empty")
        metrics = _level_metrics(rows) if "s" in rows[0] else _metrics(rows[0])
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError, csv.Error) as error:
        if isinstance(error, RunDamaged):
            raise
        raise RunDamaged(f"its config.yaml or report/results.csv can't be read: {first_line(error)}") from error
    named = {"data_name": rows[0].get("data") or rows[0].get("data_name") or ""}
    return LoggedRun({**named, **_named_after(folder), **config}, metrics, [], started=folder.name)


def read_cell_log(path: Path) -> tuple[LoggedRun, dict[str, dict[str, float]]]:
    """Read the result of a cell as if a logger had kept it; its options are those of its command.

    Returns:
        The run, and its query scores by metric.

    Raises:
        RunDamaged: If it is damaged.
    """
    try:
        result = read_result(path)
    except ValueError as error:
        raise RunDamaged(f"it is damaged: {error}") from error
    config = _command_options(result.command) | {"data_name": result.data_name}
    at_cutoff = {f"mAP_{name}" if "@" in name else f"mAP@{name}": value for name, value in result.map_at.items()}
    metrics = {} if result.average_precision_at else {"mAP": result.mean_ap}
    metrics |= at_cutoff | {name.removeprefix("test/"): value for name, value in result.measures.items()}
    by_metric = {f"mAP_{name}": own for name, own in result.average_precision_at.items()}
    scores = {
        name: dict(zip(map(str, result.query_index), own, strict=True))
        for name, own in (by_metric or {"mAP": result.average_precision}).items()
    }
    return LoggedRun(config, {f"test/{name}": value for name, value in metrics.items()}, []), scores


def _metrics(row: Mapping[str, str]) -> dict[str, float]:
    return {
        f"test/{name}": float(value)
        for name, value in row.items()
        if name not in ("data", "num_bits", "method") and value
    }


def _level_metrics(rows: list[dict[str, str]]) -> dict[str, float]:
    own = [row for row in rows if row["method"] == rows[0]["method"] and row["subset"] == "all"]
    return {f"test/mAP_{row['s']}@{row['k']}": float(row["mean"]) for row in own}


def _named_after(folder: Path) -> dict[str, list[str]]:
    """Name the config after the folder where a run's own name is its time: `runs/<config>/<time>`."""
    return {"config": [folder.parent.name]} if folder.name[:1].isdigit() or folder.name.startswith("job-") else {}


def _command_options(command: str) -> dict[str, Any]:
    """Return the options of a command line, as a flat config."""
    options: dict[str, Any] = {"config": []}
    parts = shlex.split(command)
    for position, part in enumerate(parts):
        name, equals, value = part.removeprefix("--").partition("=")
        if not part.startswith("--"):
            continue
        if not equals:
            value = parts[position + 1] if position + 1 < len(parts) else ""
        if name == "config":
            options["config"].append(value)
        else:
            options[name.replace(".init_args", "")] = _parse(value)
    return options


def _parse(value: str) -> object:
    try:
        return float(value) if "e" in value else yaml.safe_load(value)  # 1e-3 is no number to YAML
    except ValueError:
        return yaml.safe_load(value)
