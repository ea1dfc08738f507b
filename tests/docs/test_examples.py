"""The examples of the manual run from a folder outside the repository, as the page on extending says."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import reproduce
import train
from tests.docs.pages import DOCS, ROOT
from tests.replicas.audio_folder import make_audio_folder

PACKAGE = "my_package"
SOUNDS = ("--config=data/audio_folder.yaml", "--data.root=sounds", "--data.labels_per_class=2")
LOG_MEL = "--model.preprocessing.frontend=lightning_modules.frontends.LogMelStatistics"
QUICK = (
    "--trainer.max_epochs=1", "--trainer.check_val_every_n_epoch=1", "--trainer.logger=false",
    "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--test_after_fit=false",
)  # fmt: skip


@pytest.fixture
def outside(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder, with the package and some sounds."""
    shutil.copytree(DOCS / "examples" / PACKAGE, in_tmp / PACKAGE)
    monkeypatch.syspath_prepend(str(in_tmp))
    monkeypatch.setenv("EARMARK_TRUSTED_PACKAGES", PACKAGE)
    make_audio_folder(in_tmp / "sounds")
    return in_tmp


def test_loss_network_and_front_end(outside: Path) -> None:
    train.main(
        [
            "fit", "--config=demo.yaml", *SOUNDS, *QUICK,
            "--model.preprocessing.frontend=my_package.frontend.OctaveEnergies",
            "--model.preprocessing.frontend.num_octaves=6",
            "--model.similarity_loss=my_package.loss.CosineHingeLoss",
            "--model.network=my_package.network.ResidualMlp", "--model.network.num_blocks=1",
            "--model.num_codewords=4", "--model.num_bits=8",
        ]
    )  # fmt: skip
    assert list(outside.glob("checkpoints/demo/*/last.ckpt"))


def test_code(outside: Path) -> None:
    train.main(
        [
            "fit", "--config=baselines/itq.yaml", *SOUNDS, *QUICK, LOG_MEL,
            "--model.coder=my_package.code.MedianCutHash", "--model.num_bits=8",
        ]
    )  # fmt: skip
    assert list(outside.glob("checkpoints/itq/*/last.ckpt"))


def test_corpus(outside: Path) -> None:
    clips = sorted((outside / "sounds").glob("*/*"))
    with (outside / "sounds" / "calls.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["filename", "species", "place"])
        for number, path in enumerate(clips):
            table.writerow([f"{path.parent.name}/{path.name}", path.parent.name, "marsh" if number % 4 else "forest"])
    cli = train.main(
        [
            "fit", "--config=baselines/itq.yaml", *QUICK, LOG_MEL, "--model.num_bits=8",
            "--data=my_package.corpus.BirdCalls", "--data.root=sounds", "--data.place=forest",
            "--data.labels_per_class=2", "--data.batch_size=4",
        ]
    )  # fmt: skip
    assert cli.datamodule.data_name == "bird calls"
    assert len(cli.datamodule.roles.query) == len(clips) / 4


@pytest.mark.processes
def test_paper(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = ["median_cut", "--bits=4", "--data_config=data/audio_folder.yaml", "--workers=1", "--no_wandb"]
    assert reproduce.main([*cells, "--data.root=sounds", "--data.labels_per_class=2", LOG_MEL]) == 0
    table = next(outside.glob("runs/reproduce/median_cut/median_cut.csv")).read_text(encoding="utf-8")
    assert [line.partition(",")[0] for line in table.splitlines()] == ["mAP in %", "ITQ", "median cut"]
    assert "median cut" in capsys.readouterr().out


@pytest.mark.processes
def test_a_config_as_a_user_starts_it(outside: Path) -> None:
    shutil.copy(DOCS / "examples" / "my_dqn.yaml", outside)
    command = [sys.executable, str(ROOT / "train.py"), "fit", "--config", "my_dqn.yaml", *SOUNDS, *QUICK]
    environment = os.environ | {"PYTHONPATH": str(outside), "EARMARK_TRUSTED_PACKAGES": PACKAGE}
    ended = subprocess.run(
        [*command, "--model.num_codewords=4", "--model.num_bits=8"],
        env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    config = next(outside.glob("runs/my_dqn/*/config.yaml")).read_text(encoding="utf-8")
    assert "my_package.loss.CosineHingeLoss" in config
    assert "LogMelStatistics" in config  # of demo.yaml
