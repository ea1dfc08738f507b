"""Where a run's files go: its folder, its checkpoints, what W&B keeps, and the checkpoint that it goes on from."""

import hashlib
import json
import logging
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path

from jsonargparse import Namespace
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger

from callbacks.reports.report import Report
from callbacks.stopping.slurm_job import num_restarts
from experiments.command.run_folder import check_same_run, newest_checkpoint, run_name
from experiments.command.run_options import RESUME
from experiments.command.wandb_mode import wandb_mode

_LAST = "last"  # name of the checkpoint that a run ends with

_logger = logging.getLogger(__name__)


def names_class(section: object, kind: type) -> bool:
    """Whether a section of a parsed config, as of a callback, names a class of a kind."""
    named = pkgutil.resolve_name(section.class_path) if isinstance(section, Namespace) else None
    return isinstance(named, type) and issubclass(named, kind)


def has_report(config: Namespace) -> bool:
    """Whether a callback tells the results of a test."""
    return any(names_class(callback, Report) for callback in config.trainer.callbacks or [])


def place_run(config: Namespace, command: str) -> None:
    """Give a run its folder, and its checkpoints theirs, where the config names none."""
    trainer = config.trainer
    if trainer.default_root_dir is None and command == "predict":
        trainer.default_root_dir = str(Path("runs") / _predict_name(config))
    if trainer.default_root_dir is None:
        name = run_name(_stem(config))
        trainer.default_root_dir = str(Path("runs") / name)
        checkpoints = Path("checkpoints") / name
    else:
        checkpoints = Path(trainer.default_root_dir) / "checkpoints"
    for callback in trainer.callbacks or []:
        if not names_class(callback, Checkpoint):
            continue
        given = callback.init_args
        if given.get("dirpath", "") is None:
            given.dirpath = str(checkpoints)
        if names_class(callback, ModelCheckpoint) and given.get("filename") == _LAST:
            given.enable_version_counter = False  # or an earlier run's stays, and is taken for this one's
    if config.preemption.dirpath is None:
        config.preemption.dirpath = str(checkpoints)


def choose_checkpoint(config: Namespace, as_saved: Callable[[], Mapping[str, object]]) -> None:
    """Put the newest checkpoint in place of `resume`, which a requeued job need not say.

    A job that began from another run's checkpoint goes on from its own, once it has one.

    Args:
        config: Of a fit that has its folder.
        as_saved: Returns it as `config.yaml` would have it.

    Raises:
        RunFolderError: If the folder is another run's, or all its checkpoints are damaged.
    """
    if config.ckpt_path != RESUME and num_restarts() == 0:
        return
    began_from = None if config.ckpt_path == RESUME else config.ckpt_path
    folders = [callback.get("init_args.dirpath") for callback in config.trainer.callbacks or []]
    newest = newest_checkpoint({Path(folder) for folder in [config.preemption.dirpath, *folders] if folder})
    if newest is not None:
        check_same_run(Path(config.trainer.default_root_dir), as_saved())
    _logger.info("Going on from %s.", newest) if newest else _logger.info("Nothing to go on from yet; starting.")
    config.ckpt_path = began_from if newest is None else str(newest)


def place_wandb_runs(config: Namespace, command: str) -> None:
    """Send what W&B keeps to the run's folder, and say what the run does."""
    folder = Path(config.trainer.default_root_dir)
    given = config.trainer.logger
    for logger in given if isinstance(given, list) else [given]:
        if not names_class(logger, WandbLogger):
            continue
        for name, value in (("save_dir", str(folder)), ("job_type", command)):
            if getattr(logger.init_args, name, None) in (None, "."):
                setattr(logger.init_args, name, value)
        mode = wandb_mode()
        if mode is not None:
            logger.init_args.mode = mode
        folder.mkdir(parents=True, exist_ok=True)


def _stem(config: Namespace) -> str:
    configs = getattr(config, "config", None) or []
    return Path(str(configs[0])).stem if configs else "run"


def _predict_name(config: Namespace) -> str:
    """Name a prediction after its first config and all options: the same command finds what a killed one has done."""
    options = json.dumps(config.as_dict(), sort_keys=True, default=str)
    return f"{_stem(config)}/predict-{hashlib.sha256(options.encode()).hexdigest()[:8]}"
