"""Keep the final state of a model that takes no optimizer steps."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint


class FinalCheckpoint(ModelCheckpoint):
    """Save the state that training ends with as `last.ckpt`.

    `ModelCheckpoint` itself saves only after a new optimizer step, so never where nothing is optimized.

    Args:
        dirpath: Folder; None is the run's.
    """

    def __init__(self, dirpath: str | None = None) -> None:
        super().__init__(dirpath=dirpath, filename="last")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # set by Lightning at run time
            return
        path = Path(str(self.dirpath)) / f"last{self.FILE_EXTENSION}"
        trainer.save_checkpoint(path, weights_only=False)  # callbacks and loops as well
        self.best_model_path = self.last_model_path = str(path)
