"""Read the runs of a W&B project, for a user who names one and is logged in."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import wandb

from experiments.compare.logged_run import LoggedRun, numbers
from experiments.compare.run_files import LOOKED_FOR, NoRunsFound
from experiments.compare.run_records import LeftOut, RunRecord, to_record

_PROJECT = re.compile(r"[\w.-]+/[\w.-]+")
_NUM_POINTS = 500  # of a curve


@runtime_checkable  # or the shape checks of the tests can't be turned on
class ProjectRun(Protocol):
    """What is read of a run of W&B's public API."""

    name: str
    state: str
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    group: str | None
    job_type: str | None
    tags: Iterable[str]
    created_at: str

    def history(self, samples: int, pandas: bool) -> list[dict[str, Any]]:
        """Return rows that were logged together, at most so many."""


def is_project(name: str) -> bool:
    """Whether a name can be a W&B project, `entity/project`."""
    return bool(_PROJECT.fullmatch(name))


def read_project(name: str) -> tuple[list[RunRecord], list[LeftOut]]:
    """Read all runs of a project.

    Raises:
        NoRunsFound: If the user is not logged in, or there is no such project or no run in it.
    """
    if not wandb.login(prompt=False, verify=False):
        raise NoRunsFound(
            f"No runs found in {name}: there is no such file or folder. Looked for {LOOKED_FOR}. If it is a W&B "
            "project, run `wandb login` first."
        )
    try:
        runs: list[ProjectRun] = list(wandb.Api().runs(name))
    except (ValueError, wandb.errors.Error) as error:
        raise NoRunsFound(f"No runs found in the W&B project {name}: {error}") from error
    if not runs:
        raise NoRunsFound(f"No runs found in the W&B project {name}: it is empty.")
    return read_project_runs(runs)


def read_project_runs(runs: Iterable[ProjectRun]) -> tuple[list[RunRecord], list[LeftOut]]:
    """Make records of runs of the API; those that have not finished are left out."""
    read = [to_record(run.name, _logged(run), {}) for run in runs]
    return [run for run in read if isinstance(run, RunRecord)], [run for run in read if isinstance(run, LeftOut)]


def _logged(run: ProjectRun) -> LoggedRun:
    unfinished = "" if run.state == "finished" else f"W&B says that it is {run.state}"
    return LoggedRun(
        config={name: value for name, value in run.config.items() if name != "_wandb"},
        metrics=numbers({name: run.summary[name] for name in run.summary.keys()}),  # noqa: SIM118 - W&B's is no dict
        history=[] if unfinished else [numbers(row) for row in run.history(samples=_NUM_POINTS, pandas=False)],
        unfinished=unfinished,
        group=run.group or "",
        job_type=run.job_type or "",
        tags=tuple(run.tags),
        name=run.name,
        started=run.created_at,
    )
