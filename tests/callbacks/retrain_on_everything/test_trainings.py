"""Which number of epochs a trial chooses, what the second training starts from and sees, and after a run was killed."""

import csv
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

from callbacks import FinalCheckpoint, RetrainOnEverything
from callbacks.retrain_on_everything import best_num_epochs
from tests.callbacks.retrain_on_everything.makers import (
    BATCHES_OF_ALL,
    BATCHES_OF_PART,
    NUM_CHOSEN,
    NUM_HELD_OUT,
    NUM_ITEMS,
    NUM_TRIAL,
    VALUES,
    Data,
    Model,
    assert_same_state,
    fit,
    make_trainer,
)


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


@pytest.mark.parametrize("max_epochs", [20, -1])
def test_a_trial_is_followed_by_as_many_epochs_on_everything(max_epochs: int) -> None:
    model, data, callback, trainer = fit(max_epochs=max_epochs)
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


@pytest.mark.processes
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
