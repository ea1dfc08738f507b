"""How long an epoch takes."""

import time

import pytorch_lightning as pl


class EpochSeconds(pl.Callback):
    """Log `train/epoch_seconds`, the time from an epoch's start to its end, validation included."""

    def __init__(self) -> None:
        self._started = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the time of the first process, which waits for the others at every step."""
        pl_module.log("train/epoch_seconds", time.perf_counter() - self._started, rank_zero_only=True)
