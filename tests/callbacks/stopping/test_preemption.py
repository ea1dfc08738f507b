"""A run that gets a signal saves a whole state and stops, is requeued where it should be, and goes on."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from callbacks import Preemption
from callbacks.stopping.stop_signals import STOP_SIGNALS, Preempted, note_requeue_signal, noted_signals
from tests.trainers import quiet_trainer

NUM_BATCHES = 6
SLURM = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "SLURM_NTASKS")


class Line(pl.LightningModule):
    """A model that counts what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.num_validations = self.num_epochs_ended = 0

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch[0]).square().mean()
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.num_validations += 1

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.num_validations += 1

    def on_train_epoch_end(self) -> None:
        self.num_epochs_ended += 1

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Send(pl.Callback):
    """Send signals to this process before a batch."""

    def __init__(self, at: int, *signals: signal.Signals, stage: str = "train") -> None:
        self.at, self.signals, self.stage = at, signals, stage

    def on_train_batch_start(self, trainer: pl.Trainer, *rest: Any) -> None:
        self._send("train", trainer.fit_loop.total_batch_idx)

    def on_validation_batch_start(self, trainer: pl.Trainer, *rest: Any) -> None:
        self._send("validate", rest[2])

    def on_test_batch_start(self, trainer: pl.Trainer, *rest: Any) -> None:
        self._send("test", rest[2])

    def _send(self, stage: str, index: int) -> None:
        if stage == self.stage and index == self.at:
            for each in self.signals:
                os.kill(os.getpid(), each)


@pytest.fixture(autouse=True)
def clean_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave no job, note or handler to the next test."""
    for name in SLURM:
        monkeypatch.delenv(name, raising=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    handlers = {each: signal.getsignal(each) for each in STOP_SIGNALS}
    yield
    noted_signals.clear()
    for each, handler in handlers.items():
        assert signal.getsignal(each) == handler or each == signal.SIGUSR1
        signal.signal(each, handler)


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a `scontrol` in the path that notes what it is told in the file returned."""
    told, folder = tmp_path / "told", tmp_path / "bin"
    folder.mkdir()
    program = folder / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    return told


def make_trainer(root: Path, send: Send, preemption: Preemption, **options: object) -> pl.Trainer:
    settings = {"max_epochs": 2, "num_sanity_val_steps": 0, "devices": 1, "plugins": [LightningEnvironment()]}
    trainer = quiet_trainer(send, default_root_dir=root, **settings | options)
    trainer.callbacks.append(preemption)  # type: ignore[attr-defined]  # last, as the command does
    return trainer


def batches(count: int = NUM_BATCHES) -> DataLoader:
    return DataLoader(TensorDataset(torch.ones(count, 1)))


def run(root: Path, send: Send, preemption: Preemption | None = None, **options: object) -> tuple[Line, int | None]:
    """Fit; return the model and the exit code, None where the fit came to its end."""
    model = Line()
    trainer = make_trainer(root, send, preemption or Preemption(minutes=None), **options)
    try:
        trainer.fit(model, batches(), batches(1))
    except SystemExit as stopped:
        return model, int(str(stopped.code))
    return model, None


def state(root: Path, name: str = "resume.ckpt") -> dict[str, object]:
    found: dict[str, object] = torch.load(root / "checkpoints" / name, weights_only=True)
    return found


@pytest.mark.parametrize("sent", STOP_SIGNALS)
def test_a_signal_saves_after_the_batch_and_stops(
    sent: signal.Signals, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        model, code = run(tmp_path, Send(2, sent))
    assert code == 128 + sent
    assert state(tmp_path)["global_step"] == 3
    assert model.num_epochs_ended == 0
    assert f"Stopped by {sent.name} in epoch 0, after 3 steps" in caplog.text
    assert f"--ckpt_path {tmp_path / 'checkpoints' / 'resume.ckpt'}" in caplog.text


def test_all_signals_at_once_save_once(tmp_path: Path) -> None:
    _, code = run(tmp_path, Send(2, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGTERM))
    assert code == 128 + signal.SIGUSR1
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["resume.ckpt"]


@pytest.mark.parametrize("stage", ["train", "validate"])
def test_the_end_of_an_epoch_is_saved_whole(stage: str, tmp_path: Path) -> None:
    model, code = run(tmp_path, Send(NUM_BATCHES - 1 if stage == "train" else 0, signal.SIGTERM, stage=stage))
    assert code == 143
    assert (model.num_validations, model.num_epochs_ended) == (1, 1)
    assert state(tmp_path)["global_step"] == NUM_BATCHES


def test_the_last_epoch_ends_before_the_run_stops(tmp_path: Path) -> None:
    model, code = run(tmp_path, Send(2 * NUM_BATCHES - 1, signal.SIGTERM))
    assert code == 143
    assert model.num_epochs_ended == 2


@pytest.mark.parametrize(
    ("options", "num_steps", "num_validations"),
    [
        ({"val_check_interval": 3}, 4, 1),  # the third batch is followed by a validation
        ({"val_check_interval": 3, "check_val_every_n_epoch": None}, 4, 1),
        ({"accumulate_grad_batches": 2}, 2, 0),  # after four batches
        ({"max_steps": 3}, 3, 0),  # ends the epoch
    ],
)
def test_a_state_is_saved_only_where_it_is_whole(
    options: dict[str, Any], num_steps: int, num_validations: int, tmp_path: Path
) -> None:
    model, code = run(tmp_path, Send(2, signal.SIGTERM), **options)
    assert code == 143
    assert state(tmp_path)["global_step"] == num_steps
    assert model.num_validations == num_validations


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    _, code = run(tmp_path, Send(2, signal.SIGINT, signal.SIGINT))
    assert code == 1  # as Lightning ends an interrupted run
    assert not (tmp_path / "checkpoints").exists()


def test_an_ignored_interrupt_stays_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, code = run(tmp_path, Send(2, signal.SIGINT))
    assert signal.signal(signal.SIGINT, before) == signal.SIG_IGN
    assert code is None


def test_states_are_saved_at_intervals_and_the_one_before_is_kept(tmp_path: Path) -> None:
    _, code = run(tmp_path, Send(-1), Preemption(minutes=1e-9, dirpath=str(tmp_path / "checkpoints")))
    assert code is None
    assert state(tmp_path)["global_step"] == 2 * NUM_BATCHES
    assert state(tmp_path, "resume-before.ckpt")["global_step"] == 2 * NUM_BATCHES - 1
    with pytest.raises(ValueError, match=r"minutes must be above 0; got 0\.0\."):
        Preemption(minutes=0.0)


def test_a_trial_run_saves_nothing(tmp_path: Path) -> None:
    _, code = run(tmp_path, Send(-1), Preemption(minutes=1e-9), fast_dev_run=3)
    assert code is None
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.processes
@pytest.mark.parametrize(("array", "name"), [({}, "41"), ({"JOB": "40", "TASK": "7"}, "40_7")])
def test_a_job_is_requeued(
    array: dict[str, str], name: str, scontrol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    for part, number in array.items():
        monkeypatch.setenv(f"SLURM_ARRAY_{part}_ID", number)
    with caplog.at_level(logging.WARNING):
        _, code = run(tmp_path, Send(2, signal.SIGUSR1))
    assert code == 128 + signal.SIGUSR1
    assert scontrol.read_text() == f"requeue {name}\n"
    assert f"Job {name} is requeued" in caplog.text
    assert state(tmp_path)["global_step"] == 3


@pytest.mark.parametrize(
    ("preemption", "sent", "restarts"),
    [
        (Preemption(requeue=False), signal.SIGUSR1, "0"),
        (Preemption(max_requeues=2), signal.SIGUSR1, "2"),
        (Preemption(), signal.SIGTERM, "0"),  # someone cancels the job
    ],
)
def test_a_job_is_not_requeued(
    preemption: Preemption, sent: signal.Signals, restarts: str, scontrol: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    with caplog.at_level(logging.WARNING):
        _, code = run(tmp_path, Send(2, sent), preemption)
    assert code == 128 + sent
    assert not scontrol.exists()
    assert "It goes on with" in caplog.text


@pytest.mark.processes
def test_a_requeue_that_fails_is_told(
    scontrol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "bin" / "scontrol").write_text("#!/bin/sh\necho 'Requested operation is disabled' >&2\nexit 1\n")
    with caplog.at_level(logging.WARNING):
        run(tmp_path / "refused", Send(2, signal.SIGUSR1))
    assert "scontrol says 'Requested operation is disabled'. Submit with --requeue" in caplog.text
    monkeypatch.setenv("PATH", str(tmp_path))
    with caplog.at_level(logging.WARNING):
        run(tmp_path / "missing", Send(2, signal.SIGUSR1))
    assert "expected the command scontrol, found none" in caplog.text


@pytest.mark.processes
def test_a_signal_before_training_is_not_lost(scontrol: Path, tmp_path: Path) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    # as during imports; of this thread alone, since others of the tests' don't block it
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
    note_requeue_signal()
    assert noted_signals == [signal.SIGUSR1]
    _, code = run(tmp_path, Send(-1))
    assert code == 128 + signal.SIGUSR1
    assert state(tmp_path)["global_step"] == 1
    assert scontrol.read_text() == "requeue 41\n"


@pytest.mark.processes
def test_a_test_stops_at_once_or_is_requeued(scontrol: Path, tmp_path: Path) -> None:
    model = Line()
    with pytest.raises(Preempted, match="143"):
        make_trainer(tmp_path, Send(2, signal.SIGTERM, stage="test"), Preemption()).test(model, batches())
    assert model.num_validations == 2
    note_requeue_signal()
    make_trainer(tmp_path, Send(2, signal.SIGUSR1, stage="test"), Preemption()).test(model, batches())
    assert model.num_validations == 2 + NUM_BATCHES
    assert scontrol.read_text() == "requeue 41\n"
