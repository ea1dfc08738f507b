"""What is wrong with files and disks ends train.py with one line; what is wrong with the program does not."""

import errno
import runpy
import sys

import pytest

from datamodules import DatasetError
from experiments.command import cli as command
from experiments.command.configs import ConfigNotFound
from experiments.command.wandb_mode import WandbRefused
from lightning_modules.checkpoints import CheckpointError
from lightning_modules.frontends.pretrained.release import WeightsError
from lightning_modules.trusted_classes import UntrustedClass
from sound.errors import AudioFileError
from storage.errors import FileDamaged, FileNotWritten
from tests.test_imports import ROOT


def run(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(arguments: object) -> None:
        raise error

    monkeypatch.setattr(command, "run_command", fail)
    monkeypatch.setattr(sys, "argv", ["train.py", "fit", "--config", "demo.yaml"])
    runpy.run_path(str(ROOT / "train.py"), run_name="__main__")


@pytest.mark.parametrize(
    "kind",
    [
        AudioFileError,
        CheckpointError,
        ConfigNotFound,
        DatasetError,
        FileDamaged,
        FileNotWritten,
        UntrustedClass,
        WandbRefused,
        WeightsError,
    ],
)
def test_an_error_of_ours_is_one_line(monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, kind("expected this, found that"))
    assert caught.value.code == "\nerror: expected this, found that"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line_wherever_it_shows(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, OSError(number, "full", "runs/a/config.yaml"))
    assert "runs/a/config.yaml" in str(caught.value.code)
    assert "--ckpt_path" in str(caught.value.code)


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "not yours"), ValueError("a bug")])
def test_other_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    with pytest.raises(type(error)):
        run(monkeypatch, error)
