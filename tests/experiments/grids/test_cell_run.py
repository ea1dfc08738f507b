"""A cell runs what its config says, but for what the grid replaces."""

import logging
from pathlib import Path

import pytest
import pytorch_lightning as pl
import yaml
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, WeightAveraging

from callbacks import CodebookRefit
from callbacks.exports.prediction_export import PredictionExport
from callbacks.reports.report import Report
from experiments.command.cli import EarmarkCli, run_command
from experiments.grids.cell import Cell
from experiments.grids.cell_run import CellCli, run_cell

SMALL = [
    "--data.clips_per_class=10", "--data.labels_per_class=4", "--model.num_bits=4", "--model.num_codewords=4",
    "--trainer.accelerator=cpu", "--trainer.devices=1",
]  # fmt: skip


class Own(pl.Callback):
    """A user's callback."""


def write_config(path: Path, **checkpoint: object) -> None:
    callbacks = [
        {"class_path": "callbacks.CodebookRefit"},
        {"class_path": "callbacks.RetrievalReport"},
        {"class_path": "callbacks.CodeExport"},
        {"class_path": "callbacks.CheckpointArtifact"},
        {"class_path": "pytorch_lightning.callbacks.ModelCheckpoint", "init_args": checkpoint},
        {"class_path": "pytorch_lightning.callbacks.EarlyStopping", "init_args": {"monitor": "train/loss"}},
        {"class_path": "pytorch_lightning.callbacks.WeightAveraging"},
        {"class_path": f"{__name__}.Own"},
    ]
    path.write_text(yaml.safe_dump({"extends": "demo.yaml", "trainer": {"max_epochs": 1, "callbacks": callbacks}}))


@pytest.fixture(autouse=True)
def trusted(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARMARK_TRUSTED_PACKAGES", "tests")


def run(folder: Path) -> EarmarkCli:
    quiet = ["--trainer.logger=false", "--trainer.fast_dev_run=true", f"--trainer.default_root_dir={folder}"]
    return run_command(["fit", f"--config={folder / 'mine.yaml'}", *SMALL, *quiet], CellCli)


@pytest.mark.processes  # of faiss or torch, where averaging deep-copies the model
def test_only_what_the_grid_replaces_is_left_out(in_tmp: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_config(in_tmp / "mine.yaml", filename="last")
    with caplog.at_level(logging.INFO, logger="experiments.grids.cell_run"):
        kept = run(in_tmp).trainer.callbacks  # type: ignore[attr-defined]
    kinds = {type(callback) for callback in kept}
    assert {CodebookRefit, EarlyStopping, WeightAveraging, Own} <= kinds
    assert not [kind for kind in kinds if issubclass(kind, Report | PredictionExport | ModelCheckpoint)]
    (line,) = [record.getMessage() for record in caplog.records if "Left out" in record.getMessage()]
    for name in ("RetrievalReport", "CodeExport", "CheckpointArtifact", "ModelCheckpoint"):
        assert name in line


@pytest.mark.processes
def test_a_checkpoint_that_chooses_is_kept(in_tmp: Path) -> None:
    write_config(in_tmp / "mine.yaml", monitor="val/mAP", mode="max")
    kept = run(in_tmp).trainer.checkpoint_callbacks
    assert [callback.monitor for callback in kept if isinstance(callback, ModelCheckpoint)] == ["val/mAP"]


def test_an_early_stop_in_a_config_stops_the_cell(in_tmp: Path) -> None:
    write_config(in_tmp / "mine.yaml")
    config = yaml.safe_load((in_tmp / "mine.yaml").read_text())
    config["trainer"]["max_epochs"] = 6
    config["trainer"]["callbacks"] = [
        {"class_path": "callbacks.CodebookRefit"},
        {
            "class_path": "pytorch_lightning.callbacks.EarlyStopping",
            "init_args": {"monitor": "train/loss", "min_delta": 1e6, "patience": 1, "check_on_train_epoch_end": True},
        },
    ]
    (in_tmp / "mine.yaml").write_text(yaml.safe_dump(config))
    epochs: list[int] = []
    cell = Cell("mine", "log_mel", 4, 0, 0, None, (f"--config={in_tmp / 'mine.yaml'}", *SMALL))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CodebookRefit, "on_train_epoch_end", lambda *_: epochs.append(0), raising=False)
        assert run_cell(cell, in_tmp / "run").mean_ap > 0
    assert len(epochs) == 2
