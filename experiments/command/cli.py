"""The command behind train.py: LightningCLI with bare config names and a folder for every run.

A fit ends with a test.
"""

import contextlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import wandb
import yaml
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from pytorch_lightning.plugins import CheckpointIO
from rich.console import Console

from callbacks.stopping.exact_resume import ExactResume
from callbacks.stopping.preemption import Preemption
from callbacks.stopping.slurm_job import slurm_job_id
from callbacks.stopping.stop_signals import note_requeue_signal
from datamodules import ClipDataModule, DatasetError
from experiments.command.checkpoint_files import CheckpointFiles
from experiments.command.configs import resolve_configs
from experiments.command.messages import show_messages
from experiments.command.option_tree import LINKS
from experiments.command.parser import CommandParser
from experiments.command.placement import choose_checkpoint, has_report, place_run, place_wandb_runs
from experiments.command.run_folder import lock_run
from experiments.command.wandb_mode import WandbRefused
from lightning_modules.checkpoints import read_checkpoint
from lightning_modules.preprocessing import PreprocessedModule
from lightning_modules.trusted_classes import refuse_untrusted
from storage.atomic import write_text

_LIGHTNING = ("pytorch_lightning", "lightning_fabric")  # loggers, callbacks, plugins

_logger = logging.getLogger(__name__)


class EarmarkCli(LightningCLI):
    """LightningCLI with this project's habits.

    The number of classes goes from the data module to the model, whose front end embeds the clips; every run writes
    into a folder of its own; a fit that is told to stop saves its state, goes on from it with `--ckpt_path resume`, and
    ends with a test of what it kept.
    """

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the project's own options and the links from data to model."""
        parser.add_argument("--test_after_fit", type=bool, default=True, help="Test the model when a fit has ended.")
        parser.add_class_arguments(Preemption, "preemption")
        for source, target in LINKS:
            parser.link_arguments(source, target, apply_on="instantiate")

    def _parse_ckpt_path(self) -> None:
        """Look at the checkpoint that is named, but leave options as given: Lightning takes those of the checkpoint.

        Raises:
            CheckpointError: If it is damaged, holds code, or is something else.
        """
        named = self.config[self.config.subcommand].get("ckpt_path") if self.config.get("subcommand") else None
        if named is not None and Path(named).is_file():
            read_checkpoint(Path(named))

    def instantiate_classes(self) -> None:
        """Make what the config describes.

        Raises:
            DatasetError: If a front end has nothing to serve; jsonargparse would bury that in words of its own.
        """
        try:
            super().instantiate_classes()
        except ValueError as error:
            reason: BaseException | None = error
            while reason is not None and not isinstance(reason, DatasetError):
                reason = reason.__cause__ or reason.__context__
            if reason is None:
                raise
            raise reason from None

    def instantiate_trainer(self, **arguments: Any) -> pl.Trainer:  # noqa: ANN401 - as Lightning has it
        """Make the trainer, which writes and reads checkpoints in our way unless the config has another."""
        given = self.config_init[self.subcommand].trainer.plugins or []
        plugins = list(given) if isinstance(given, list) else [given]
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(CheckpointFiles())
        return super().instantiate_trainer(plugins=plugins, **arguments)

    def before_instantiate_classes(self) -> None:
        """Give the run its folder, and send checkpoints and W&B files there.

        Raises:
            UntrustedClass: If config or checkpoint names a class of a package that is not trusted.
        """
        config, command = self.config[self.subcommand], str(self.subcommand)
        refuse_untrusted(config, "the config", _LIGHTNING)
        if config.weights_only is None:
            config.weights_only = True  # Lightning's own default lets a checkpoint run code
        if command == "test":
            config.verbose = not has_report(config)  # which prints a better table
        if command == "predict":
            config.return_predictions = False  # callbacks write them; memory may not hold all
        place_run(config, command)
        if command == "fit":
            parser = self._parser(command)
            choose_checkpoint(config, lambda: yaml.safe_load(parser.dump(config, skip_none=False)))
        place_wandb_runs(config, command)

    def after_instantiate_classes(self) -> None:
        """Have the model's front end embed the data; let runs that keep checkpoints be stopped and go on."""
        if isinstance(self.datamodule, ClipDataModule) and isinstance(self.model, PreprocessedModule):
            self.datamodule.embed_with(self.model.preprocessing.frontend)
        if self._get(self.config_init, "trainer").enable_checkpointing is not False:
            callbacks: list[pl.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]  # set at run time
            # the last one saves what all others leave
            callbacks += [ExactResume(), self._get(self.config_init, "preemption")]

    def fit(
        self,
        model: pl.LightningModule,
        datamodule: pl.LightningDataModule,
        ckpt_path: str | None = None,
        weights_only: bool | None = None,
    ) -> None:
        """Fit, alone in the run's folder.

        Raises:
            RunFolderError: If another run is under way in it.
        """
        is_trial = self.trainer.fast_dev_run  # type: ignore[attr-defined]  # set by Lightning at run time
        locks = self.trainer.is_global_zero and not is_trial  # the first process locks for all
        with lock_run(Path(self.trainer.default_root_dir)) if locks else contextlib.nullcontext():
            # whatever `weights_only` says: otherwise a checkpoint could run code
            self.trainer.fit(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)

    def after_fit(self) -> None:
        """Test the checkpoint that was selected, or the last state where none is."""
        if not self.config[self.subcommand].test_after_fit or self.trainer.interrupted:
            return
        keeper = self.trainer.checkpoint_callback
        selected = isinstance(keeper, ModelCheckpoint) and keeper.monitor is not None and keeper.best_model_path
        self.trainer.test(
            self.model,
            datamodule=self.datamodule,
            ckpt_path="best" if selected else None,
            verbose=not has_report(self.config[self.subcommand]),
            weights_only=True,
        )
        if self.trainer.is_global_zero and isinstance(keeper, ModelCheckpoint) and keeper.best_model_path:
            Console().print(f"Checkpoint: {keeper.best_model_path}", soft_wrap=True)


class RunConfig(SaveConfigCallback):
    """Keep the full config as `config.yaml` in the run's folder and in its logger."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Write once a run, on one process."""
        if self.already_saved or not trainer.is_global_zero:
            return
        self.already_saved = True
        write_text(Path(trainer.default_root_dir) / "config.yaml", self.parser.dump(self.config))
        for logger in trainer.loggers:
            logger.log_hyperparams(self.config.as_dict())


def run_command(arguments: Sequence[str] | None = None, cli_class: type[EarmarkCli] = EarmarkCli) -> EarmarkCli:
    """Parse and run a command line.

    Args:
        arguments: As after `train.py`; None takes the process's own.
        cli_class: What runs it; a grid's leaves reports out.

    Raises:
        ConfigNotFound: If a config is neither a file nor a name in configs/.
        SystemExit: If the command line is not understood, or asks for help.
        CheckpointError: If a checkpoint can't be read or written.
        UntrustedClass: If config or checkpoint names a class of a package that is not trusted.
        WandbRefused: If W&B is reached and does not take the run.
    """
    if slurm_job_id() is not None:
        note_requeue_signal()
    show_messages()
    given = list(sys.argv[1:] if arguments is None else arguments)
    resolved = resolve_configs(given)
    if arguments is None:
        sys.argv[1:] = resolved  # processes that Lightning starts read it again
    try:
        return cli_class(
            pl.LightningModule,
            pl.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_callback=RunConfig,
            auto_configure_optimizers=False,
            parser_class=CommandParser,
            parser_kwargs={"description": "Train and evaluate compact audio codes."},
            args=None if arguments is None else resolved,
        )
    except wandb.errors.Error as error:
        raise WandbRefused(
            f"Expected W&B to take the run; it says: {error} Log in again with `wandb login`, or set "
            "WANDB_MODE=offline and send the run later with `wandb sync`."
        ) from error
