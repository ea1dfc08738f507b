"""Read a run that W&B wrote to disk, without an account and without a network."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wandb.util import get_core_path

from experiments.compare.logged_run import LoggedRun, RunDamaged, numbers

_TIMEOUT_SECONDS = 120


def read_wandb_file(path: Path) -> LoggedRun:
    """Read a file `run-<id>.wandb`, complete or not.

    W&B's own reader prints its records. `wandb leet inspect` starts the same program, half a second of Python later.

    Raises:
        RunDamaged: If it is not such a file, or holds no run.
    """
    config: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    history: list[dict[str, float]] = []
    run: Mapping[str, Any] = {}
    unfinished = "it has no end: it still runs, or was killed"
    for record in _records(path):
        kind = record.get("type")
        content = record.get(kind, {}) if isinstance(kind, str) else {}
        if kind == "run":
            run = content
            _merge(config, content.get("config", {}).get("update", {}))
        elif kind == "config":
            _merge(config, content.get("update", {}))
        elif kind == "summary":
            metrics |= numbers(content.get("update", {}))
        elif kind == "history":
            history.append(numbers(content.get("item", {})))
        elif kind == "exit":
            code = content.get("exit_code", 0)
            unfinished = f"it ended with exit code {code}" if code else ""
    if not run:
        raise RunDamaged("its W&B file holds no run")
    config.pop("_wandb", None)
    return LoggedRun(
        config=config,
        metrics=metrics,
        history=history,
        unfinished=unfinished,
        group=run.get("run_group", ""),
        job_type=run.get("job_type", ""),
        tags=tuple(run.get("tags", ())),
        name=run.get("display_name", ""),
        started=run.get("start_time", ""),
    )


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a file, as far as it goes.

    Raises:
        RunDamaged: If there are none.
    """
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file", str(path)]
    done = subprocess.run(
        [*command, str(path.parent)], capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS,
        env=os.environ | {"WANDB_ERROR_REPORTING": "false"}, errors="replace",
    )  # fmt: skip
    lines = done.stdout.splitlines()
    if not lines:
        if "flag provided but not defined" in done.stderr or "Usage" in done.stderr:
            raise RuntimeError("Expected a W&B that prints its files; this one is older. pip install 'wandb>=0.31'.")
        raise RunDamaged(f"its W&B file can't be read: {(done.stderr.strip() or 'it is empty').splitlines()[-1]}")
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError as error:
            raise RunDamaged(f"its W&B file can't be read: {error}") from error
        yield record


def _merge(tree: dict[str, Any], update: Mapping[str, Any]) -> None:
    for name, value in update.items():
        if isinstance(value, Mapping) and isinstance(tree.get(name), dict):
            _merge(tree[name], value)
        else:
            tree[name] = dict(value) if isinstance(value, Mapping) else value
