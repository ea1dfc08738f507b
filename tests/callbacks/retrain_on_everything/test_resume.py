"""A run that was killed goes on as if nothing had happened, from checkpoints that hold what that takes."""

from pathlib import Path
from typing import Literal

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from tests.callbacks.retrain_on_everything.makers import (
    BATCHES_OF_ALL,
    BATCHES_OF_PART,
    NUM_CHOSEN,
    NUM_TRIAL,
    VALUES,
    assert_same_state,
    fit,
)


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
