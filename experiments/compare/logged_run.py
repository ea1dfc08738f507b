"""What a logger kept of a run, whichever logger it was: W&B's offline file, a CSV log, a W&B project."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


class RunDamaged(ValueError):
    """What is kept of a run can't be read."""


@dataclass(frozen=True)
class LoggedRun:
    """One run as it was logged.

    Attributes:
        config: Options as a tree, as `train.py` logs them.
        metrics: Last value of every quantity.
        history: What was logged together, in order; `epoch` and `_runtime` (seconds) are there where the logger has
            them.
        unfinished: Why it does not count; empty for a run that ended well.
        group: W&B's group.
        job_type: W&B's job type: `fit`, `test`.
        tags: W&B's tags.
        name: What W&B calls it.
        started: When it began; sorts as time does.
    """

    config: Mapping[str, Any]
    metrics: Mapping[str, float]
    history: list[dict[str, float]]
    unfinished: str = ""
    group: str = ""
    job_type: str = ""
    tags: tuple[str, ...] = field(default=())
    name: str = ""
    started: str = ""


def read_csv_log(folder: Path) -> LoggedRun:
    """Read a folder of Lightning's CSVLogger: `metrics.csv` and, where options were logged, `hparams.yaml`.

    Such a log does not say whether its run ended. One counts if it was tested, or has all the epochs that its options
    ask for, or no options to tell.

    Raises:
        RunDamaged: If a file can't be read.
    """
    config: Mapping[str, Any] = {}
    try:
        if (folder / "hparams.yaml").is_file():
            config = yaml.safe_load((folder / "hparams.yaml").read_text(encoding="utf-8")) or {}
        with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        history = [numbers({name: float(value) for name, value in row.items() if value}) for row in rows]
    except (OSError, TypeError, ValueError, yaml.YAMLError, csv.Error) as error:
        raise RunDamaged(f"its CSV log can't be read: {first_line(error)}") from error
    if not isinstance(config, dict):
        raise RunDamaged(f"its hparams.yaml holds no options, but {type(config).__name__}")
    metrics = {name: value for row in history for name, value in row.items()}
    return LoggedRun(config, metrics, history, _missing_epochs(config, metrics), started=folder.name)


def numbers(row: Mapping[str, object]) -> dict[str, float]:
    """Keep what is a finite number."""
    return {
        str(name): float(value)
        for name, value in row.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    }


def first_line(error: Exception) -> str:
    """Return the first line of an error, with its kind."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _missing_epochs(config: Mapping[str, Any], metrics: Mapping[str, float]) -> str:
    max_epochs = (config.get("trainer") or {}).get("max_epochs")
    num_epochs = int(metrics.get("epoch", -1)) + 1
    if any(name.startswith("test/") for name in metrics) or max_epochs is None or num_epochs >= int(max_epochs):
        return ""
    return f"it has {num_epochs} of {max_epochs} epochs and no test; it still runs, or was stopped"
