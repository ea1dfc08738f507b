"""Put the checkpoint, codebooks and all, into the W&B run as an artifact."""

from pathlib import Path

import pytorch_lightning as pl
import wandb
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import WandbLogger


class CheckpointArtifact(pl.Callback):
    """Log the checkpoint that a fit ends with; without a W&B logger it does nothing."""

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the best checkpoint if one is selected, else the last."""
        loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        keeper = trainer.checkpoint_callback
        if not trainer.is_global_zero or not loggers or not isinstance(keeper, ModelCheckpoint):
            return
        path = Path(keeper.best_model_path or keeper.last_model_path)
        if not path.is_file():
            return
        for logger in loggers:
            artifact = wandb.Artifact(
                f"{type(pl_module).__name__.lower()}-{logger.version}",
                type="model",
                metadata={"epoch": trainer.current_epoch},
            )
            artifact.add_file(str(path))
            logger.experiment.log_artifact(artifact)
