"""Stop a run when it is told to, with all that it has learned saved, and have SLURM start it again.

A handler of signals only takes a note. Saving where a signal happens to find a process, as Lightning's own handler for
SLURM does, blocks for ever when another process is elsewhere in its step. Here the processes agree after a batch.
"""

import logging
import signal
import time
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.trainer.states import TrainerFn

from callbacks.stopping.slurm_job import requeue_job
from callbacks.stopping.stop_signals import (
    REQUEUE_SIGNAL,
    STOP_SIGNALS,
    Preempted,
    ignore_signals,
    note_signals,
    noted_signals,
    stop_on_sigterm,
)

_logger = logging.getLogger(__name__)

RESUME_FILE = "resume.ckpt"
BEFORE_FILE = "resume-before.ckpt"


class Preemption(Checkpoint):
    """Save at intervals, and on a signal save, have the job requeued, and stop.

    SIGUSR1 means that SLURM is about to end the job: the first process requeues it. SIGTERM and the first Ctrl+C stop
    the run; a second Ctrl+C stops it at once. All of them wait for a state that is whole: the end of a batch after
    which neither a validation nor the end of the epoch follows, else the end of the epoch. Outside of training nothing
    has to be saved: SIGTERM and Ctrl+C stop at once, and SIGUSR1 requeues the job, which then begins its test anew.

    The state is `resume.ckpt`; the one before it stays as `resume-before.ckpt`.

    Args:
        minutes: From one saved state to the next; None saves on signals only.
        requeue: Whether the job is requeued on SIGUSR1.
        max_requeues: Requeues of one job; at the next SIGUSR1 it stops.
        dirpath: Folder of the states; None is `checkpoints` in the trainer's.

    Raises:
        ValueError: If `minutes` is not above 0.
    """

    def __init__(
        self,
        minutes: float | None = 30.0,
        requeue: bool = True,
        max_requeues: int = 100,
        dirpath: str | None = None,
    ) -> None:
        if minutes is not None and minutes <= 0:
            raise ValueError(f"minutes must be above 0; got {minutes}. Leave it out for 30, or give null for never.")
        self.minutes = minutes
        self.requeue = requeue
        self.max_requeues = max_requeues
        self.dirpath = dirpath
        self._saved_at = time.monotonic()
        self._leaving: signal.Signals | None = None  # saved at the end of an epoch, which is yet to be logged

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen for signals."""
        note_signals()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen for signals, and begin the first interval."""
        if trainer.received_sigterm:  # by Lightning's own handler, which goes before this hook
            noted_signals.append(signal.SIGTERM)
        note_signals()
        self._saved_at = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Save and stop where it is time to.

        Raises:
            Preempted: If a process got a signal.
        """
        if not _is_whole(trainer, batch_idx):
            return
        stopped_by = self._save_if_due(trainer)
        if stopped_by is not None:
            self._leave(trainer, stopped_by)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save where it is time to; the run stops once the epoch is logged."""
        self._leaving = self._save_if_due(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop if the last epoch ended with that.

        Raises:
            Preempted: If so.
        """
        if self._leaving is not None:
            self._leave(trainer, self._leaving)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop if the last epoch ended with that; the test is left to the next start.

        Raises:
            Preempted: If so.
        """
        if self._leaving is not None:
            self._leave(trainer, self._leaving)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let SIGTERM stop a validation that is not part of a fit."""
        if trainer.state.fn != TrainerFn.FITTING:
            stop_on_sigterm(trainer)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let SIGTERM stop a test."""
        stop_on_sigterm(trainer)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let SIGTERM stop a prediction."""
        stop_on_sigterm(trainer)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Requeue the job if SLURM is about to end it within a validation that is not part of a fit."""
        if trainer.state.fn != TrainerFn.FITTING:
            self._requeue_where_noted(trainer)

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Requeue the job if SLURM is about to end it."""
        self._requeue_where_noted(trainer)

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Requeue the job if SLURM is about to end it."""
        self._requeue_where_noted(trainer)

    def resume_path(self, trainer: pl.Trainer) -> Path:
        """Return where the state is saved."""
        return Path(self.dirpath or Path(trainer.default_root_dir) / "checkpoints") / RESUME_FILE

    def _save_if_due(self, trainer: pl.Trainer) -> signal.Signals | None:
        """Save if a process got a signal or the interval is over; return the signal, on all processes."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # set by Lightning at run time
            return None
        # the first process's clock decides
        is_over = self.minutes is not None and time.monotonic() - self._saved_at >= 60 * self.minutes
        decide = trainer.strategy.reduce_boolean_decision
        if not decide(bool(noted_signals) or (is_over and trainer.is_global_zero), all=False):
            return None
        stopped_by = next((each for each in STOP_SIGNALS if decide(each in noted_signals, all=False)), None)
        if stopped_by is not None:
            ignore_signals()
        path = self.resume_path(trainer)
        if trainer.is_global_zero and path.is_file():
            path.replace(path.with_name(BEFORE_FILE))
        trainer.save_checkpoint(path, weights_only=False)
        self._saved_at = time.monotonic()
        return stopped_by

    def _leave(self, trainer: pl.Trainer, stopped_by: signal.Signals) -> None:
        """End the process, after the job was requeued if that is what the signal means."""
        noted_signals.clear()
        self._leaving = None
        if trainer.is_global_zero:
            where = f"in epoch {trainer.current_epoch}, after {trainer.global_step} steps"
            _logger.warning("Stopped by %s %s; saved as %s.", stopped_by.name, where, self.resume_path(trainer))
            if not (stopped_by == REQUEUE_SIGNAL and self.requeue and requeue_job(self.max_requeues)):
                _logger.warning("It goes on with: %s", _resume_command(trainer, self.resume_path(trainer)))
        raise Preempted(128 + stopped_by if trainer.is_global_zero else 0)

    def _requeue_where_noted(self, trainer: pl.Trainer) -> None:
        if REQUEUE_SIGNAL in noted_signals:
            noted_signals.clear()
            if trainer.is_global_zero and self.requeue:
                requeue_job(self.max_requeues)


def _is_whole(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether a state saved after this batch goes on exactly.

    That is, no gradients are held, and neither a validation nor the end of the epoch follows.
    """
    num_batches = batch_idx + 1
    is_last = trainer.is_last_batch or (trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps)
    if is_last or num_batches % trainer.accumulate_grad_batches:
        return False
    if trainer.check_val_every_n_epoch is None:
        num_batches = trainer.fit_loop.total_batch_idx + 1
    interval = trainer.val_check_batch
    return interval in (None, float("inf")) or num_batches % interval != 0


def _resume_command(trainer: pl.Trainer, path: Path) -> str:
    """Return what a user types to go on."""
    config = Path(trainer.default_root_dir) / "config.yaml"
    if config.is_file():
        return f"python train.py fit --config {config} --ckpt_path resume"
    return f"python train.py fit --ckpt_path {path}, and the options it was started with"
