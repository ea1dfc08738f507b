"""The command line: config names, run folders, every shipped config, checkpoints, several processes."""

import contextlib
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import train
from callbacks.reports.query_scores import read_query_scores
from experiments.command.cli import EarmarkCli
from experiments.command.configs import CONFIG_FOLDER
from retrieval.codes import load_coder
from tests.experiments.arguments import SILENT
from tests.lightning_modules.frontends.pretrained.test_yamnet import write_keras_release
from tests.replicas.audio_folder import make_audio_folder
from tests.replicas.esc50 import make_esc50
from tests.replicas.fsd_kaggle2018 import make_fsd_kaggle2018

ROOT = Path(__file__).resolve().parents[3]
# models of other corpora have tests of their own
ELSEWHERE = ("vae", "siamese", "fingerprinter", "flowhash")
CONFIGS = sorted(path.name for path in CONFIG_FOLDER.glob("*.yaml") if not path.name.startswith(ELSEWHERE))
VAES = sorted(path.name for path in CONFIG_FOLDER.glob("vae*.yaml"))
OTHER_DATA = {"sonyc_ust.yaml", "fma.yaml", "librispeech.yaml", "music_folder.yaml"}
DATA = sorted({path.name for path in (CONFIG_FOLDER / "data").glob("*.yaml")} - OTHER_DATA)
BASELINES = sorted(path.name for path in (CONFIG_FOLDER / "baselines").glob("*.yaml"))
# the replica has 80 clips to fit on
SMALL_CODES = {
    "agh.yaml": ["--model.coder.init_args.num_anchors=20"],
    "klsh.yaml": ["--model.coder.init_args.num_landmarks=20", "--model.coder.init_args.num_summed=5"],
    "pq.yaml": ["--model.coder.init_args.num_codewords=4"],
    "opq.yaml": ["--model.coder.init_args.num_codewords=4", "--model.coder.init_args.num_rotations=1"],
    "rq.yaml": ["--model.coder.init_args.num_codewords=4"],
}
LAST = "run/checkpoints/last.ckpt"
CHECKPOINT = f"--ckpt_path={LAST}"
# demo.yaml on 100 rendered clips, four epochs
SMALL_DEMO = ["--config=demo.yaml", "--data.clips_per_class=10", "--data.labels_per_class=4", "--trainer.max_epochs=4",
              "--trainer.check_val_every_n_epoch=2", "--model.num_bits=8", "--data.passes_per_epoch=2"]  # fmt: skip


def results(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads((folder / "report" / "results.json").read_text())
    return rows


@pytest.fixture(scope="module")
def finished_fit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a small fit once; its folder has corpus, cache, checkpoint and report."""
    folder = tmp_path_factory.mktemp("fit")
    with contextlib.chdir(folder):
        demo("fit", "run")
    return folder


def demo(command: str, folder: str, *further: str) -> EarmarkCli:
    return train.main([command, *SMALL_DEMO, *SILENT, f"--trainer.default_root_dir={folder}", *further])


@pytest.fixture
def beside_fit(finished_fit: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in the folder of the finished fit."""
    monkeypatch.chdir(finished_fit)
    return finished_fit


@pytest.mark.parametrize("config", CONFIGS)
def test_every_config_fits_and_tests(config: str, in_tmp: Path) -> None:
    write_keras_release(in_tmp / "yamnet.h5")
    replica = make_esc50(in_tmp / "corpus", num_classes=5, clips_per_fold=4)
    arguments = [f"--config={config}", *SILENT, f"--trainer.default_root_dir={in_tmp / 'run'}"]
    if config == "demo.yaml":
        arguments += ["--data.clips_per_class=10", "--model.num_codewords=4"]
    else:
        arguments += [f"--data.root={replica}", f"--model.preprocessing.frontend.weights={in_tmp / 'yamnet.h5'}",
                      "--model.num_bits=8", "--model.num_codewords=4", "--data.batch_size=8",
                      "--data.labels_per_class=2"]  # fmt: skip
    cli = train.main(["fit", *arguments, "--trainer.fast_dev_run=true"])
    assert cli.trainer.state.finished
    rows = results(in_tmp / "run")
    assert [row["method"] for row in rows][1:] == ["PQ", "PQ, L2-normalised", "exact cosine"]
    cli = train.main(["test", *arguments, "--trainer.fast_dev_run=true", f"--ckpt_path={save(cli, in_tmp)}"])
    assert results(in_tmp / "run")[1:] == rows[1:]


@pytest.mark.parametrize("config", VAES)
def test_every_vae_fits_tests_and_embeds(config: str, in_tmp: Path) -> None:
    replica = make_esc50(in_tmp / "corpus", num_classes=5, clips_per_fold=4)
    arguments = [f"--config={config}", *SILENT, f"--data.root={replica}", "--data.batch_size=8", "--model.latent_dim=3"]
    arguments += [f"--model.{network}.init_args.channels=[4,4,4,4]" for network in ("encoder", "decoder")]
    if config == "vae.yaml":  # pictures of 256 x 256 take half a minute
        arguments += [f"--model.preprocessing.frontend.num_{axis}=64" for axis in ("bins", "frames")]
        arguments += ["--data.frames_per_clip=64", "--model.window_frames=64"]
    short = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.check_val_every_n_epoch=1"]
    cli = train.main(["fit", *arguments, *short, f"--trainer.default_root_dir={in_tmp / 'fit'}"])
    assert cli.trainer.state.finished
    rows = results(in_tmp / "fit")
    assert [row["method"] for row in rows] == ["Vae, 3 floats", "exact cosine"]
    assert rows[0]["num_bits"] == 96
    assert (in_tmp / "fit" / "report" / "reconstructions.png").is_file()
    checkpoint = in_tmp / "fit" / "checkpoints" / "last.ckpt"
    train.main(["predict", *arguments, f"--ckpt_path={checkpoint}", f"--trainer.default_root_dir={in_tmp / 'codes'}"])
    embeddings = np.load(in_tmp / "codes" / "codes" / "embeddings.npy")
    assert embeddings.shape == (100, 3)
    assert np.isfinite(embeddings).all()
    assert not (in_tmp / "codes" / "codes" / "codes.npy").exists()


@pytest.mark.parametrize("config", BASELINES)
def test_every_baseline_is_fitted_kept_and_exported(config: str, in_tmp: Path) -> None:
    write_keras_release(in_tmp / "yamnet.h5")
    replica = make_esc50(in_tmp / "corpus", num_classes=5, clips_per_fold=4)
    arguments = [f"--config=baselines/{config}", *SILENT, f"--data.root={replica}", "--model.num_bits=6",
                 f"--model.preprocessing.frontend.weights={in_tmp / 'yamnet.h5'}", "--data.labels_per_class=2",
                 *SMALL_CODES.get(config, [])]  # fmt: skip
    cli = train.main(["fit", *arguments, f"--trainer.default_root_dir={in_tmp / 'fit'}"])
    assert cli.trainer.state.finished
    rows = results(in_tmp / "fit")
    assert [row["method"] for row in rows][1:] == ["exact cosine"]
    checkpoint = in_tmp / "fit" / "checkpoints" / "last.ckpt"
    train.main(["test", *arguments, f"--ckpt_path={checkpoint}", f"--trainer.default_root_dir={in_tmp / 'test'}"])
    assert results(in_tmp / "test") == rows
    train.main(["predict", *arguments, f"--ckpt_path={checkpoint}", f"--trainer.default_root_dir={in_tmp / 'codes'}"])
    embeddings = torch.from_numpy(np.load(in_tmp / "codes" / "codes" / "embeddings.npy"))
    coder = load_coder(in_tmp / "codes" / "codes" / "coder.safetensors")
    assert len(coder.encode(embeddings)) == 100


def save(cli: EarmarkCli, folder: Path) -> Path:
    """Save a checkpoint of a dev run, which saves none itself."""
    cli.trainer.strategy.connect(cli.model)
    path = folder / "dev.ckpt"
    torch.save({"state_dict": cli.model.state_dict(), "pytorch-lightning_version": "2.6.0"}, path)
    return path


@pytest.mark.parametrize("config", DATA)
def test_data_configs_layer_over_a_model(config: str, in_tmp: Path) -> None:
    root = in_tmp / "corpus"
    frontend = [f"--model.preprocessing.frontend.weights={in_tmp / 'yamnet.h5'}"]
    if config == "audio_folder.yaml":
        make_audio_folder(root)
    elif config == "fsd_kaggle2018.yaml":
        make_fsd_kaggle2018(root)
    elif config == "rendered_events.yaml":
        frontend = ["--data.clips_per_class=10"]
    else:
        make_esc50(root, num_classes=50 if config == "esc10.yaml" else 3, clips_per_fold=1)
    write_keras_release(in_tmp / "yamnet.h5")
    cli = train.main(
        ["fit", "--config=dqn.yaml", f"--config=data/{config}", *SILENT, "--trainer.fast_dev_run=true",
         f"--data.root={root}", *frontend, "--data.labels_per_class=2",
         "--model.num_codewords=2", "--model.num_bits=4", f"--trainer.default_root_dir={in_tmp / 'run'}"]
    )  # fmt: skip
    assert cli.trainer.state.finished
    expected = {
        "audio_folder.yaml": "corpus", "esc10.yaml": "ESC-10", "esc50.yaml": "ESC-50",
        "fsd_kaggle2018.yaml": "FSDKaggle2018", "rendered_events.yaml": "rendered events",
    }[config]  # fmt: skip
    assert results(in_tmp / "run")[0]["data"] == expected


def test_a_fit_leaves_config_checkpoint_and_report(finished_fit: Path) -> None:
    run = finished_fit / "run"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["seed_everything"] == 0
    assert config["model"]["init_args"]["num_bits"] == 8
    assert sorted(path.name for path in (run / "report").iterdir()) == [
        "embeddings.png", "map_at_r.png", "nearest_neighbour_confusion.png", "queries.csv", "results.csv",
        "results.json",
    ]  # fmt: skip
    with (run / "report" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["AudioDqn, 8 bits", "PQ", "PQ, L2-normalised", "exact cosine"]
    assert all(0 < float(row["mAP"]) <= 1 for row in rows)
    assert {row["data"] for row in rows} == {"rendered events"}
    scores = read_query_scores(run / "report")["mAP"]
    assert sum(scores.values()) / len(scores) == pytest.approx(float(rows[0]["mAP"]))
    assert all(name.startswith("audio/1-") for name in scores)  # the clips of fold 1
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert bool(checkpoint["state_dict"]["quantizer._is_fitted"])


def test_a_checkpoint_gives_its_test_numbers_again(beside_fit: Path) -> None:
    demo("test", "again", CHECKPOINT)
    assert results(Path("again")) == results(Path("run"))


def test_a_checkpoint_keeps_its_options_and_changes_none(beside_fit: Path) -> None:
    kept = torch.load(LAST, weights_only=True)["hyper_parameters"]
    assert kept["_class_path"] == "lightning_modules.AudioDqn"
    assert kept["num_classes"] == 10  # of the data module
    assert kept["preprocessing"]["standardize"]
    cli = demo("test", "given", "--model.quantization_weight=0.5", "--model.scoring.ties=best", CHECKPOINT)
    assert (cli.model.quantization_weight, cli.model.scoring.ties) == (0.5, "best")


def test_the_same_seed_trains_the_same_model(beside_fit: Path) -> None:
    demo("fit", "repeated")
    paths = (LAST, LAST.replace("run", "repeated"))
    first, second = (torch.load(path, weights_only=True)["state_dict"] for path in paths)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_fit_goes_on_from_its_checkpoint(beside_fit: Path) -> None:
    cli = demo("fit", "longer", "--trainer.max_epochs=6", CHECKPOINT)
    assert cli.trainer.current_epoch == 6


def test_mixed_precision_trains(beside_fit: Path) -> None:
    demo("fit", "mixed", "--trainer.precision=bf16-mixed", "--trainer.accelerator=cpu")
    full, mixed = (float(str(results(Path(name))[0]["mAP"])) for name in ("run", "mixed"))
    assert mixed == pytest.approx(full, abs=0.1)


def test_codebooks_saved_are_those_of_the_last_weights(beside_fit: Path) -> None:
    cli = demo("validate", "validated", CHECKPOINT)
    model, data = cli.model.eval(), cli.datamodule
    train_items = data.role_dataset("train")
    features = train_items.__getitems__(range(len(train_items)))["feature"]
    embeddings = model(model.preprocessing(features))
    before = model.quantizer.describe_fit(embeddings).distortion
    # k-means from there, on the very embeddings it was fitted to, has next to nothing left to gain
    assert model.quantizer.fit(embeddings).distortion > 0.9 * before


def test_predict_writes_all_items(beside_fit: Path) -> None:
    demo("predict", "run", CHECKPOINT)
    codes = beside_fit / "run" / "codes"
    assert np.load(codes / "codes.npy").shape == (100, 2)
    assert np.load(codes / "embeddings.npy").shape == (100, 16)
    with (codes / "items.csv").open(encoding="utf-8") as file:
        assert [int(row["item_index"]) for row in csv.DictReader(file)] == list(range(100))


def run_train(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EARMARK_")}
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


@pytest.mark.processes
def test_two_processes_make_one_run(finished_fit: Path) -> None:
    # what they compute is compared with one process in test_several_processes.py
    folder = finished_fit / "ddp"
    arguments = ["fit", *SMALL_DEMO, *SILENT[1:], "--trainer.devices=2", "--trainer.strategy=ddp"]
    done = run_train([*arguments, "--trainer.accelerator=cpu", f"--trainer.default_root_dir={folder}"], finished_fit)
    assert done.returncode == 0, done.stderr
    assert float(str(results(folder)[0]["mAP"])) > 0.2  # ten classes: chance is about 0.1
    assert len(list(folder.glob("wandb/offline-run-*/run-*.wandb"))) == 1
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["last.ckpt"]
    assert len(list((finished_fit / "cache").glob("renderedevents-*/frames.npy"))) == 1


@pytest.mark.processes
def test_a_missing_corpus_ends_with_one_line(in_tmp: Path) -> None:
    done = run_train(["fit", "--config=dqn.yaml", "--data.root=nowhere", *SILENT], in_tmp)
    assert done.returncode == 1
    assert done.stderr.rstrip().splitlines()[-1].startswith("error: Expected ESC-50 in")
    assert "demo.yaml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.processes
def test_an_offline_run_shows_everything(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = [*SMALL_DEMO, *SILENT[1:], "--trainer.log_every_n_steps=1"]
    done = run_train(["fit", *shown], in_tmp)
    assert done.returncode == 0, done.stderr
    (run_file,) = in_tmp.glob("runs/demo/*/wandb/offline-run-*/run-*.wandb")
    inspected = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run_file)],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    for key in (
        "train/similarity_loss", "train/quantization_loss", "val/mAP", "val/effective_rank", "val/mean_cosine",
        "codebook/perplexity", "codebook/used_fraction", "codebook/distortion", "test/mAP@10", "report/results",
        "report/map_at_r", "report/embeddings", "report/heard", "report/nearest_neighbour_confusion", "data_name",
        "rendered events",
    ):  # fmt: skip
        assert key in inspected, key
    media = next(in_tmp.glob("runs/demo/*/wandb/offline-run-*/files/media"))
    assert len(list(media.rglob("*.wav"))) > 0
    assert len(list(media.rglob("*.png"))) == 3
    assert '"type":"model"' in inspected.replace(" ", "") or "audiodqn-" in inspected
    assert len(list(in_tmp.glob("checkpoints/demo/*/last.ckpt"))) == 1
