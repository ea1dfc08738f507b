"""A callback that gives a test time to interrupt a training, however fast the machine is."""

import time
from pathlib import Path

import pytorch_lightning as pl


class SlowSteps(pl.Callback):
    """Sleep after each step of training until a file is there.

    Args:
        until: The file.
        seconds: To sleep.
    """

    def __init__(self, until: str, seconds: float = 0.05) -> None:
        self._until = Path(until)
        self._seconds = seconds

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if not self._until.exists():
            time.sleep(self._seconds)
