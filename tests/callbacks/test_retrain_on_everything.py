"""Which number of epochs a trial chooses, what the second training starts from and sees, and after a run was killed."""

import csv
import itertools
import math
from pathlib import Path
from typing import Any, Literal

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from callbacks import FinalCheckpoint, RetrainOnEverything
from callbacks.protocols import HoldsOut
from callbacks.retrain_on_everything import best_num_epochs

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
    defaults: dict[str, Any] = {
        "max_epochs": 20, "reload_dataloaders_every_n_epochs": 1, "accelerator": "cpu", "logger": False,
        "enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1,
        "enable_checkpointing": any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
    }  # fmt: skip
    return pl.Trainer(callbacks=list(callbacks), **(defaults | options))


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


@pytest.mark.parametrize("values", list(itertools.permutations([1.0, 2.0, 3.0])))
def test_the_best_number_is_the_argmin_or_the_argmax(values: tuple[float, ...]) -> None:
    assert best_num_epochs(values, "min", 0.0) == values.index(1.0) + 1
    assert best_num_epochs(values, "max", 0.0) == values.index(3.0) + 1
    assert best_num_epochs([-value for value in values], "max", 0.0) == values.index(1.0) + 1


def test_ties_small_gains_and_nan_do_not_make_a_best_epoch() -> None:
    assert best_num_epochs([2.0, 1.0, 1.0], "min", 0.0) == 2
    assert best_num_epochs([2.0, 1.5, 1.25], "min", 0.5) == 3  # 2 - 1.25 exceeds 0.5, 2 - 1.5 doesn't
    assert best_num_epochs([math.nan, 2.0, math.nan, 1.0], "min", 0.0) == 4
    assert best_num_epochs([math.inf, 2.0], "min", 0.0) == 2
    assert best_num_epochs([math.nan, math.inf], "min", 0.0) == 0
    assert best_num_epochs([], "max", 0.0) == 0


def test_a_trial_is_followed_by_as_many_epochs_on_everything() -> None:
    model, data, callback, trainer = fit()
    assert callback.values == VALUES[:NUM_TRIAL]  # not the sanity check's
    assert callback.chosen_epochs == NUM_CHOSEN
    part, everything = list(range(NUM_ITEMS - NUM_HELD_OUT)), list(range(NUM_ITEMS))
    assert list(model.seen.values()) == [part] * NUM_TRIAL + [everything] * NUM_CHOSEN
    assert trainer.current_epoch == NUM_TRIAL + NUM_CHOSEN
    assert trainer.global_step == NUM_TRIAL * BATCHES_OF_PART + NUM_CHOSEN * BATCHES_OF_ALL
    assert data.made == [True] * NUM_TRIAL + [False] * NUM_CHOSEN
    assert data.hold_out is False


@pytest.mark.parametrize(("values", "arguments", "num_trial", "num_chosen"), [
    ([5, 4, 3, 2, 1], {"max_epochs": 3}, 3, 3),
    ([5, 4, 6, 1, 1], {"patience": 1}, 3, 2),
    ([5, 4, 6, 6, 1], {"patience": 3, "max_epochs": 5}, 5, 5),
    ([1, 2, 3], {}, 3, 1),
    ([1, 2, 3, 2, 1], {"mode": "max"}, 5, 3),
    ([5, 4.5, 3.9, 3.8, 3.7], {"min_delta": 1.0}, 5, 3),
    ([math.nan, 5, 6, 7], {}, 4, 2),
])  # fmt: skip
def test_the_trial_ends_without_improvement(
    values: list[float], arguments: dict[str, Any], num_trial: int, num_chosen: int
) -> None:
    model, _, callback, trainer = fit(retrain=RetrainOnEverything(**arguments), values=values)
    assert (len(callback.values), callback.chosen_epochs) == (num_trial, num_chosen)
    assert trainer.current_epoch == num_trial + num_chosen
    assert model.validated == list(range(num_trial))


def test_both_trainings_start_from_the_same_state_and_schedule() -> None:
    model, _, callback, trainer = fit()
    assert_same_state(model.started_from[NUM_TRIAL], model.started_from[0])
    with pytest.raises(AssertionError):
        assert_same_state(model.started_from[1], model.started_from[0])
    assert [model.rates[NUM_TRIAL + epoch] for epoch in range(NUM_CHOSEN)] == [model.rates[0], model.rates[1]]
    assert model.rates[1] < model.rates[0]
    assert callback.state_dict()["initial"] is None
    assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == NUM_CHOSEN


def test_the_model_is_that_of_a_training_on_everything_from_scratch() -> None:
    model, _, _, trainer = fit()
    alone = Model(VALUES)
    trainer_alone = make_trainer(max_epochs=NUM_CHOSEN, limit_val_batches=0)
    trainer_alone.fit(alone, datamodule=Data(hold_out=False))
    assert_same_state(model.state_dict(), alone.state_dict())
    for found, expected in zip(trainer.optimizers, trainer_alone.optimizers, strict=True):
        torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=0, atol=0)
    # and it is what a test is of
    tested = trainer.test(model, datamodule=Data(), verbose=False)
    assert tested == trainer_alone.test(alone, datamodule=Data(), verbose=False)


@pytest.mark.parametrize("bar", [True, False])
def test_nothing_is_validated_or_monitored_on_everything(tmp_path: Path, bar: bool) -> None:
    model, _, _, trainer = fit(logger=CSVLogger(tmp_path, name="", version="run"), enable_progress_bar=bar)
    assert model.validated == list(range(NUM_TRIAL))
    for metrics in (trainer.callback_metrics, trainer.progress_bar_metrics, trainer.logged_metrics):
        assert "train/loss_epoch" in metrics
        assert "val/loss" not in metrics
    assert trainer.callback_metrics["chosen_epochs"] == NUM_CHOSEN
    with (tmp_path / "run" / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    logged = {name: {int(row["epoch"]): float(row[name]) for row in rows if row[name]} for name in rows[0]}
    assert logged["val/loss"] == dict(enumerate(VALUES[:NUM_TRIAL]))
    assert logged["chosen_epochs"] == {4: 2.0, 5: 2.0}
    assert list(logged["train/loss_epoch"]) == list(range(NUM_TRIAL + NUM_CHOSEN))


def test_each_switch_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="callbacks"):
        fit()
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("callbacks")]
    assert [message.split(";")[0] for message in messages] == [
        "The trial ends after 4 epochs", "Training anew on everything for 2 epochs.",
        "Trained on everything for 2 epochs.",
    ]  # fmt: skip
    assert "val/loss was best after 2, 1." in messages[0]


def keeper(folder: Path, where: Literal["epoch", "validation", "batch"]) -> ModelCheckpoint:
    if where == "batch":
        return ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=1)
    return ModelCheckpoint(folder, "{step}", save_top_k=-1, save_on_train_epoch_end=where == "epoch")


@pytest.mark.parametrize(("where", "num_epochs"), [("epoch", 6), ("validation", 4)])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, where: Literal["epoch", "validation"], num_epochs: int
) -> None:
    whole, _, _, _ = fit(keeper(tmp_path, where))
    # after the last batch of each epoch
    steps = [2, 4, 6, 8, 11, 14][:num_epochs]
    for epoch, step in enumerate(steps):
        resumed, data, callback, trainer = fit(seed=1, resume_from=tmp_path / f"step={step}.ckpt")
        assert callback.values == VALUES[:NUM_TRIAL], step
        assert callback.chosen_epochs == NUM_CHOSEN
        assert trainer.current_epoch == NUM_TRIAL + NUM_CHOSEN
        assert_same_state(resumed.state_dict(), whole.state_dict())
        assert resumed.seen == {done: items for done, items in whole.seen.items() if done > epoch}
        assert data.made[-1] is False
        # an epoch that was saved before its end is of the trial up to the fourth
        assert data.made[0] is (epoch < NUM_TRIAL - (where == "epoch"))


def test_a_checkpoint_of_an_epoch_that_was_not_validated_is_refused(tmp_path: Path) -> None:
    fit(keeper(tmp_path, "batch"))
    with pytest.raises(RuntimeError, match="between an epoch's last batch and its validation"):
        fit(seed=1, resume_from=tmp_path / "step=2.ckpt")


def test_a_run_killed_within_an_epoch_of_the_second_training_stays_on_everything(tmp_path: Path) -> None:
    fit(keeper(tmp_path, "batch"))
    # a batch into the first epoch on everything
    _, data, callback, trainer = fit(seed=1, resume_from=tmp_path / "step=9.ckpt")
    assert data.made == [False, False]
    assert callback.chosen_epochs == NUM_CHOSEN
    assert trainer.current_epoch == NUM_TRIAL + NUM_CHOSEN
    assert trainer.global_step == NUM_TRIAL * BATCHES_OF_PART + NUM_CHOSEN * BATCHES_OF_ALL


def test_checkpoints_load_without_pickled_code_and_hold_the_original_state(tmp_path: Path) -> None:
    model, _, callback, _ = fit(keeper(tmp_path, "epoch"))
    for step, has_initial in ((2, True), (8, True), (11, False)):
        checkpoint = torch.load(tmp_path / f"step={step}.ckpt", weights_only=True)
        state = checkpoint["callbacks"][callback.state_key]
        assert (state["initial"] is not None) is has_initial
        if has_initial:
            assert_same_state(dict(state["initial"]["model"]), model.started_from[0])
            assert state["initial"]["optimizers"][0]["state"] == {}
            assert state["initial"]["schedulers"][0]["last_epoch"] == 0
    # a run that was resumed keeps the original, too
    fit(keeper(tmp_path / "again", "epoch"), seed=1, resume_from=tmp_path / "step=2.ckpt")
    checkpoint = torch.load(tmp_path / "again" / "step=4.ckpt", weights_only=True)
    assert_same_state(dict(checkpoint["callbacks"][callback.state_key]["initial"]["model"]), model.started_from[0])


@pytest.mark.parametrize("kind", [ModelCheckpoint, FinalCheckpoint])
def test_the_kept_model_is_the_last(tmp_path: Path, kind: type[ModelCheckpoint]) -> None:
    keeper = kind(dirpath=str(tmp_path))
    model, _, _, trainer = fit(keeper)
    kept = torch.load(keeper.best_model_path, weights_only=True)["state_dict"]
    assert_same_state(dict(kept), dict(model.state_dict()))
    tested = trainer.test(model, datamodule=Data(), verbose=False)
    best = trainer.test(datamodule=Data(), ckpt_path="best", weights_only=True, verbose=False)
    assert best == tested


def test_validation_and_test_alone_are_left_alone(tmp_path: Path) -> None:
    trainer = make_trainer(max_epochs=1)
    trainer.fit(Model(VALUES), datamodule=Data())
    trainer.save_checkpoint(tmp_path / "other.ckpt")
    callback, data = RetrainOnEverything(), Data(hold_out=False)
    make_trainer(callback).test(Model(VALUES), data, ckpt_path=tmp_path / "other.ckpt", weights_only=True)
    assert data.hold_out is False
    make_trainer(callback).validate(Model(VALUES), Data(), verbose=False)
    assert callback.values == []


def test_of_several_validations_in_an_epoch_the_last_counts() -> None:
    # an integer counts batches, and equals the 1.0 that is one epoch
    model, _, callback, _ = fit(val_check_interval=1)
    assert model.validated == [epoch for epoch in range(NUM_TRIAL) for _ in range(BATCHES_OF_PART)]
    assert callback.values == VALUES[:NUM_TRIAL]


def test_a_data_module_serves_a_second_fit() -> None:
    data = Data()
    results = []
    for _ in range(2):
        model, callback = Model(VALUES), RetrainOnEverything()
        make_trainer(callback).fit(model, datamodule=data)
        results.append((model.seen, callback.values))
    assert results[0] == results[1]


def test_a_quick_run_passes(caplog: pytest.LogCaptureFixture) -> None:
    _, _, callback, _ = fit(fast_dev_run=True)
    assert callback.values == VALUES[:1]
    assert "before the model" not in caplog.text


def test_a_stop_by_something_else_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    fit(max_steps=NUM_TRIAL * BATCHES_OF_PART + BATCHES_OF_ALL)
    assert "Training ended in the second training, after 5 epochs in all, before the model" in caplog.text
    fit(max_steps=BATCHES_OF_PART)
    assert "Training ended in the trial, after 1 epochs in all, before the model" in caplog.text


class Recorder(pl.Callback):
    """Lets each process tell what it knew and did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        callback = next(found for found in trainer.callbacks if isinstance(found, RetrainOnEverything))  # type: ignore[attr-defined]
        assert isinstance(pl_module, Model)
        record = {
            "values": callback.values, "chosen": callback.chosen_epochs, "state": dict(pl_module.state_dict()),
            "seen": pl_module.seen,
        }  # fmt: skip
        torch.save(record, self.folder / f"{trainer.global_rank}.pt")


class LogsOnFirst(Model):
    """Logs nothing in the other processes, so that they have nothing to decide by."""

    def on_validation_epoch_end(self) -> None:
        if self.trainer.is_global_zero:
            super().on_validation_epoch_end()


def test_two_processes_decide_alike(tmp_path: Path) -> None:
    trainer = make_trainer(RetrainOnEverything(), Recorder(tmp_path), strategy="ddp_fork", devices=2)
    trainer.fit(LogsOnFirst(VALUES), datamodule=Data(batch_size=5))
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first["values"] == second["values"] == VALUES[:NUM_TRIAL]
    assert first["chosen"] == second["chosen"] == NUM_CHOSEN
    for name in ("layer.weight", "layer.bias", "norm.weight"):
        torch.testing.assert_close(first["state"][name], second["state"][name], rtol=0, atol=0)
    together = [sorted(first["seen"][epoch] + second["seen"][epoch]) for epoch in range(NUM_TRIAL + NUM_CHOSEN)]
    assert together == [list(range(8))] * NUM_TRIAL + [list(range(10))] * NUM_CHOSEN


@pytest.mark.parametrize("arguments", [
    {"max_epochs": 0}, {"patience": 0}, {"min_delta": -0.1}, {"min_delta": math.nan},
], ids=str)  # fmt: skip
def test_arguments_that_make_no_trial_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Expected max_epochs and patience of at least 1"):
        RetrainOnEverything(**arguments)


@pytest.mark.usefixtures("unchecked_types")
def test_an_unknown_mode_or_an_empty_name_is_refused() -> None:
    with pytest.raises(ValueError, match="a mode of min, max; got 'val/loss', 'least'"):
        RetrainOnEverything(mode="least")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Expected the name of a metric"):
        RetrainOnEverything(monitor="")


@pytest.mark.parametrize(("options", "message"), [
    ({"reload_dataloaders_every_n_epochs": 0}, "trainer.reload_dataloaders_every_n_epochs of 1; got 0"),
    ({"check_val_every_n_epoch": 2}, "trainer.check_val_every_n_epoch of 1; got 2"),
    ({"val_check_interval": 0.5}, "trainer.val_check_interval of 1.0; got 0.5"),
    ({"max_epochs": 19}, "trainer.max_epochs of at least 20, twice its own 10, or -1; got 19"),
    ({"min_epochs": 5}, "trainer.min_epochs or trainer.min_steps. Drop them"),
    ({"min_steps": 5}, "trainer.min_epochs or trainer.min_steps. Drop them"),
], ids=str)  # fmt: skip
def test_a_trainer_that_would_run_something_else_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(**options)


def test_no_limit_of_epochs_will_do() -> None:
    _, _, callback, _ = fit(max_epochs=-1)
    assert callback.chosen_epochs == NUM_CHOSEN


@pytest.mark.parametrize("kind", [ModelCheckpoint, EarlyStopping])
def test_a_callback_that_monitors_is_refused(tmp_path: Path, kind: type[ModelCheckpoint] | type[EarlyStopping]) -> None:
    with pytest.raises(ValueError, match=f"got {kind.__name__} with monitor 'val/loss'"):
        fit(kind(monitor="val/loss"), enable_checkpointing=kind is ModelCheckpoint, default_root_dir=tmp_path)


def test_a_data_module_that_cannot_hold_out_is_refused() -> None:
    assert isinstance(Data(), HoldsOut)
    assert not isinstance(pl.LightningDataModule(), HoldsOut)
    with pytest.raises(TypeError, match="needs a data module with hold_out; LightningDataModule has none"):
        make_trainer(RetrainOnEverything()).fit(Model(VALUES), datamodule=pl.LightningDataModule())
    with pytest.raises(TypeError, match="NoneType has none"):
        make_trainer(RetrainOnEverything()).fit(Model(VALUES), Data().train_dataloader())


def test_a_value_that_is_not_logged_is_refused() -> None:
    with pytest.raises(ValueError, match="no 'val/mAP' among train/loss, train/loss_step, val/loss"):
        fit(retrain=RetrainOnEverything("val/mAP"))


def test_a_trial_without_validation_is_refused() -> None:
    with pytest.raises(RuntimeError, match="a validation in every epoch of the trial; epoch 0 had none"):
        fit(limit_val_batches=0)


def test_a_trial_without_a_number_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"a finite 'val/loss' to choose by; got \[nan, nan\]"):
        fit(values=[math.nan])


def test_a_checkpoint_without_the_initial_state_is_refused(tmp_path: Path) -> None:
    trainer = make_trainer(max_epochs=1)
    trainer.fit(Model(VALUES), datamodule=Data())
    trainer.save_checkpoint(tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="Expected a checkpoint of a fit with RetrainOnEverything"):
        fit(resume_from=tmp_path / "other.ckpt")


def test_a_trainer_that_has_trained_is_refused() -> None:
    model, data, _, trainer = fit()
    trainer.should_stop = False
    with pytest.raises(RuntimeError, match=r"the trainer is in epoch 6\. Make a new Trainer"):
        trainer.fit(model, datamodule=data)
