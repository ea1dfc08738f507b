"""The examples of the manual run from a folder outside the repository, as the page on extending says."""

import shutil
from pathlib import Path

import pytest

import train
from tests.docs.pages import DOCS
from tests.replicas.audio_folder import make_audio_folder

PACKAGE = "my_package"
QUICK = (
    "--config=data/audio_folder.yaml", "--data.root=sounds", "--data.labels_per_class=2", "--trainer.max_epochs=1",
    "--trainer.check_val_every_n_epoch=1", "--trainer.logger=false", "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false", "--test_after_fit=false",
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
            "fit", "--config=demo.yaml", *QUICK, "--model.preprocessing.frontend=my_package.frontend.OctaveEnergies",
            "--model.preprocessing.frontend.num_octaves=6", "--model.similarity_loss=my_package.loss.CosineHingeLoss",
            "--model.network=my_package.network.ResidualMlp", "--model.network.num_blocks=1",
            "--model.num_codewords=4", "--model.num_bits=8",
        ]
    )  # fmt: skip
    assert list(outside.glob("checkpoints/demo/*/last.ckpt"))


def test_code(outside: Path) -> None:
    train.main(
        [
            "fit", "--config=baselines/itq.yaml", *QUICK,
            "--model.preprocessing.frontend=lightning_modules.frontends.LogMelStatistics",
            "--model.coder=my_package.code.MedianCutHash", "--model.num_bits=8",
        ]
    )  # fmt: skip
    assert list(outside.glob("checkpoints/itq/*/last.ckpt"))
