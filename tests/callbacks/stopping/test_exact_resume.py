"""A fit that goes on draws the same random numbers and logs the same means over an epoch."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch import Tensor, nn
from torch.utils.data import Dataset

from callbacks import ExactResume, Preemption
from callbacks.stopping.stop_signals import Preempted
from datamodules.batches.resumable_loader import ResumableLoader, ShuffledSampler
from tests.trainers import quiet_trainer

NUM_ITEMS, BATCH_SIZE = 22, 4


class Numbers(Dataset[dict[str, Tensor]]):
    """Items that are their positions."""

    def __getitems__(self, positions: Sequence[int]) -> dict[str, Tensor]:
        return {"number": torch.tensor(positions, dtype=torch.float32)[:, None] / NUM_ITEMS}


class Dropping(pl.LightningModule):
    """A model with dropout; it keeps the mean that it logged of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 16), nn.Dropout(), nn.Linear(16, 1))
        self.means: dict[int, float] = {}

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = (self.layers(batch["number"]) - batch["number"]).square().mean()
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["number"]))
        self.log("largest", loss, on_step=False, on_epoch=True, reduce_fx="max", batch_size=len(batch["number"]))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


class KeepMeans(pl.Callback):
    """Keep what was logged of each epoch, and send a SIGTERM before a step."""

    def __init__(self, stop_before: int) -> None:
        self.stop_before = stop_before
        self.means: dict[int, float] = {}

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        self._keep(trainer)
        if trainer.global_step == self.stop_before:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._keep(trainer)

    def _keep(self, trainer: pl.Trainer) -> None:
        if "loss" in trainer.callback_metrics:  # of the last epoch that ended
            self.means.setdefault(trainer.current_epoch, float(trainer.callback_metrics["loss"]))


def fit(root: Path, seed: int, stop_before: int = -1, resume: Path | None = None) -> tuple[Dropping, dict[int, float]]:
    torch.manual_seed(seed)
    model, keeper = Dropping(), KeepMeans(stop_before)
    loader = ResumableLoader(Numbers(), ShuffledSampler(NUM_ITEMS, 1, 0, seed=0), BATCH_SIZE, 0, drop_last=False)
    trainer = quiet_trainer(keeper, devices=1, max_epochs=3, default_root_dir=root, plugins=[LightningEnvironment()])
    trainer.callbacks += [ExactResume(), Preemption(minutes=None)]  # type: ignore[attr-defined]
    trainer.fit(model, loader, ckpt_path=resume, weights_only=True)
    return model, keeper.means


@pytest.mark.parametrize("stop_before", [0, 8, 11])  # of 6 batches an epoch; the last of the second epoch is 11
def test_weights_and_means_are_those_of_a_fit_that_was_not_stopped(stop_before: int, tmp_path: Path) -> None:
    whole, means = fit(tmp_path, seed=0)
    with pytest.raises(Preempted):
        fit(tmp_path, 0, stop_before)
    again, rest = fit(tmp_path, 1, resume=tmp_path / "checkpoints" / "resume.ckpt")
    assert all(torch.equal(again.state_dict()[name], value) for name, value in whole.state_dict().items())
    assert len(means) == 3
    assert rest
    assert rest == {epoch: means[epoch] for epoch in rest}


def test_the_random_numbers_matter(tmp_path: Path) -> None:
    weights = [fit(tmp_path, seed)[0].state_dict()["layers.0.weight"] for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
