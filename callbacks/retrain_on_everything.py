"""Choose the number of epochs on held-out items, then train anew on all items for as many, in one fit.

Section 5.3 of Fan et al. (2020): "we first select 10% of the training set as a validation set to determine the best
number of epochs based on the validation error. Then, we combine the training set and the validation set together to
train the model with the previously determined number of epochs."

What this relies on in Lightning 2.6, hook by hook of an epoch:

1. With `reload_dataloaders_every_n_epochs=1` the training loader is made before `on_train_epoch_start`, the validation
   loader just before validation. So `hold_out` has to change at the end of the epoch before.
2. Schedules that count epochs step after the last batch, before validation; those that watch a metric after
   `on_train_epoch_end`. So the initial state is put back at the next `on_train_epoch_start`, where it was taken, too.
3. `on_validation_end`, then `on_train_epoch_end`; in each of them checkpoints are saved last. So a checkpoint knows of
   the value it was saved with, and one of the trial's last epoch holds the model that was measured.
4. A validation without loaders is skipped with all its hooks, and nothing is logged; but the trainer's metrics stay.
"""

import copy
import logging
import math
from collections.abc import Sequence
from typing import Any, Literal, TypedDict, cast, get_args

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from callbacks.protocols import HoldsOut

_logger = logging.getLogger(__name__)

Mode = Literal["min", "max"]


class _Initial(TypedDict):
    """State of what learns before the first batch."""

    model: dict[str, Any]
    optimizers: list[dict[str, Any]]
    schedulers: list[dict[str, Any]]


def best_num_epochs(values: Sequence[float], mode: Mode, min_delta: float) -> int:
    """Return after how many epochs a value was best.

    Args:
        values: One an epoch; NaN is never best, nor is an infinity on the wrong side.
        mode: Whether the smallest or the largest is best.
        min_delta: A value is better than the best before only by more than this; of equal ones the first is best.

    Returns:
        The number of epochs; 0 where no value can be best.
    """
    sign = 1 if mode == "min" else -1
    best, num_epochs = math.inf, 0
    for count, value in enumerate(values, start=1):
        if best - sign * value > min_delta:
            best, num_epochs = sign * value, count
    return num_epochs


class RetrainOnEverything(pl.Callback):
    """Train twice within one fit: a trial on a part, which finds the number of epochs, then anew on everything.

    The data module's `hold_out` is true in the trial and false from then on. The second training starts from the
    weights, buffers, optimizers and schedules that the trial started from. Epochs are counted on: what depends on
    `current_epoch`, such as `BetaWarmup`, does not start anew; nor do generators of random numbers. The trial's values
    are kept in `values`, the number in `chosen_epochs`, which is logged, too.

    The model to keep is the last one: `ModelCheckpoint` without `monitor`, or `FinalCheckpoint`.

    Args:
        monitor: What validation logs, on the first process at least.
        mode: Whether the smallest or the largest value is best.
        max_epochs: Epochs of the trial at most; the trainer must allow twice as many.
        patience: Epochs without a better value after which the trial ends.
        min_delta: What a better value must exceed the best by.

    Raises:
        ValueError: If an argument makes no trial.
    """

    def __init__(
        self,
        monitor: str = "val/loss",
        mode: Mode = "min",
        max_epochs: int = 10,
        patience: int = 2,
        min_delta: float = 0.0,
    ) -> None:
        if not monitor or mode not in get_args(Mode):
            modes = ", ".join(get_args(Mode))
            raise ValueError(f"Expected the name of a metric and a mode of {modes}; got {monitor!r}, {mode!r}.")
        if max_epochs < 1 or patience < 1 or not min_delta >= 0:
            raise ValueError(
                "Expected max_epochs and patience of at least 1, min_delta of at least 0; "
                f"got {max_epochs}, {patience}, {min_delta}."
            )
        self.monitor = monitor
        self.mode: Mode = mode
        self.max_epochs = max_epochs
        self.patience = patience
        self.min_delta = min_delta
        self.values: list[float] = []
        self.chosen_epochs: int | None = None
        self._initial: _Initial | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start a fit with the trial; a checkpoint is read later.

        Raises:
            TypeError: If the data module cannot hold out.
            ValueError: If the trainer would not run what is to be run.
        """
        if stage != "fit":
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, HoldsOut):
            raise TypeError(f"RetrainOnEverything needs a data module with hold_out; {type(data).__name__} has none.")
        _check_settings(trainer, self.max_epochs)
        self.values, self.chosen_epochs, self._initial = [], None, None
        data.hold_out = True

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Set the data module to the checkpoint's training, which is before any loader is made.

        Raises:
            ValueError: If the checkpoint is of a fit without this callback, whose initial weights are unknown.
        """
        if trainer.state.fn != "fit":
            return
        state = checkpoint["callbacks"].get(self.state_key)
        if state is None:
            raise ValueError("Expected a checkpoint of a fit with RetrainOnEverything; it has no state. Start anew.")
        _data_of(trainer).hold_out = state["chosen_epochs"] is None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop at once where the checkpoint's training was complete."""
        trainer.should_stop |= self._is_complete(trainer.current_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the initial state, or put it back.

        Raises:
            RuntimeError: If the trainer has trained already.
        """
        if self.chosen_epochs is None and self._initial is None:
            if trainer.current_epoch > 0:
                raise RuntimeError(
                    f"Expected a fit from epoch 0 or a checkpoint; the trainer is in epoch {trainer.current_epoch}. "
                    "Make a new Trainer, or give ckpt_path."
                )
            self._initial = _initial_state(trainer, pl_module)
        elif self.chosen_epochs is not None and self._initial is not None:
            _put_back(self._initial, trainer, pl_module)
            self._initial = None  # no longer needed, nor in checkpoints
            # what validation logged last would be taken for this training's; the properties hand out the trainer's own
            for metrics in (trainer.callback_metrics, trainer.progress_bar_metrics, trainer.logged_metrics):
                metrics.clear()
            _tell(trainer, f"Training anew on everything for {self.chosen_epochs} epochs.")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the value of a trial's epoch.

        Raises:
            ValueError: If it was not logged.
        """
        if trainer.sanity_checking or trainer.state.fn != "fit" or self.chosen_epochs is not None:
            return
        # the first process may be the only one that logs; all others must decide alike
        logged = trainer.strategy.broadcast({name: float(value) for name, value in trainer.callback_metrics.items()})
        if self.monitor not in logged:
            raise ValueError(
                f"Expected a logged metric to monitor; there is no {self.monitor!r} among {', '.join(sorted(logged))}."
            )
        self.values[trainer.current_epoch :] = [logged[self.monitor]]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End the trial, or the training on everything, when it is time.

        Raises:
            RuntimeError: If the trial's epoch was not validated, or there is no best one.
        """
        if self.chosen_epochs is None:
            self._judge_trial(trainer)
            return
        # every time: what is logged in an epoch that a kill cuts short is lost
        pl_module.log("chosen_epochs", float(self.chosen_epochs))
        if self._is_complete(trainer.current_epoch + 1):
            trainer.should_stop = True
            _tell(trainer, f"Trained on everything for {self.chosen_epochs} epochs.")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Warn of a model that something else stopped the training of."""
        is_quick = trainer.fast_dev_run  # type: ignore[attr-defined]  # set by Lightning at run time
        if not self._is_complete(trainer.current_epoch) and not is_quick:
            where = "in the trial" if self.chosen_epochs is None else "in the second training"
            _logger.warning(
                "Training ended %s, after %d epochs in all, before the model was trained on everything. "
                "Look for what else stops it, such as max_steps or max_time.", where, trainer.current_epoch,
            )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed fit needs, in tensors, numbers, lists and dicts."""
        return {"values": list(self.values), "chosen_epochs": self.chosen_epochs, "initial": self._initial}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.values = list(state_dict["values"])
        self.chosen_epochs = state_dict["chosen_epochs"]
        self._initial = state_dict["initial"]

    def _is_complete(self, num_epochs: int) -> bool:
        """Whether that many epochs, the trial's among them, are all; counted by the trainer, which misses none."""
        return self.chosen_epochs is not None and num_epochs >= len(self.values) + self.chosen_epochs

    def _judge_trial(self, trainer: pl.Trainer) -> None:
        num_epochs = len(self.values)
        if num_epochs <= trainer.current_epoch:
            raise RuntimeError(
                f"Expected a validation in every epoch of the trial; epoch {trainer.current_epoch} had none. "
                "Look for limit_val_batches, an empty val_dataloader, a model without validation_step, or a checkpoint "
                "that was saved between an epoch's last batch and its validation (every_n_train_steps)."
            )
        best = best_num_epochs(self.values, self.mode, self.min_delta)
        if num_epochs < self.max_epochs and num_epochs - best < self.patience:
            return
        if best == 0:
            raise RuntimeError(f"Expected a finite {self.monitor!r} to choose by; got {self.values}. Look at the loss.")
        self.chosen_epochs = best
        _data_of(trainer).hold_out = False
        found = f"{self.monitor} was best after {best}, {self.values[best - 1]:.6g}"
        _tell(trainer, f"The trial ends after {num_epochs} epochs; {found}.")


def _check_settings(trainer: pl.Trainer, max_epochs: int) -> None:
    """Refuse a trainer that would run something else."""
    expected = {"reload_dataloaders_every_n_epochs": 1, "check_val_every_n_epoch": 1, "val_check_interval": 1.0}
    for name, value in expected.items():
        found = getattr(trainer, name)
        if found != value:
            raise ValueError(f"RetrainOnEverything needs trainer.{name} of {value}; got {found}. Set it.")
    is_short = trainer.max_epochs != -1 and (trainer.max_epochs or 0) < 2 * max_epochs
    if is_short and not trainer.fast_dev_run:  # type: ignore[attr-defined]  # a test run of one epoch
        raise ValueError(
            f"RetrainOnEverything needs trainer.max_epochs of at least {2 * max_epochs}, twice its own {max_epochs}, "
            f"or -1; got {trainer.max_epochs}. Raise it."
        )
    if (trainer.min_epochs or 0) > 1 or trainer.min_steps:
        raise ValueError("RetrainOnEverything stops by itself; got trainer.min_epochs or trainer.min_steps. Drop them.")
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, ModelCheckpoint | EarlyStopping) and callback.monitor is not None:
            raise ValueError(
                "RetrainOnEverything needs the last model to be kept, and there is no validation in the end; got "
                f"{type(callback).__name__} with monitor {callback.monitor!r}. Drop the monitor or the callback."
            )


def _data_of(trainer: pl.Trainer) -> HoldsOut:
    return cast(HoldsOut, trainer.datamodule)  # type: ignore[attr-defined]


def _initial_state(trainer: pl.Trainer, module: pl.LightningModule) -> _Initial:
    return {
        "model": copy.deepcopy(module.state_dict()),
        "optimizers": [copy.deepcopy(optimizer.state_dict()) for optimizer in trainer.optimizers],
        "schedulers": [copy.deepcopy(config.scheduler.state_dict()) for config in trainer.lr_scheduler_configs],
    }


def _put_back(initial: _Initial, trainer: pl.Trainer, module: pl.LightningModule) -> None:
    module.load_state_dict(initial["model"], strict=module.strict_loading)
    for optimizer, state in zip(trainer.optimizers, initial["optimizers"], strict=True):
        optimizer.load_state_dict(state)  # parameter groups, too, which schedules and warm-ups write to
    for config, state in zip(trainer.lr_scheduler_configs, initial["schedulers"], strict=True):
        config.scheduler.load_state_dict(state)


def _tell(trainer: pl.Trainer, message: str) -> None:
    if trainer.is_global_zero:
        _logger.info(message)
