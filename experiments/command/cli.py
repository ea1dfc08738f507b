"""The command behind train.py: LightningCLI with bare config names and a folder for every run.

A fit ends with a test.
"""

import contextlib
import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import wandb
import yaml
from jsonargparse import Namespace
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from pytorch_lightning.plugins import CheckpointIO
from rich.console import Console

from callbacks.stopping.exact_resume import ExactResume
from callbacks.stopping.preemption import Preemption
from callbacks.stopping.slurm_job import num_restarts, slurm_job_id
from callbacks.stopping.stop_signals import note_requeue_signal
from experiments.command.checkpoint_files import CheckpointFiles
from experiments.command.configs import resolve_configs
from experiments.command.messages import show_messages
from experiments.command.parser import CommandParser
from experiments.command.run_folder import RESUME, check_same_run, lock_run, newest_checkpoint, run_name
from experiments.command.wandb_mode import WandbRefused, wandb_mode
from lightning_modules.checkpoints import read_checkpoint
from lightning_modules.trusted_classes import refuse_untrusted
from storage.atomic import write_text

LAST = "last"  # name of the checkpoint that a run ends with
_LIGHTNING = ("pytorch_lightning", "lightning_fabric")  # loggers, callbacks, plugins

_logger = logging.getLogger(__name__)


class EarmarkCli(LightningCLI):
    """LightningCLI with this project's habits.

    Sizes of features and labels go from the data module to the model; every run writes into a folder of its own; a fit
    that is told to stop saves its state, goes on from it with `--ckpt_path resume`, and ends with a test of what it
    kept.
    """

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the project's own options and the links from data to model."""
        parser.add_argument("--test_after_fit", type=bool, default=True, help="Test the model when a fit has ended.")
        parser.add_class_arguments(Preemption, "preemption")
        parser.link_arguments("data.feature_dim", "model.init_args.input_dim", apply_on="instantiate")
        parser.link_arguments("data.num_classes", "model.init_args.num_classes", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and look at the checkpoint that is named: Lightning takes arguments of the model from it.

        Raises:
            CheckpointError: If it is damaged, holds code, or is something else.
        """
        super().parse_arguments(parser, args)
        named = self.config[self.config.subcommand].get("ckpt_path") if self.config.get("subcommand") else None
        if named is not None and Path(named).is_file():
            read_checkpoint(Path(named))

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
        config = self.config[self.subcommand]
        refuse_untrusted(config, "the config", _LIGHTNING)
        trainer = config.trainer
        if config.weights_only is None:
            config.weights_only = True  # Lightning's own default lets a checkpoint run code
        if self.subcommand == "test":
            config.verbose = not _has_report(config)  # which prints a better table
        if self.subcommand == "predict":
            config.return_predictions = False  # callbacks write them; memory may not hold all
            if trainer.default_root_dir is None:
                trainer.default_root_dir = str(Path("runs") / _predict_name(config))
        if trainer.default_root_dir is None:
            configs = getattr(config, "config", None) or []
            name = run_name(Path(str(configs[0])).stem if configs else "run")
            trainer.default_root_dir = str(Path("runs") / name)
            checkpoints = Path("checkpoints") / name
        else:
            checkpoints = Path(trainer.default_root_dir) / "checkpoints"
        for callback in trainer.callbacks or []:
            if callback.class_path.endswith("Checkpoint") and callback.init_args.dirpath is None:
                callback.init_args.dirpath = str(checkpoints)
            if callback.class_path.endswith("ModelCheckpoint") and callback.init_args.filename == LAST:
                callback.init_args.enable_version_counter = (
                    False  # or an earlier run's stays, and is taken for this one's
                )
        if config.preemption.dirpath is None:
            config.preemption.dirpath = str(checkpoints)
        if self.subcommand == "fit":
            self._choose_checkpoint(config)
        loggers = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
        for logger in loggers:
            if getattr(logger, "class_path", "").endswith("WandbLogger"):
                _place_wandb_run(logger.init_args, Path(trainer.default_root_dir), str(self.subcommand))

    def after_instantiate_classes(self) -> None:
        """Let runs that keep checkpoints be stopped and go on."""
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
            verbose=not _has_report(self.config[self.subcommand]),
            weights_only=True,
        )
        if self.trainer.is_global_zero and isinstance(keeper, ModelCheckpoint) and keeper.best_model_path:
            Console().print(f"Checkpoint: {keeper.best_model_path}", soft_wrap=True)

    def _choose_checkpoint(self, config: Namespace) -> None:
        """Put the newest checkpoint in place of `resume`, which a requeued job need not say.

        A job that began from another run's checkpoint goes on from its own, once it has one.
        """
        if config.ckpt_path != RESUME and num_restarts() == 0:
            return
        began_from = None if config.ckpt_path == RESUME else config.ckpt_path
        folders = [callback.get("init_args.dirpath") for callback in config.trainer.callbacks or []]
        newest = newest_checkpoint({Path(folder) for folder in [config.preemption.dirpath, *folders] if folder})
        if newest is not None:
            text = self._parser(self.subcommand).dump(config, skip_none=False)
            check_same_run(Path(config.trainer.default_root_dir), yaml.safe_load(text))
        _logger.info("Going on from %s.", newest) if newest else _logger.info("Nothing to go on from yet; starting.")
        config.ckpt_path = began_from if newest is None else str(newest)


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


def _has_report(config: Namespace) -> bool:
    """Whether a callback tells the results of a test."""
    return any(each.class_path.endswith("Report") for each in config.trainer.callbacks or [])


def _predict_name(config: Namespace) -> str:
    """Name a prediction after its first config and all options: the same command finds what a killed one has done."""
    configs = getattr(config, "config", None) or []
    options = json.dumps(config.as_dict(), sort_keys=True, default=str)
    stem = Path(str(configs[0])).stem if configs else "run"
    return f"{stem}/predict-{hashlib.sha256(options.encode()).hexdigest()[:8]}"


def _place_wandb_run(init_args: Namespace, folder: Path, subcommand: str) -> None:
    for name, value in (("save_dir", str(folder)), ("job_type", subcommand)):
        if getattr(init_args, name, None) in (None, "."):
            setattr(init_args, name, value)
    mode = wandb_mode()
    if mode is not None:
        init_args.mode = mode
    folder.mkdir(parents=True, exist_ok=True)
