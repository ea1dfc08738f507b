"""Pairs to train on, what is held out for validation, and both between epochs."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from datamodules import Roles
from tests.datamodules.makers import columns
from tests.datamodules.sonyc_ust.makers import NUM_DATABASE, Make
from tests.trainers import quiet_trainer


def _positions(roles: Roles) -> dict[str, list[int]]:
    return {name: getattr(roles, name).tolist() for name in ("train", "query", "database", "val_query", "val_database")}


def test_training_serves_every_listed_pair_once_shuffled(make: Make) -> None:
    data = make(partners_each=2, batch_size=16)
    orders = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        loader = data.train_dataloader()
        batch = columns(loader)
        orders.append(torch.stack([batch["item_index"], batch["other_item_index"]], 1).tolist())
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(loader.dataset.pairs.tolist())  # type: ignore[attr-defined]
    train = set(data.roles.train.tolist())
    assert {index for pair in orders[0] for index in pair} <= train
    assert all(first != second for first, second in orders[0])
    batch = columns(loader)
    for first, second, label, other_label in zip(
        batch["item_index"].tolist(), batch["other_item_index"].tolist(), batch["label"], batch["other_label"],
        strict=True,
    ):  # fmt: skip
        assert tuple(label.tolist()) == data.items[first].labels
        assert tuple(other_label.tolist()) == data.items[second].labels


def test_partners_are_chosen_as_asked(make: Make) -> None:
    first, random, other = (
        make(partners_each=2, partners=partners, pair_seed=seed).train_dataloader().dataset.pairs.tolist()  # type: ignore[attr-defined]
        for partners, seed in (("first", 0), ("random", 0), ("random", 1))
    )
    assert len(random) > len(first)
    assert random != other


def test_last_batch_of_one_pair_is_dropped(make: Make) -> None:
    num_pairs = len(make(partners_each=1).train_dataloader().dataset)  # type: ignore[arg-type]
    sizes = [len(batch["label"]) for batch in make(partners_each=1, batch_size=num_pairs - 1).train_dataloader()]
    assert sizes == [num_pairs - 1]


def test_a_tenth_of_the_database_is_held_out_by_the_seed(make: Make) -> None:
    positions = _positions(make().roles)
    assert len(positions["val_query"]) == 3
    assert sorted(positions["val_query"] + positions["train"]) == positions["database"]
    assert positions["val_database"] == positions["train"]
    assert positions == _positions(make().roles)
    assert positions["val_query"] != _positions(make(val_seed=1).roles)["val_query"]
    assert len(make(val_share=0.5).roles.val_query) == pytest.approx(NUM_DATABASE / 2, abs=1)


@pytest.mark.parametrize("val_seed", range(4))
def test_whole_sensors_are_held_out(make: Make, val_seed: int) -> None:
    data = make(val_by="sensors", val_share=0.3, val_seed=val_seed)
    sensors = {
        role: {data.items[index].sensor for index in getattr(data.roles, role)} for role in ("val_query", "train")
    }
    assert sensors["val_query"]
    assert sensors["train"]
    assert not sensors["val_query"] & sensors["train"]
    assert 0.1 < len(data.roles.val_query) / NUM_DATABASE < 0.5


def test_hold_out_can_be_switched_between_epochs(make: Make) -> None:
    data = make(partners_each=2)
    held_out, pairs = _positions(data.roles), data.train_dataloader().dataset.pairs.tolist()  # type: ignore[attr-defined]
    assert [len(loader.dataset) for loader in data.val_dataloader()] == [3, NUM_DATABASE - 3]  # type: ignore[arg-type]
    data.hold_out = False
    assert data.val_dataloader() == []
    whole = _positions(data.roles)
    assert whole["train"] == whole["database"] == held_out["database"]
    assert whole["query"] == held_out["query"]
    seen = set(data.train_dataloader().dataset.pairs.flatten().tolist())  # type: ignore[attr-defined]
    assert seen & set(held_out["val_query"])
    assert whole == _positions(make(hold_out=False).roles)
    data.hold_out = True
    assert _positions(data.roles) == held_out
    assert data.train_dataloader().dataset.pairs.tolist() == pairs  # type: ignore[attr-defined]


class PairRecorder(pl.LightningModule):
    """Remember the pairs of each epoch; stop holding out at one."""

    def __init__(self, release_at: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.release_at = release_at
        self.epochs: dict[int, list[list[int]]] = {}

    def on_train_epoch_end(self) -> None:
        if self.current_epoch + 1 == self.release_at:
            self.trainer.datamodule.hold_out = False  # type: ignore[attr-defined]

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        pairs = torch.stack([batch["item_index"], batch["other_item_index"]], 1).tolist()
        self.epochs.setdefault(self.current_epoch, []).extend(pairs)
        return self.weight.sum()

    def configure_optimizers(self) -> Optimizer:
        return SGD(self.parameters(), lr=0.1)


def _trainer(folder: Path, num_epochs: int) -> pl.Trainer:
    return quiet_trainer(
        max_epochs=num_epochs, reload_dataloaders_every_n_epochs=1, default_root_dir=folder, limit_val_batches=0
    )


def test_new_pairs_are_drawn_each_epoch_and_again_after_resuming(make: Make, tmp_path: Path) -> None:
    options = {"pairs": "balanced", "pairs_per_epoch": 40, "batch_size": 10}
    model = PairRecorder()
    trainer = _trainer(tmp_path, 3)
    trainer.fit(model, datamodule=make(**options))
    drawn = {epoch: sorted(pairs) for epoch, pairs in model.epochs.items()}
    assert [len(pairs) for pairs in drawn.values()] == [40] * 3
    assert drawn[0] != drawn[1] != drawn[2]
    first = make(**options).train_dataloader().dataset.pairs.tolist()  # type: ignore[attr-defined]
    assert drawn[0] == sorted(first)
    other = make(**options, pair_seed=1).train_dataloader().dataset.pairs.tolist()  # type: ignore[attr-defined]
    assert drawn[0] != sorted(other)
    half = _trainer(tmp_path, 1)
    half.fit(PairRecorder(), datamodule=make(**options))
    half.save_checkpoint(tmp_path / "half.ckpt")
    resumed = PairRecorder()
    _trainer(tmp_path, 3).fit(
        resumed, datamodule=make(**options), ckpt_path=str(tmp_path / "half.ckpt"), weights_only=False
    )
    assert {epoch: sorted(pairs) for epoch, pairs in resumed.epochs.items()} == {1: drawn[1], 2: drawn[2]}


def test_a_callback_may_stop_holding_out(make: Make, tmp_path: Path) -> None:
    data, model = make(partners_each=2), PairRecorder(release_at=1)
    held_out = set(data.roles.val_query.tolist())
    _trainer(tmp_path, 2).fit(model, datamodule=data)
    assert not held_out & {index for pair in model.epochs[0] for index in pair}
    assert held_out <= {index for pair in model.epochs[1] for index in pair}


def test_pairs_drawn_once_are_warned_about(make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = make(pairs="balanced", pairs_per_epoch=4)
    trainer = _trainer(tmp_path, 1)
    data.trainer = trainer
    data.train_dataloader()
    assert "drawn once" not in caplog.text
    trainer.reload_dataloaders_every_n_epochs = 0  # type: ignore[attr-defined]
    data.train_dataloader()
    assert "reload_dataloaders_every_n_epochs 1" in caplog.text
