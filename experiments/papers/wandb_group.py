"""Log the rows of a grid to W&B: a run a method, all in one group, and a run with the whole table."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import wandb

from experiments.command.wandb_mode import wandb_mode
from experiments.compare.study_table import StudyTable
from experiments.papers.jati2020.search_complexity import ComplexityMeasurement
from experiments.papers.pedersen2024.study import Curves
from experiments.papers.summary import Row

PROJECT = "earmark"
_STEPS = {"fig2": "label_fraction", "fig3": "R"}


def log_rows(target: str, rows: Sequence[Row], data_name: str, folder: Path, figure: Path) -> None:
    """Log what a table or figure shows.

    Args:
        target: Table or figure; the group is named after it and the folder.
        rows: Its rows.
        data_name: What the numbers are to be called.
        folder: Where offline runs go.
        figure: Drawn figure.
    """
    step = _STEPS.get(target, "num_bits")
    for embedding, method in dict.fromkeys((row.embedding, row.method) for row in rows):
        own = [row for row in rows if (row.embedding, row.method) == (embedding, method)]
        config = {"method": method, "embedding": embedding, "data_name": data_name, "target": target}
        with _start(target, folder, method, f"{method}, {embedding}", config) as run:
            run.define_metric("*", step_metric=step)
            for row in own:
                summary = {"num_bits": row.num_bits, "label_fraction": row.label_fraction, "adjusted_p": row.p_value}
                if target != "fig3":
                    run.log(
                        summary | {"mAP": row.mean_ap, "mAP_std": row.std, "mAP_low": row.low, "mAP_high": row.high}
                    )
                    continue
                share = "" if row.label_fraction is None else f", {100 * row.label_fraction:.0f} % labelled"
                for cutoff, value in row.map_at.items():
                    run.log({"R": cutoff, f"mAP@R{share}": value})
    columns = [field.name for field in dataclasses.fields(Row) if field.name != "map_at"]
    with _start(target, folder, "table", target, {"data_name": data_name}) as run:
        run.log({"table": _table(columns, rows), "figure": wandb.Image(str(figure))})


def log_complexity(measured: Sequence[ComplexityMeasurement], folder: Path, figure: Path) -> None:
    """Log the table of complexity as one run."""
    columns = [field.name for field in dataclasses.fields(ComplexityMeasurement)]
    with _start("complexity", folder, "table", "complexity", {}) as run:
        run.log({"table": _table(columns, measured), "figure": wandb.Image(str(figure))})


def log_study(
    target: str, tables: Sequence[StudyTable], pictures: Sequence[Path], curves: Curves, data_name: str, folder: Path
) -> None:
    """Log a study: a run with tables and figures, and a run with the curves of each training.

    Args:
        target: What was studied.
        tables: Its tables.
        pictures: Its figures, drawn.
        curves: By model, test fold and quantity, its value by epoch.
        data_name: What the numbers are to be called.
        folder: Where offline runs go.
    """
    for model, by_fold in curves.items():
        for fold, quantities in by_fold.items():
            config = {"method": model, "fold": str(fold), "data_name": data_name, "target": target}
            with _start(target, folder, "train", f"{model}, fold {fold}", config) as run:
                run.define_metric("*", step_metric="epoch")
                for epoch in sorted({epoch for curve in quantities.values() for epoch in curve}):
                    own = {name: curve[epoch] for name, curve in quantities.items() if epoch in curve}
                    run.log({"epoch": epoch} | own)
    with _start(target, folder, "table", target, {"data_name": data_name}) as run:
        logged: dict[str, object] = {path.stem: wandb.Image(str(path)) for path in pictures}
        for table in tables:
            shown = wandb.Table(columns=list(table.headers))
            for line in table.lines:
                shown.add_data(*map(str, line))  # W&B takes no subclass of text
            logged[f"{table.name}_table"] = shown
        run.log(logged)


def _start(target: str, folder: Path, job_type: str, name: str, config: dict[str, str]) -> wandb.Run:
    return wandb.init(
        project=PROJECT, group=f"{target}-{folder.name}", job_type=job_type, name=name, dir=folder, config=config,
        tags=["reproduce", target], mode=wandb_mode(), settings=wandb.Settings(silent=True),
    )  # fmt: skip


def _table(columns: Sequence[str], rows: Sequence[Row] | Sequence[ComplexityMeasurement]) -> wandb.Table:
    table = wandb.Table(columns=list(columns))
    for row in rows:
        table.add_data(*(getattr(row, column) for column in columns))
    return table
