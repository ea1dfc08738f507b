"""Log a study to W&B: its runs, all in one group, and a run with its tables and figures."""

from collections.abc import Mapping
from pathlib import Path

import wandb

from experiments.command.wandb_mode import wandb_mode
from experiments.compare.study_report import Report
from experiments.compare.study_table import StudyTable

PROJECT = "earmark"


def log_report(study: str, report: Report) -> None:
    """Log what a study has written.

    Args:
        study: Its name; the group is named after it and the folder.
        report: What it wrote; offline runs go to its folder.
    """
    shared = {"data_name": report.data_name, "target": study}
    for own in report.runs:
        with _start(study, report.folder, own.job_type, own.name, {**own.config, **shared}) as run:
            run.define_metric("*", step_metric=own.axis)
            for point in own.points:
                run.log(dict(point))
    with _start(study, report.folder, "table", study, shared) as run:
        logged: dict[str, object] = {path.stem: wandb.Image(str(path)) for path in report.pictures}
        run.log(logged | {f"{table.name}_table": _table(table) for table in report.tables})


def _start(study: str, folder: Path, job_type: str, name: str, config: Mapping[str, str]) -> wandb.Run:
    return wandb.init(
        project=PROJECT, group=f"{study}-{folder.name}", job_type=job_type, name=name, dir=folder, config=dict(config),
        tags=["reproduce", study], mode=wandb_mode(), settings=wandb.Settings(silent=True),
    )  # fmt: skip


def _table(table: StudyTable) -> wandb.Table:
    """Return a table as W&B takes it: of numbers, where the file has them, or of text."""
    if table.records:
        return wandb.Table(columns=list(table.records[0]), data=[list(record.values()) for record in table.records])
    lines = [list(map(str, line)) for line in table.lines]  # W&B takes no subclass of text
    return wandb.Table(columns=list(table.headers), data=lines)
