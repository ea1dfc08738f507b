"""Ten items of which two are held out, and a model that is told what its validation says."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from callbacks import RetrainOnEverything
from tests.trainers import quiet_trainer

NUM_ITEMS, NUM_HELD_OUT = 10, 2
# batches of four: two an epoch in the trial, three on everything
BATCHES_OF_PART, BATCHES_OF_ALL = 2, 3
# the second epoch is the best; with patience of two the trial has four epochs
VALUES = [3.0, 1.0, 2.0, 2.0, 0.0, 0.0]
NUM_TRIAL, NUM_CHOSEN = 4, 2


class Data(pl.LightningDataModule):
    def __init__(self, hold_out: bool = True, batch_size: int = 4) -> None:
        super().__init__()
        self.hold_out = hold_out
        self.batch_size = batch_size
        feature = torch.randn(NUM_ITEMS, 2, generator=torch.Generator().manual_seed(1))
        self.items = TensorDataset(torch.arange(NUM_ITEMS), feature, feature.sum(1, keepdim=True))
        self.made: list[bool] = []

    def train_dataloader(self) -> DataLoader:
        self.made.append(self.hold_out)
        end = NUM_ITEMS - NUM_HELD_OUT if self.hold_out else NUM_ITEMS
        return DataLoader(Subset(self.items, range(end)), self.batch_size)

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        held_out = Subset(self.items, range(NUM_ITEMS - NUM_HELD_OUT, NUM_ITEMS))
        return DataLoader(held_out) if self.hold_out else []

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.items, batch_size=NUM_ITEMS)


class Model(pl.LightningModule):
    """Learns a sum; says what it is told in validation, and records which items it saw in which epoch."""

    def __init__(self, values: list[float], seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Linear(2, 1)
        self.norm = nn.BatchNorm1d(1)
        self.values = values
        self.seen: dict[int, list[int]] = {}
        self.rates: dict[int, float] = {}
        self.started_from: dict[int, dict[str, Tensor]] = {}
        self.validated: list[int] = []

    def on_train_epoch_start(self) -> None:
        state = {name: value.clone() for name, value in self.state_dict().items()}
        self.started_from[self.current_epoch] = state
        self.rates[self.current_epoch] = self.trainer.optimizers[0].param_groups[0]["lr"]

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        index, feature, target = batch
        self.seen.setdefault(self.current_epoch, []).extend(index.tolist())
        loss = nn.functional.mse_loss(self.norm(self.layer(feature)), target)
        self.log("train/loss", loss, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        assert not self.training

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.validated.append(self.current_epoch)
        value = self.values[min(self.current_epoch, len(self.values) - 1)]
        self.log("val/loss", value, rank_zero_only=True, prog_bar=True)

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        _, feature, target = batch
        self.log("test/loss", nn.functional.mse_loss(self.norm(self.layer(feature)), target))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)}


def make_trainer(*callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    defaults: dict[str, Any] = {"max_epochs": 20, "reload_dataloaders_every_n_epochs": 1, "log_every_n_steps": 1}
    return quiet_trainer(*callbacks, **(defaults | options))


def fit(
    *others: pl.Callback,
    retrain: RetrainOnEverything | None = None,
    values: list[float] = VALUES,
    seed: int = 0,
    resume_from: Path | None = None,
    **options: Any,
) -> tuple[Model, Data, RetrainOnEverything, pl.Trainer]:
    model, data, callback = Model(values, seed), Data(), retrain or RetrainOnEverything()
    trainer = make_trainer(callback, *others, **options)
    trainer.fit(model, datamodule=data, ckpt_path=resume_from, weights_only=True)
    return model, data, callback, trainer


def assert_same_state(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
