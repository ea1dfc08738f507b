"""A fit that was stopped goes on and ends as if it had not been, for every module, bit by bit."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_limits

import train
from callbacks.stopping.stop_signals import Preempted
from experiments.command.cli import EarmarkCli
from experiments.command.run_folder import RunFolderError
from tests.experiments.interrupted_fit import StopBefore, differences, read
from tests.replicas.esc50 import make_esc50
from tests.replicas.fma import make_fma
from tests.replicas.musan import make_musan
from tests.replicas.sonyc_ust import make_sonyc_ust

QUIET = ("--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
         "--trainer.accelerator=cpu", "--trainer.devices=1", "--test_after_fit=false")  # fmt: skip
KEEPER: dict[str, object] = {
    "class_path": "pytorch_lightning.callbacks.ModelCheckpoint",
    "init_args": {"filename": "last", "save_on_train_epoch_end": True},
}


@pytest.fixture(autouse=True)
def one_thread(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compute on one thread: networks as small as these wait for a second longer than it works."""
    monkeypatch.setenv("EARMARK_TRUSTED_PACKAGES", "tests")  # configs name callbacks of these
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


def tracks(folder: Path, prefix: str) -> list[str]:
    """Return options of a corpus of tracks, whose replica is made where it is not there."""
    if not (folder / "fma").is_dir():
        make_fma(folder / "fma", seconds=3.0)
        make_musan(folder / "musan")
    return [
        f"--{prefix}.root={folder / 'fma'}", f"--{prefix}.noise.root={folder / 'musan'}",
        f"--{prefix}.cache_dir={folder / 'cache'}", f"--{prefix}.queries.kinds=[noise]",
        f"--{prefix}.queries_per_condition=5", f"--{prefix}.rooms.num_train=2", f"--{prefix}.rooms.seconds=0.2",
    ]  # fmt: skip


def dqn(folder: Path) -> list[str]:
    return [
        "--config=demo.yaml", "--data.clips_per_class=10", "--data.labels_per_class=4", "--data.batch_size=8",
        "--model.num_bits=8", "--data.passes_per_epoch=1", "--trainer.check_val_every_n_epoch=2",
    ]  # fmt: skip


def vae(folder: Path) -> list[str]:
    narrow = [f"--model.{network}.init_args.channels=[4,4,4,4]" for network in ("encoder", "decoder")]
    replica = make_esc50(folder / "esc50", num_classes=5, clips_per_fold=2)
    return [
        "--config=vae_small.yaml", f"--data.root={replica}", "--data.batch_size=8", "--model.latent_dim=3", *narrow,
        "--data.passes_per_epoch=1", "--trainer.check_val_every_n_epoch=2",
    ]  # fmt: skip


def siamese(folder: Path) -> list[str]:
    replica = make_sonyc_ust(folder / "sonyc", seconds=0.5)
    return [
        "--config=siamese.yaml", f"--data.root={replica}",
        "--model.preprocessing.frontend=lightning_modules.frontends.LogMel",
        "--data.frames_per_clip=8", "--data.batch_size=16", "--data.partners_each=2", "--data.partners=random",
        "--trainer.limit_train_batches=4",
    ]  # fmt: skip


def fingerprinter(folder: Path) -> list[str]:
    return [
        "--config=fingerprinter_small.yaml", *tracks(folder, "data"), "--data.batch_size=4",
        "--data.segments_per_epoch=16", "--model.encoder.num_layers=1", "--model.encoder.feedforward_dim=16",
        "--model.encoder.dropout=0.1", "--model.fingerprint_dim=16", "--trainer.check_val_every_n_epoch=2",
    ]  # fmt: skip


def flowhash(folder: Path) -> list[str]:
    checkpoint = folder / "fingerprinter" / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file():
        fit(folder, "fingerprinter", fingerprinter(folder), 1)
    return [
        "--config=flowhash.yaml", *tracks(folder, "data.corpus"), f"--data.cache_dir={folder / 'cache'}",
        f"--data.fingerprinter.checkpoint={checkpoint}", "--data.corpus.batch_size=8", "--data.batch_size=8",
        "--data.corpus.segments_per_track=8", "--data.num_views=2", "--model.num_bits=8",
        "--model.projection_epochs=1", "--model.projection.standardize=true", "--model.recenter=medians",
        "--trainer.check_val_every_n_epoch=2",
    ]  # fmt: skip


def fit(
    folder: Path, name: str, arguments: Sequence[str], num_epochs: int, *further: str, stop_before: int | None = None
) -> EarmarkCli:
    """Fit into a folder's subfolder, with the callbacks of the config that learn."""
    callbacks: list[dict[str, object]] = [KEEPER]
    if name.startswith("siamese"):
        chooser = {"monitor": "val/situation_accuracy", "mode": "max", "max_epochs": 2, "patience": 2}
        callbacks.append({"class_path": "callbacks.RetrainOnEverything", "init_args": chooser})
    if name.startswith("dqn"):
        callbacks.append({"class_path": "callbacks.CodebookRefit"})
    if name.startswith("vae"):
        callbacks.append({"class_path": "callbacks.BetaWarmup", "init_args": {"num_epochs": 5}})
    if stop_before is not None:
        path = f"{StopBefore.__module__}.{StopBefore.__qualname__}"
        callbacks.append({"class_path": path, "init_args": {"step": stop_before}})
    return train.main([
        "fit", *arguments, *QUIET, f"--trainer.max_epochs={num_epochs}", f"--trainer.callbacks={json.dumps(callbacks)}",
        f"--trainer.default_root_dir={folder / name}", *further,
    ])  # fmt: skip


# in the second epoch of each, in the middle and before its last batch; a siamese fit trains its trial's epochs first
@pytest.mark.parametrize(
    ("system", "num_epochs", "stops"),
    [(dqn, 3, (7, 9)), (vae, 3, (9,)), (siamese, 4, (5, 10)), (fingerprinter, 3, (5, 7)), (flowhash, 3, (4, 5))],
)
def test_a_stopped_fit_ends_as_one_that_was_not(
    system: Callable[[Path], list[str]], num_epochs: int, stops: tuple[int, ...], in_tmp: Path
) -> None:
    arguments, name = system(in_tmp), system.__name__
    cli = fit(in_tmp, f"{name}-whole", arguments, num_epochs)
    per_epoch = int(cli.trainer.num_training_batches)
    assert any(stop > per_epoch for stop in stops)
    whole = read(in_tmp / f"{name}-whole")
    for stop in stops:
        stopped = in_tmp / f"{name}-{stop}"
        with pytest.raises(Preempted):
            fit(in_tmp, stopped.name, arguments, num_epochs, stop_before=stop)
        torch.rand(5)  # another process draws other numbers
        fit(in_tmp, stopped.name, arguments, num_epochs, "--ckpt_path=resume")
        assert differences(whole, read(stopped)) == []


def test_what_resume_does(in_tmp: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    arguments = dqn(in_tmp)
    with pytest.raises(Preempted):
        fit(in_tmp, "dqn", arguments, 2, "--ckpt_path=resume", stop_before=2)  # there is nothing yet: it starts
    with pytest.raises(RunFolderError, match=r"another: model\.init_args\.num_bits was 8 and is 12\."):
        fit(in_tmp, "dqn", [*arguments, "--model.num_bits=12"], 2, "--ckpt_path=resume")
    # a damaged state is named, and the one before is taken
    checkpoints = in_tmp / "dqn" / "checkpoints"
    shutil.copy(checkpoints / "resume.ckpt", checkpoints / "resume-before.ckpt")
    content = (checkpoints / "resume.ckpt").read_bytes()
    (checkpoints / "resume.ckpt").write_bytes(content[: len(content) // 2])
    cli = fit(in_tmp, "dqn", arguments, 2, "--ckpt_path=resume")
    assert f"{Path('dqn') / 'checkpoints' / 'resume.ckpt'} is damaged" in caplog.text
    assert cli.trainer.global_step == 10
    # a requeued job goes on without being told, and finds that all is done
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")  # what Lightning takes for no job of its own
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    cli = fit(in_tmp, "dqn", arguments, 2)
    assert cli.config["fit"]["ckpt_path"].endswith("last.ckpt")
    assert cli.trainer.global_step == 10
    # also where it began from another run's checkpoint
    other = Path(shutil.copy(checkpoints / "resume-before.ckpt", in_tmp / "other.ckpt"))
    cli = fit(in_tmp, "dqn", arguments, 2, f"--ckpt_path={other}")
    assert Path(cli.config["fit"]["ckpt_path"]).name == "last.ckpt"
    # a run that begins anew in the folder leaves no earlier run's checkpoint under the name of its own
    monkeypatch.setenv("SLURM_RESTART_COUNT", "0")
    fit(in_tmp, "dqn", arguments, 1)
    assert read(in_tmp / "dqn")["global_step"] == 5
    assert not list(checkpoints.glob("last-*"))


def test_the_config_a_run_leaves_is_enough_to_go_on(in_tmp: Path) -> None:
    with pytest.raises(Preempted):
        fit(in_tmp, "dqn", dqn(in_tmp), 2, stop_before=2)
    cli = train.main(["fit", f"--config={in_tmp / 'dqn' / 'config.yaml'}", "--ckpt_path=resume"])
    assert cli.trainer.global_step == 10  # had it begun anew, its callback would have stopped it again
