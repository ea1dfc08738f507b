"""Every module trains, tests and predicts in two processes as it does in one, through the real command."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from torch import Tensor

import train
from callbacks.exports.prediction_shards import shard_place
from lightning_modules import Vae
from tests.experiments.arguments import LOG_MEL, NARROW_ENCODER, SILENT, few_tracks, make_tracks
from tests.replicas.sonyc_ust import make_sonyc_ust
from tests.two_processes import ProcessDied, run_together

pytestmark = pytest.mark.processes

# Steps as long as their gradient, and short where layers are deep: Adam and RMSprop make whole steps of the last bits
# of small gradients, and batch normalisation of few rows spreads them.
STEPS = ("--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=0.01")
EVENTS = ("--config=data/rendered_events.yaml", "--data.clips_per_class=10", "--data.labels_per_class=4",
          "--data.passes_per_epoch=1")  # fmt: skip
KEEPS = ("--trainer.callbacks=pytorch_lightning.callbacks.ModelCheckpoint", "--trainer.callbacks.filename=last")
REFITS = (*KEEPS, "--trainer.callbacks+=callbacks.CodebookRefit")
GLOBAL_BATCH = 8
CODES, FINGERPRINTS = ("callbacks.CodeExport",), ("callbacks.FingerprintExport",)


@dataclass(frozen=True)
class Case:
    """A module on data small enough for a test.

    Attributes:
        arguments: Its command, the config first. There is no dropout, whose masks each process draws for its own rows.
        trained: What it logs in training.
        tested: What it logs in a test.
        callbacks: Of a fit; they leave `last.ckpt`.
        export: Callback that writes predictions.
    """

    arguments: tuple[str, ...]
    trained: tuple[str, ...]
    tested: tuple[str, ...]
    callbacks: tuple[str, ...] = KEEPS
    export: tuple[str, ...] = CODES


def find_checkpoint(run_folder: Path) -> Path:
    return run_folder / "checkpoints" / "last.ckpt"


def list_cases(root: Path) -> dict[str, Case]:
    """Return every module, and what has branches of its own in several processes; the fingerprinter comes first."""
    narrow = ("--model.encoder.channels=[4, 8]", "--model.encoder.strides=[2, 2]", "--model.encoder.hidden_dim=16",
              "--model.decoder.channels=[4, 8]", "--model.decoder.strides=[2, 2]", "--model.latent_dim=4")  # fmt: skip
    pairs = (f"--data.root={root / 'sonyc'}", *LOG_MEL, "--data.pairs_per_epoch=32", "--data.pairs=uniform",
             "--model.network.dropout=0", "--trainer.reload_dataloaders_every_n_epochs=1")  # fmt: skip
    hashed = (*few_tracks(root, "data.corpus"), "--data.corpus.queries.snr_db=[10]", "--data.corpus.batch_size=4",
              "--data.corpus.segments_per_track=8", "--data.num_views=2",
              f"--data.fingerprinter.checkpoint={find_checkpoint(root / 'one' / 'fingerprinter')}",
              "--model.num_bits=4")  # fmt: skip
    bound = ("negative_elbo", "reconstruction", "divergence")
    return {
        "fingerprinter": Case(
            ("--config=fingerprinter_small.yaml", *few_tracks(root), "--data.queries.snr_db=[10]", *NARROW_ENCODER,
             "--data.segments_per_epoch=24", "--model.encoder.dropout=0", "--model.fingerprint_dim=16"),
            ("loss", "contrastive_loss", "accuracy"), ("top1_noise_10_dB", "effective_rank"), export=FINGERPRINTS,
        ),
        "dqn": Case(
            ("--config=demo.yaml", *EVENTS, "--model.network.dropout=0", "--model.num_bits=8"),
            ("loss", "similarity_loss", "quantization_loss"), ("mAP", "mAP@10", "mean_cosine"), REFITS,
        ),
        "codebooks that learn": Case(
            ("--config=dqn_end_to_end.yaml", *EVENTS, "--model.network.dropout=0", "--model.num_bits=8",
             "--model.num_codewords=16"),
            ("loss", "similarity_loss", "quantization_loss"), ("mAP", "mAP@10", "mean_cosine"),
            (*REFITS, "--trainer.callbacks.num_epochs=1"),
        ),
        "baseline": Case(
            ("--config=baselines/itq.yaml", *EVENTS, "--model.num_bits=8"), (), ("mAP", "mAP@10"),
            ("--trainer.callbacks=callbacks.FinalCheckpoint", "--trainer.callbacks+=callbacks.CodebookRefit",
             "--trainer.callbacks.fit_on=database"),
        ),
        "vae": Case(
            ("--config=vae_small.yaml", *EVENTS, *narrow,
             "--model.preprocessing.frontend=lightning_modules.frontends.LogMel",
             "--data.frames_per_clip=48", "--model.free_bits=0.5", "--data.train_on=database",
             "--model.optimizer.lr=1e-5"),
            ("loss", *bound), ("mAP", *bound),
        ),
        "siamese": Case(
            ("--config=siamese.yaml", *pairs, "--model.optimizer.lr=0.001"), ("loss", "pair_loss"),
            ("mAP_8@10", "loss", "situation_accuracy"),
        ),
        "clips that meet several": Case(
            # RMSprop makes as much of a small gradient as of a large one, and so of how a sum was rounded
            ("--config=siamese_plus.yaml", *pairs, "--model.pairs_per_clip=3", "--model.mixup_alpha=0.4",
             "--model.optimizer.lr=1e-5"),
            ("loss", "pair_loss", "label_loss"), ("mAP_8@10", "loss", "situation_accuracy"),
        ),
        "flowhash": Case(
            ("--config=flowhash.yaml", *hashed, "--model.projection_epochs=1", "--model.flow.num_couplings=2"),
            ("nll", "bit_loss", "flow_loss"), ("bucket_entropy", "nll"), export=FINGERPRINTS,
        ),
        "flowhash on the database": Case(
            ("--config=flowhash_contrast.yaml", *hashed), ("projection_loss",), ("bucket_entropy",),
            export=FINGERPRINTS,
        ),
    }  # fmt: skip


NAMES = list(list_cases(Path()))


def run(command: str, case: Case, further: Sequence[str], num_processes: int, folder: Path) -> dict[str, float]:
    """Run a command on CPUs; return what was logged."""
    config, *arguments = case.arguments
    steps = STEPS if case.trained else ()
    cli = train.main(
        [command, config, *SILENT, "--trainer.num_sanity_val_steps=0", *steps, *arguments, *further,
         f"--trainer.devices={num_processes}", "--trainer.accelerator=cpu", f"--trainer.default_root_dir={folder}"]
    )  # fmt: skip
    return {name: float(value) for name, value in cli.trainer.callback_metrics.items()}


def run_fit(case: Case, num_processes: int, folder: Path) -> dict[str, float]:
    """Fit for two epochs with one size of the global batch; return what was logged last."""
    further = [f"--data.batch_size={GLOBAL_BATCH // num_processes}", "--trainer.max_epochs=2",
               "--test_after_fit=false", "--trainer.check_val_every_n_epoch=1", *case.callbacks]  # fmt: skip
    return run("fit", case, further, num_processes, folder)


def run_test(case: Case, num_processes: int, checkpoint: Path, folder: Path) -> dict[str, float]:
    """Test a checkpoint; return what was logged."""
    return run("test", case, [f"--ckpt_path={checkpoint}", "--trainer.callbacks=[]"], num_processes, folder)


def run_predict(
    case: Case, num_processes: int, checkpoint: Path, folder: Path, dying_rank: int | None = None
) -> dict[str, float]:
    """Predict; return how many batches of a VAE this process computed.

    Args:
        case: What predicts.
        num_processes: How many.
        checkpoint: Of the weights.
        folder: Of the run.
        dying_rank: Process that is gone at its second batch, once another has written its shard.
    """
    num_computed, step = 0, Vae.predict_step

    def count(model: Vae, batch: Mapping[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        nonlocal num_computed
        num_computed += 1
        if model.global_rank == dying_rank and batch_idx == 1:
            while not shard_place(folder / "codes", 1 - model.global_rank, num_processes).is_dir():
                time.sleep(0.05)
            os._exit(9)
        return step(model, batch, batch_idx)

    export = ["--trainer.callbacks=[]", *(f"--trainer.callbacks+={name}" for name in case.export)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Vae, "predict_step", count)
        run("predict", case, [f"--ckpt_path={checkpoint}", "--data.batch_size=8", *export], num_processes, folder)
    return {"num_computed": num_computed}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with corpora and, in `one`, what one process makes of every case."""
    root = tmp_path_factory.mktemp("processes")
    make_tracks(root)
    make_sonyc_ust(root / "sonyc", seconds=0.5)
    return root


@pytest.fixture(scope="module")
def logged(root: Path) -> dict[str, list[dict[str, float]]]:
    """Return what one process logs of every case, then each of two; by command and case."""
    here = Path.cwd()
    os.chdir(root)  # for caches
    found: dict[str, list[dict[str, float]]] = {}
    works = {}
    for name, case in list_cases(root).items():
        checkpoint, places = find_checkpoint(root / "one" / name), (root / "one" / name, root / "two" / name)
        found[f"fit {name}"] = [run_fit(case, 1, places[0])]
        found[f"test {name}"] = [run_test(case, 1, checkpoint, places[0])]
        found[f"predict {name}"] = [run_predict(case, 1, checkpoint, places[0])]
        works[f"fit {name}"] = partial(run_fit, case, 2, places[1])
        works[f"test {name}"] = partial(run_test, case, 2, checkpoint, places[1])
        works[f"predict {name}"] = partial(run_predict, case, 2, checkpoint, places[1])
    for name, of_each in run_together(works, root / "together").items():
        found[name] += of_each
    os.chdir(here)
    return found


def by_stage(metrics: Mapping[str, float], stage: str) -> dict[str, float]:
    return {name.removeprefix(f"{stage}/"): value for name, value in metrics.items() if name.startswith(f"{stage}/")}


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_train_and_test_as_one(name: str, root: Path, logged: dict[str, list[dict[str, float]]]) -> None:
    case = list_cases(root)[name]
    stages = (("fit", "train", case.trained, 1e-4, None), ("test", "test", case.tested, None, 1e-6))
    for command, stage, names, relative, absolute in stages:
        one, first, second = (by_stage(metrics, stage) for metrics in logged[f"{command} {name}"])
        assert set(names) <= set(one)
        assert first == second == pytest.approx(one, rel=relative, abs=absolute)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("logged")
def test_two_processes_predict_as_one(name: str, root: Path) -> None:
    one, two = (root / number / name for number in ("one", "two"))
    folder = "codes" if list_cases(root)[name].export == CODES else "fingerprints"
    files = sorted(path.relative_to(one) for path in (one / folder).rglob("*") if path.is_file())
    assert len(files) >= 2
    assert files == sorted(path.relative_to(two) for path in (two / folder).rglob("*") if path.is_file())
    for file in files:
        assert (one / file).read_bytes() == (two / file).read_bytes(), file


@pytest.mark.parametrize("dying_rank", [0, 1])
def test_a_killed_shard_is_redone_alone(
    dying_rank: int, root: Path, logged: dict[str, list[dict[str, float]]], in_tmp: Path
) -> None:
    case, checkpoint, folder = list_cases(root)["vae"], find_checkpoint(root / "one" / "vae"), in_tmp / "run"
    again = partial(run_predict, case, 2, checkpoint, folder)
    with pytest.raises(ProcessDied):
        run_together({"predict": partial(again, dying_rank)}, in_tmp / "killed")
    found = run_together({"predict": again}, in_tmp / "again")["predict"]
    ((whole,), shares) = logged["predict vae"][:1], [each["num_computed"] for each in logged["predict vae"][1:]]
    assert whole["num_computed"] == sum(shares)
    # one batch to see that the other process's shard is of this model
    assert found[dying_rank]["num_computed"] == shares[dying_rank]
    assert found[1 - dying_rank]["num_computed"] == 1
    for name in ("items.csv", "embeddings.npy"):
        assert (folder / "codes" / name).read_bytes() == (root / "one" / "vae" / "codes" / name).read_bytes()
    assert sorted(path.name for path in (folder / "codes").iterdir()) == ["embeddings.npy", "items.csv"]
