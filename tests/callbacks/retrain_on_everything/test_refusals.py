"""What makes no trial, or would run something else, is refused."""

import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from callbacks import RetrainOnEverything
from callbacks.protocols import HoldsOut
from tests.callbacks.retrain_on_everything.makers import VALUES, Data, Model, fit, make_trainer

AT_LEAST_1 = "Expected max_epochs and patience of at least 1"


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(("arguments", "message"), [
    ({"max_epochs": 0}, AT_LEAST_1), ({"patience": 0}, AT_LEAST_1), ({"min_delta": -0.1}, AT_LEAST_1),
    ({"min_delta": math.nan}, AT_LEAST_1), ({"mode": "least"}, "a mode of min, max; got 'val/loss', 'least'"),
    ({"monitor": ""}, "Expected the name of a metric"),
], ids=str)  # fmt: skip
def test_arguments_that_make_no_trial_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RetrainOnEverything(**arguments)


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


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ({"retrain": RetrainOnEverything("val/mAP")}, ValueError, "no 'val/mAP' among train/loss, train/loss_step, val/lo"),
    ({"limit_val_batches": 0}, RuntimeError, "a validation in every epoch of the trial; epoch 0 had none"),
    ({"values": [math.nan]}, RuntimeError, r"a finite 'val/loss' to choose by; got \[nan, nan\]"),
], ids=["not logged", "no validation", "no number"])  # fmt: skip
def test_a_trial_without_values_to_choose_by_is_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fit(**arguments)


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
