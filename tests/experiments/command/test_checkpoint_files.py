"""The trainer's checkpoints under faults: a full disk, files cut off, code in them, classes of strangers."""

import tempfile
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import train
from experiments.command.checkpoint_files import CheckpointFiles
from experiments.command.cli import RunConfig
from experiments.command.configs import find_config, read_config
from lightning_modules.checkpoints import CheckpointError, read_checkpoint
from lightning_modules.trusted_classes import UntrustedClass
from storage.errors import FileNotWritten
from tests.faults import cut, limited_file_size, names, small_disk
from tests.lightning_modules.test_checkpoints import Hostile
from tests.trainers import quiet_trainer


class Learner(pl.LightningModule):
    """Takes up 40 KB, and from the second epoch on a multiple of it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(10_000))
        self.growth = 0

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return (self.weight - batch[0]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        checkpoint["growth"] = torch.zeros(10_000 * self.current_epoch)


def fit(folder: Path, num_epochs: int, resumed: str | None = None) -> pl.Trainer:
    keeper = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True)
    trainer = quiet_trainer(keeper, max_epochs=num_epochs, plugins=[CheckpointFiles()])
    trainer.fit(Learner(), DataLoader(TensorDataset(torch.ones(2, 1))), ckpt_path=resumed, weights_only=True)
    return trainer


def test_a_full_disk_leaves_the_checkpoint_before_to_go_on_from(tmp_path: Path) -> None:
    last = tmp_path / "last.ckpt"
    with limited_file_size(90_000), pytest.raises(CheckpointError, match="expected to write it whole, found") as caught:
        fit(tmp_path, 5)
    assert "the earlier one is as it was" in str(caught.value)
    assert f"--ckpt_path {last}" in str(caught.value)
    assert names(tmp_path) == {"last.ckpt"}
    kept = read_checkpoint(last)
    assert kept["epoch"] < 4
    assert fit(tmp_path, 5, str(last)).current_epoch == 5
    assert read_checkpoint(last)["epoch"] == 4
    assert names(tmp_path) == {"last.ckpt"}


@pytest.mark.processes
def test_a_disk_that_is_really_full_does_too(tmp_path: Path) -> None:
    """The folder of temporary files is on another disk here, as on most clusters."""
    with small_disk(tmp_path / "disk", 200) as disk:
        with pytest.raises(CheckpointError, match="No space left on device"):
            fit(disk, 5)
        assert names(disk) == {"last.ckpt"}
        assert read_checkpoint(disk / "last.ckpt")["epoch"] < 4


def test_a_full_folder_of_temporary_files_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    fit(tmp_path / "run", 1)
    assert read_checkpoint(tmp_path / "run" / "last.ckpt")["epoch"] == 0


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    files, content = CheckpointFiles(), {"state_dict": {"a": torch.arange(3)}, "epoch": 1}
    files.save_checkpoint(content, tmp_path / "new" / "a.ckpt")
    found = files.load_checkpoint(str(tmp_path / "new" / "a.ckpt"), weights_only=None)
    assert found["epoch"] == 1
    assert torch.equal(found["state_dict"]["a"], torch.arange(3))
    torch.save({"state_dict": {"a": Hostile("touch ran")}}, tmp_path / "b.ckpt")
    with pytest.raises(CheckpointError, match="found code or objects"):
        files.load_checkpoint(tmp_path / "b.ckpt", weights_only=False)
    with pytest.raises(CheckpointError, match="found no file there"):
        files.load_checkpoint(tmp_path / "c.ckpt")


@pytest.mark.parametrize(("command", "damage"), [("fit", "cut"), ("test", "code")])
def test_the_command_refuses_a_bad_checkpoint_before_it_begins(in_tmp: Path, command: str, damage: str) -> None:
    torch.save(
        {"state_dict": {}, "hyper_parameters": {"a": Hostile("touch ran")} if damage == "code" else {}}, "a.ckpt"
    )
    if damage == "cut":
        cut(Path("a.ckpt"), 1)
    message = {"cut": "found something else or a part of one", "code": "found code or objects"}[damage]
    with pytest.raises(CheckpointError, match=rf"a\.ckpt: expected .*{message}"):
        train.main([command, "--config=demo.yaml", "--ckpt_path=a.ckpt"])
    assert names(Path()) == {"a.ckpt"}


@pytest.mark.filterwarnings("ignore:(?s).*is not allowed, denied by the")
@pytest.mark.parametrize(
    ("section", "named"),
    [
        ("callbacks", {"class_path": "pytorch_lightning.callbacks.LambdaCallback",
                       "init_args": {"on_fit_start": "subprocess.getoutput"}}),
        ("callbacks", {"class_path": "tests.experiments.command.test_checkpoint_files.Stranger"}),
    ],
)  # fmt: skip
def test_the_command_makes_no_strangers_objects(in_tmp: Path, section: str, named: dict[str, object]) -> None:
    config = read_config(find_config("demo.yaml"))
    config["trainer"][section] = [named]
    Path("strange.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UntrustedClass, match=r"the config: expected classes of .*; found (subprocess|tests)"):
        train.main(["fit", "--config=strange.yaml"])
    assert names(Path()) == {"strange.yaml"}


class Stranger(pl.Callback):
    def __init__(self) -> None:
        raise AssertionError("was made")


def test_a_full_disk_leaves_no_half_config(tmp_path: Path) -> None:
    parser = LightningArgumentParser()
    parser.add_argument("--name", type=str)
    trainer = quiet_trainer(default_root_dir=tmp_path)

    def write(name: str) -> None:
        RunConfig(parser, parser.parse_args([f"--name={name}"])).setup(trainer, Learner(), "fit")

    write("earlier")
    with limited_file_size(1500), pytest.raises(FileNotWritten, match=r"config\.yaml: expected to write it whole"):
        write("x" * 2000)
    assert names(tmp_path) == {"config.yaml"}
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["name"] == "earlier"


def test_weights_that_a_forked_process_gives_back_are_read(tmp_path: Path) -> None:
    weights = {"weight": torch.arange(3.0)}
    for name in (".temp.ckpt", "other.ckpt"):
        torch.save(weights, tmp_path / name)
    assert torch.equal(CheckpointFiles().load_checkpoint(tmp_path / ".temp.ckpt")["weight"], weights["weight"])
    with pytest.raises(CheckpointError, match="found no state_dict"):
        CheckpointFiles().load_checkpoint(tmp_path / "other.ckpt")
