"""The weight of the divergence by epoch, and after a run was stopped."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.demos.boring_classes import BoringModel
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from callbacks import BetaWarmup
from lightning_modules import Vae
from tests.trainers import quiet_trainer

BATCHES_PER_EPOCH = 3


class Weighted(Vae):
    """Records epoch and weight of each step."""

    def __init__(self) -> None:
        pl.LightningModule.__init__(self)  # none of the networks
        self.layer = nn.Linear(1, 1)
        self.beta = 1.0
        self.steps: list[tuple[int, float]] = []

    @property
    def betas(self) -> dict[int, float]:
        """The weight of each epoch; one that changes within an epoch fails."""
        assert len(set(self.steps)) == len(dict(self.steps))
        return dict(self.steps)

    def setup(self, stage: str) -> None: ...

    def on_fit_start(self) -> None: ...

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None: ...

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """There is nothing to preprocess."""
        return batch

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:  # type: ignore[override]  # no clips
        self.steps.append((self.current_epoch, self.beta))
        loss: Tensor = self.beta * self.layer(batch[0]).square().mean()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:  # type: ignore[override]
        return torch.optim.SGD(self.parameters(), lr=0.01)


def fit(
    warmup: BetaWarmup, max_epochs: int, *others: pl.Callback, resume_from: Path | None = None
) -> tuple[Weighted, pl.Trainer]:
    torch.manual_seed(0)
    model = Weighted()
    trainer = quiet_trainer(warmup, *others, max_epochs=max_epochs)
    loader = DataLoader(TensorDataset(torch.ones(2 * BATCHES_PER_EPOCH, 1)), batch_size=2)
    trainer.fit(model, loader, ckpt_path=resume_from)
    return model, trainer


def test_linear_rise_is_the_epochs_share() -> None:
    warmup = BetaWarmup(num_epochs=10)
    # eq. (3.2) of Pedersen (2024): k / N in the k-th epoch, then 1
    assert [warmup.beta_at(epoch) for epoch in range(10)] == pytest.approx([k / 10 for k in range(1, 11)])
    assert [warmup.beta_at(epoch) for epoch in (9, 10, 11, 1000)] == [1.0] * 4


def test_a_rise_of_one_epoch_is_none() -> None:
    assert [BetaWarmup(num_epochs=1).beta_at(epoch) for epoch in range(3)] == [1.0] * 3


@pytest.mark.parametrize("final_beta", [0.0, 0.25, 4.0])
def test_final_weight_scales_the_schedule(final_beta: float) -> None:
    for schedule in ("linear", "cyclical"):
        plain = BetaWarmup(schedule, num_epochs=4)
        scaled = BetaWarmup(schedule, num_epochs=4, final_beta=final_beta)
        expected = [final_beta * plain.beta_at(epoch) for epoch in range(12)]
        assert [scaled.beta_at(epoch) for epoch in range(12)] == pytest.approx(expected)
        assert scaled.beta_at(3) == final_beta


def test_a_cycle_rises_holds_and_starts_anew() -> None:
    warmup = BetaWarmup("cyclical", num_epochs=4)
    assert [warmup.beta_at(epoch) for epoch in range(10)] == [0.5, 1, 1, 1] * 2 + [0.5, 1]


@pytest.mark.parametrize(
    ("rising_fraction", "cycle"),
    [(1.0, [0.25, 0.5, 0.75, 1]), (0.75, [1 / 3, 2 / 3, 1, 1]), (0.25, [1, 1, 1, 1]), (0.01, [1, 1, 1, 1])],
)
def test_rising_fraction_is_the_share_of_a_cycle(rising_fraction: float, cycle: list[float]) -> None:
    warmup = BetaWarmup("cyclical", num_epochs=4, rising_fraction=rising_fraction)
    assert [warmup.beta_at(epoch) for epoch in range(8)] == pytest.approx(cycle * 2)


@pytest.mark.parametrize("arguments", [
    {"num_epochs": 0}, {"num_epochs": -3}, {"final_beta": -0.1}, {"rising_fraction": 0.0}, {"rising_fraction": 1.1},
], ids=str)  # fmt: skip
def test_arguments_that_make_no_schedule_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Expected num_epochs of at least 1"):
        BetaWarmup(**arguments)  # type: ignore[arg-type]


@pytest.mark.usefixtures("unchecked_types")
def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one of linear, cyclical; got 'sigmoid'"):
        BetaWarmup("sigmoid")  # type: ignore[arg-type]


def test_a_model_without_a_weight_is_refused() -> None:
    with pytest.raises(TypeError, match=r"needs a lightning_modules\.Vae; got BoringModel"):
        quiet_trainer(BetaWarmup(), max_epochs=1).fit(BoringModel())


def test_every_step_of_an_epoch_has_its_weight() -> None:
    model, _ = fit(BetaWarmup(num_epochs=4), 6)
    assert model.steps == [(epoch, beta) for epoch, beta in enumerate([0.25, 0.5, 0.75, 1, 1, 1])
                           for _ in range(BATCHES_PER_EPOCH)]  # fmt: skip


@pytest.mark.parametrize("schedule", ["linear", "cyclical"])
def test_a_resumed_run_goes_on_where_it_was_stopped(tmp_path: Path, schedule: str) -> None:
    def make() -> BetaWarmup:
        return BetaWarmup(schedule, num_epochs=5, rising_fraction=0.8)  # type: ignore[arg-type]

    whole, _ = fit(make(), 7)
    stopped, trainer = fit(make(), 3)
    trainer.save_checkpoint(tmp_path / "third.ckpt")
    resumed, _ = fit(make(), 7, resume_from=tmp_path / "third.ckpt")
    assert sorted(resumed.betas) == [3, 4, 5, 6]
    assert stopped.betas | resumed.betas == whole.betas


def test_a_run_killed_within_an_epoch_goes_on_with_the_weight_of_that_epoch(tmp_path: Path) -> None:
    whole, _ = fit(BetaWarmup(num_epochs=5), 4)
    # a step into the third epoch
    step = 2 * BATCHES_PER_EPOCH + 1
    fit(BetaWarmup(num_epochs=5), 3, ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=step))
    resumed, _ = fit(BetaWarmup(num_epochs=5), 4, resume_from=tmp_path / f"step={step}.ckpt")
    assert resumed.steps == whole.steps[step:]


def test_checkpoints_hold_nothing_that_contradicts_the_config(tmp_path: Path) -> None:
    _, trainer = fit(BetaWarmup(num_epochs=5), 2)
    trainer.save_checkpoint(tmp_path / "second.ckpt")
    checkpoint = torch.load(tmp_path / "second.ckpt", weights_only=True)
    assert not [name for name in checkpoint.get("callbacks", {}) if "BetaWarmup" in name]
    assert sorted(checkpoint["state_dict"]) == ["layer.bias", "layer.weight"]
    # the schedule of the run, not of the run before
    resumed, _ = fit(BetaWarmup(num_epochs=10, final_beta=0.5), 4, resume_from=tmp_path / "second.ckpt")
    assert resumed.betas == pytest.approx({2: 0.15, 3: 0.2})
