"""What every report on a test shares: when it is made, where its files lie, what W&B and the terminal get of it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytorch_lightning as pl
import wandb
from matplotlib.figure import Figure
from pytorch_lightning.loggers import WandbLogger
from rich.console import Console
from rich.table import Table

from callbacks.reports.evaluation_mode import evaluating
from storage.atomic import write_csv, write_figure

Rows = Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class Findings:
    """What a test came to.

    Attributes:
        data_name: What its numbers are to be called.
        tables: For the terminal.
        rows: Tables as files, `<name>.csv`, and as W&B's.
        figures: Pictures, `<name>.png`.
    """

    data_name: str
    tables: Sequence[Table] = ()
    rows: Mapping[str, Rows] = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)


class Report(pl.Callback, ABC):
    """After a test, write what came of it into `<run folder>/report`, log the same to W&B, and print its tables.

    A report says which models it can report on, what it found, and what else W&B gets to show or play.
    """

    model_class: ClassVar[type[pl.LightningModule]]

    @abstractmethod
    def find(self, trainer: pl.Trainer, pl_module: pl.LightningModule, folder: Path) -> Findings:
        """Return what came of the test; files of other kinds than tables and pictures are written into `folder`.

        Args:
            trainer: Has the data module.
            pl_module: The model, in evaluation mode, with the outputs of its test.
            folder: Is there.
        """

    def media(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Mapping[str, object]:
        """Return what else W&B is to log, by its name; asked for where W&B is a logger."""
        return {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check the model.

        Raises:
            TypeError: If the report is not for models of its kind.
        """
        if not isinstance(pl_module, self.model_class):
            name = type(self).__name__
            raise TypeError(
                f"{name} needs a lightning_modules.{self.model_class.__name__}; got {type(pl_module).__name__}. Take "
                f"{name} out of trainer.callbacks."
            )

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find, write, log and print, on one process."""
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir) / "report"
        folder.mkdir(parents=True, exist_ok=True)
        loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        with evaluating(pl_module):
            findings = self.find(trainer, pl_module, folder)
            for name, rows in findings.rows.items():
                write_csv(folder / f"{name}.csv", rows)
            for name, figure in findings.figures.items():
                write_figure(folder / f"{name}.png", figure, dpi=120)
            for logger in loggers:
                shown: dict[str, object] = {f"report/{name}": _to_wandb(rows) for name, rows in findings.rows.items()}
                for name in findings.figures:
                    key = f"{name}_figure" if name in findings.rows else name
                    shown[f"report/{key}"] = wandb.Image(str(folder / f"{name}.png"))
                logger.experiment.config.update({"data_name": findings.data_name}, allow_val_change=True)
                logger.experiment.log({**shown, **self.media(trainer, pl_module)})
        if findings.tables:  # else another report prints where all lies
            _print(findings.tables, folder, loggers)


def _to_wandb(rows: Rows) -> wandb.Table:
    return wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])


def _print(tables: Sequence[Table], folder: Path, loggers: Sequence[WandbLogger]) -> None:
    console = Console()
    for table in tables:
        console.print(table)
    console.print(f"Tables and figures: {folder}", soft_wrap=True)
    for logger in loggers:
        run = logger.experiment
        console.print(f"W&B run: {Path(run.dir).parent if run.offline else run.url}", soft_wrap=True)
