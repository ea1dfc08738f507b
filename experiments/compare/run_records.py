"""Runs as they are compared: options, last values of metrics, curves, scores of single queries, wherever they lay."""

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from rich.progress import track

from callbacks.reports.query_scores import QueryScoresDamaged, read_query_scores
from experiments.command.run_options import config_name, flatten_options, is_fold, is_seed, tells_apart
from experiments.compare.logged_run import LoggedRun, RunDamaged, first_line, read_csv_log
from experiments.compare.run_files import RunFiles
from experiments.compare.unlogged_run import read_cell_log, read_folder_log
from experiments.compare.wandb_file import read_wandb_file

# reproduce.py logs the rows of its tables as runs with this tag.
_SUMMARY_TAG = "reproduce"


@dataclass(frozen=True)
class CurvePoint:
    """One value of a curve.

    Attributes:
        epoch: Epoch, from 0.
        seconds: Since the run began; None where the logger keeps no time.
        value: The value.
    """

    epoch: float
    seconds: float | None
    value: float


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        name: Its folder as it was given, or what W&B calls it.
        config: Name of the configs it was started with; empty if that is not known.
        data_name: What numbers on its corpus are to be called; empty if that is not known.
        options: Options, flat, as text.
        metrics: Last value of each quantity.
        curves: By quantity, its values over training.
        query_scores: By metric, the score of each query; nothing for a run that kept none.
        group: W&B's group.
        job_type: W&B's job type.
        tags: W&B's tags.
        started: When it began; sorts as time does.
    """

    name: str
    config: str
    data_name: str
    options: Mapping[str, str]
    metrics: Mapping[str, float]
    curves: Mapping[str, list[CurvePoint]] = field(default_factory=dict)
    query_scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    group: str = ""
    job_type: str = ""
    tags: tuple[str, ...] = ()
    started: str = ""

    @property
    def setting(self) -> tuple[tuple[str, str], ...]:
        """Every option that tells it from runs that are no repetitions of it."""
        return tuple(sorted((name, value) for name, value in self.options.items() if tells_apart(name)))

    @property
    def seeds(self) -> tuple[tuple[str, str], ...]:
        """Every seed, by option."""
        return tuple(sorted((name, value) for name, value in self.options.items() if is_seed(name)))

    @property
    def fold(self) -> tuple[tuple[str, str], ...]:
        """Every fold, by option."""
        return tuple(sorted((name, value) for name, value in self.options.items() if is_fold(name)))


@dataclass(frozen=True)
class LeftOut:
    """A run that is not compared.

    Attributes:
        name: As a record's.
        reason: Why.
    """

    name: str
    reason: str


def read_runs(found: Sequence[RunFiles]) -> tuple[list[RunRecord], list[LeftOut]]:
    """Read runs, several at a time, with a progress bar; those that are damaged or unfinished are left out."""
    with ThreadPoolExecutor(max(1, min(len(found), len(os.sched_getaffinity(0))))) as pool:
        read = list(track(pool.map(_read, found), "Reading runs", total=len(found), transient=True))
    return [run for run in read if isinstance(run, RunRecord)], [run for run in read if isinstance(run, LeftOut)]


def to_record(name: str, logged: LoggedRun, scores: Mapping[str, Mapping[str, float]]) -> RunRecord | LeftOut:
    """Make a record of what was logged.

    Args:
        name: What to call it.
        logged: What a logger kept.
        scores: By metric, without the stage, the score of each query of its test.
    """
    if logged.unfinished:
        return LeftOut(name, logged.unfinished)
    if _SUMMARY_TAG in logged.tags:
        return LeftOut(name, "it is a line of a table that reproduce.py logged, not a run; its cells are runs")
    return RunRecord(
        name=name,
        config=config_name(logged.config),
        data_name=str(logged.config.get("data_name") or ""),
        options=flatten_options(logged.config),
        metrics={key: value for key, value in logged.metrics.items() if not key.startswith("_")},
        curves=_curves(logged.history),
        query_scores={f"test/{metric}": own for metric, own in scores.items()},
        group=logged.group,
        job_type=logged.job_type,
        tags=logged.tags,
        started=logged.started,
    )


def _read(found: RunFiles) -> RunRecord | LeftOut:
    name = str(found.cell.with_suffix("") if found.cell else found.folder)
    try:
        if found.cell is not None:
            return to_record(name, *read_cell_log(found.cell))
        logs = [read_folder_log(found.folder)] if found.has_report else []
        logs += [read_csv_log(path) for path in found.csv_logs] + [read_wandb_file(path) for path in found.wandb]
        return to_record(name, _merge(logs), read_query_scores(found.folder / "report"))
    except (RunDamaged, QueryScoresDamaged) as error:
        return LeftOut(name, str(error))
    except OSError as error:
        return LeftOut(name, f"it can't be read: {first_line(error)}")


def _merge(logs: Sequence[LoggedRun]) -> LoggedRun:
    """Join the logs of one run, the one that knows most last: it says how the run ended, the others fill in."""
    config: dict[str, object] = {}
    metrics: dict[str, float] = {}
    for log in logs:
        config |= log.config
        metrics |= log.metrics
    history = [row for log in logs for row in log.history]
    return replace(logs[-1], config=config, metrics=metrics, history=history)


def _curves(history: Iterable[Mapping[str, float]]) -> dict[str, list[CurvePoint]]:
    curves: dict[str, dict[float, CurvePoint]] = {}
    for row in history:
        if "epoch" not in row:
            continue
        for name, value in row.items():
            if name.startswith(("train/", "val/")):
                # of an epoch that was begun again after a stop, the last value counts
                curves.setdefault(name, {})[row["epoch"]] = CurvePoint(row["epoch"], row.get("_runtime"), value)
    return {name: [points[epoch] for epoch in sorted(points)] for name, points in curves.items()}
