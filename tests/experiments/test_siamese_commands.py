"""Every config that compares pairs through the real command, on a replica of SONYC-UST."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import train
from callbacks import RetrainOnEverything
from experiments.command.configs import CONFIG_FOLDER
from tests.lightning_modules.frontends.pretrained.test_yamnet import write_keras_release
from tests.replicas.sonyc_ust import COARSE, make_sonyc_ust

CONFIGS = sorted(path.name for path in CONFIG_FOLDER.glob("siamese*.yaml"))
QUIET = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
LOG_MEL = ["--model.preprocessing.frontend=lightning_modules.frontends.LogMel", "--data.frames_per_clip=8"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sonyc_ust(tmp_path_factory.mktemp("sonyc") / "corpus", seconds=0.5)


def levels(folder: Path) -> dict[tuple[object, ...], float]:
    rows = json.loads((folder / "report" / "results.json").read_text())
    return {(row["method"], row["subset"], row["s"], row["k"]): row["mean"] for row in rows}


@pytest.mark.parametrize("config", CONFIGS)
def test_every_config_fits_and_tests(config: str, corpus: Path, in_tmp: Path) -> None:
    arguments = [f"--config={config}", *QUIET, f"--data.root={corpus}", f"--data.cache_dir={corpus.parent / 'cache'}"]
    arguments += ["--data.batch_size=8", f"--trainer.default_root_dir={in_tmp / 'run'}"]
    arguments += [] if config == "siamese_log_mel.yaml" else LOG_MEL  # YAMNet has a test of its own; VGGish no weights
    arguments.append("--trainer.callbacks=[]")  # two tests below have them; their figures take a while
    cli = train.main(["fit", *arguments, "--trainer.fast_dev_run=true"])
    assert cli.trainer.state.finished
    measured = {name: float(value) for name, value in cli.trainer.callback_metrics.items()}
    assert {f"test/mAP_{s}@{k}" for s in (8, 7) for k in (1, 5, 10, 30, 50, 100)} <= set(measured)
    assert all(np.isfinite(value) for value in measured.values())
    assert 0 <= measured["test/mAP_8@1"] <= measured["test/mAP_7@1"] <= 1


def test_the_data_config_layers_over_a_model(corpus: Path, in_tmp: Path) -> None:
    arguments = ["--config=siamese_plus.yaml", "--config=data/sonyc_ust.yaml", *QUIET, f"--data.root={corpus}"]
    cli = train.main(["fit", *arguments, *LOG_MEL, "--trainer.fast_dev_run=true", "--trainer.callbacks=[]"])
    assert cli.datamodule.pairs == "listed"


def test_yamnet_frames_two_steps_and_embeddings(corpus: Path, in_tmp: Path) -> None:
    write_keras_release(in_tmp / "yamnet.h5")
    arguments = ["--config=siamese.yaml", *QUIET, f"--data.root={corpus}", "--data.batch_size=8"]
    arguments += [f"--model.preprocessing.frontend.weights={in_tmp / 'yamnet.h5'}", "--data.frames_per_clip=2"]
    fit = ["fit", *arguments, f"--trainer.default_root_dir={in_tmp / 'fit'}", "--trainer.limit_train_batches=1"]
    cli = train.main(fit)
    assert cli.trainer.state.finished
    (chooser,) = [each for each in cli.trainer.callbacks if isinstance(each, RetrainOnEverything)]  # type: ignore[attr-defined]
    assert chooser.chosen_epochs is not None
    scores = levels(in_tmp / "fit")
    assert list(dict.fromkeys(method for method, *_ in scores))[1:] == ["cosine of mean features", "random order"]
    tested = cli.trainer.callback_metrics["test/mAP_8@1"]
    assert scores["ConcatenatedPairs", "all", 8, 1] == pytest.approx(float(tested))
    assert cli.datamodule.hold_out is False
    checkpoint = in_tmp / "fit" / "checkpoints" / "last.ckpt"
    kept = torch.load(checkpoint, weights_only=True)
    assert all(torch.equal(kept["state_dict"][name], value) for name, value in cli.model.state_dict().items())
    train.main(["predict", *arguments, f"--ckpt_path={checkpoint}", f"--trainer.default_root_dir={in_tmp / 'codes'}"])
    embeddings = np.load(in_tmp / "codes" / "codes" / "embeddings.npy")
    assert embeddings.shape == (34, 128)
    assert np.isfinite(embeddings).all()
    with (in_tmp / "codes" / "codes" / "items.csv").open(encoding="utf-8", newline="") as file:
        classes = {name for row in csv.DictReader(file) for name in row["class"].split(";")}
    assert classes <= {*COARSE, ""}


def test_a_first_stage_compares_few_and_ranks_all(corpus: Path, in_tmp: Path) -> None:
    arguments = ["fit", "--config=siamese_plus.yaml", *QUIET, f"--data.root={corpus}", *LOG_MEL]
    arguments += ["--data.batch_size=8", "--trainer.max_epochs=1", "--trainer.limit_train_batches=1"]
    cli = train.main([*arguments, "--model.num_candidates=3", f"--trainer.default_root_dir={in_tmp}"])
    outputs = cli.model.presence_outputs
    assert ((~outputs.level.isnan()).sum(dim=1) == 3).all()
    assert outputs.distances.isfinite().all()
    assert not (in_tmp / "report" / "first_stage.csv").exists()
