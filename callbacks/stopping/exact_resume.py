"""Keep in checkpoints what Lightning leaves out of them, so that a run that goes on ends as if it had not stopped."""

from typing import Any, TypedDict, cast

import pytorch_lightning as pl
import torch
from torch import Tensor


class _State(TypedDict):
    """What a checkpoint holds."""

    random: dict[str, Tensor]
    epoch: int
    sums: dict[str, tuple[Tensor, Tensor]]  # of what is logged as a mean over the epoch: the sum and the items


class ExactResume(pl.Callback):
    """Keep the state of torch's random numbers, which dropout draws from, and the sums of means over an epoch.

    Of several processes the first one's: they are seeded alike and draw alike. A mean over an epoch that was
    interrupted is of the first process's items before, and of all processes' after.
    """

    def __init__(self) -> None:
        self._trainer: pl.Trainer | None = None
        self._restored: _State | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the random numbers where they were."""
        self._trainer = trainer
        if self._restored is not None:
            _restore_random_state(self._restored["random"], trainer.strategy.root_device)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Add what the epoch had logged before it was interrupted."""
        if self._restored is None:
            return
        if self._restored["epoch"] == trainer.current_epoch and trainer.is_global_zero:
            metrics = trainer.fit_loop.epoch_loop._results
            for name, (value, num_items) in self._restored["sums"].items():
                if name in metrics:
                    metric = metrics[name]
                    metric.value = metric.value + value.to(metric.value)
                    metric.cumulated_batch_size = metric.cumulated_batch_size + num_items.to(
                        metric.cumulated_batch_size
                    )
        self._restored = None

    def state_dict(self) -> dict[str, Any]:
        """Return tensors, numbers and dicts."""
        if self._trainer is None:
            return {}
        metrics = self._trainer.fit_loop.epoch_loop._results
        state: _State = {
            "random": _random_state(self._trainer.strategy.root_device),
            "epoch": self._trainer.current_epoch,
            "sums": {
                name: (metric.value.clone(), metric.cumulated_batch_size.clone())
                for name, metric in metrics.items()
                if metric.is_tensor and metric.meta.is_mean_reduction and metric.meta.on_epoch and not metric.has_reset
            },
        }
        return dict(state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep it until training begins."""
        self._restored = cast(_State, state_dict) if state_dict else None


def _random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of the processor's generator and, where it is another, of the device's."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _restore_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda" and "cuda" in state:  # a run may go on on a device of another kind
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
