"""A small fit of the real command that is stopped at random moments, and what is left of it."""

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import pytorch_lightning as pl
import torch

NUM_EPOCHS, STEPS_PER_EPOCH = 12, 10
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
# demo.yaml on 100 rendered clips; a state is saved after each batch, and last.ckpt in every third epoch
ARGUMENTS = (
    "fit", "--config=demo.yaml", "--data.clips_per_class=10", "--data.labels_per_class=4", "--data.batch_size=8",
    "--data.passes_per_epoch=2", "--model.num_bits=8", "--trainer.check_val_every_n_epoch=3", "--trainer.logger=false",
    f"--trainer.max_epochs={NUM_EPOCHS}", "--trainer.enable_progress_bar=false", "--preemption.minutes=0.00001",
    "--trainer.enable_model_summary=false", "--trainer.accelerator=cpu", "--test_after_fit=false",
)  # fmt: skip


class SignalSoon(pl.Callback):
    """Send this process a signal some time after a batch has begun, wherever it then is.

    Args:
        signum: The signal.
        step: Number of steps taken before the batch.
        seconds: From its begin on.
    """

    def __init__(self, signum: int, step: int, seconds: float) -> None:
        self.step = step
        self._timer = threading.Timer(seconds, os.kill, (os.getpid(), signum))
        self._timer.daemon = True

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Start the time when it is time."""
        if trainer.global_step >= self.step and not self._timer.ident:
            self._timer.start()


class StopBefore(pl.Callback):
    """Send one process a SIGTERM.

    Args:
        step: Number of steps taken before it.
        rank: The process's number.
    """

    def __init__(self, step: int, rank: int = 0) -> None:
        self.step = step
        self.rank = rank

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Send it when it is time."""
        if trainer.global_step == self.step and trainer.global_rank == self.rank:
            os.kill(os.getpid(), signal.SIGTERM)


class Running(Protocol):
    """A process; `subprocess.Popen` is one, and so is what `as_running` makes of one of multiprocessing's."""

    pid: int

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""


def fit_arguments(run: Path, callback: dict[str, object] | None = None) -> list[str]:
    """Return the command line of a fit in a folder that goes on if it was begun, with a further callback."""
    further = [] if callback is None else [f"--trainer.callbacks+={json.dumps(callback)}"]
    return [*ARGUMENTS, *further, f"--trainer.default_root_dir={run}", "--ckpt_path=resume"]


def interrupt(start: Callable[[list[str]], Running], run: Path, num_kills: int, seed: int) -> list[str]:
    """Start a fit again and again, ending it by signals at random moments, until it ends by itself.

    A third of the moments lie before training has begun or about then, the others within it.

    Args:
        start: Starts the command of these arguments.
        run: The fit's folder.
        num_kills: Signals in all.
        seed: Of the moments and of the signals, each of which comes as often.

    Returns:
        What each start came to.
    """
    generator = np.random.default_rng(seed)
    signals = generator.permutation(np.resize(np.arange(len(SIGNALS)), num_kills))
    fastest = math.inf
    told: list[str] = []
    for number, chosen in enumerate(signals):
        sent, begun = SIGNALS[chosen], time.monotonic()
        if number % 3 == 1:
            process, delay = start(fit_arguments(run)), float(generator.uniform(0, fastest))
            time.sleep(delay)
            if process.poll() is None:
                os.kill(process.pid, sent)
            told.append(f"{sent.name} {delay:.2f} s after the start: {wait(process)}")
        else:
            step = int((number + generator.uniform()) / num_kills * 0.9 * NUM_EPOCHS * STEPS_PER_EPOCH)
            delay = float(generator.uniform(0, 0.05))
            options = {"signum": int(sent), "step": step, "seconds": delay}
            path = f"{SignalSoon.__module__}.SignalSoon"
            told.append(f"{sent.name} {1000 * delay:.0f} ms after the start of step {step}: ")
            told[-1] += str(wait(start(fit_arguments(run, {"class_path": path, "init_args": options}))))
            fastest = min(fastest, time.monotonic() - begun)
    told.append(f"at last: {wait(start(fit_arguments(run)))}")
    return told


def differences(first: object, second: object, name: str = "") -> list[str]:
    """Say where two checkpoints differ, bit by bit, but for where they lie."""
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return [] if torch.equal(first, second) else [name]
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        return [each for key in first for each in differences(first[key], second[key], f"{name}.{key}")]
    if isinstance(first, list | tuple) and isinstance(second, list | tuple) and len(first) == len(second):
        return [
            each
            for i, (a, b) in enumerate(zip(first, second, strict=True))
            for each in differences(a, b, f"{name}.{i}")
        ]
    return [] if first == second or name.endswith(("dirpath", "_path")) else [f"{name}: {first} and {second}"]


def read(run: Path) -> dict[str, object]:
    """Read the checkpoint that a fit ended with."""
    checkpoint: dict[str, object] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return checkpoint


def wait(process: Running) -> int:
    """Return the exit code of a process that ends within ten minutes."""
    until = time.monotonic() + 600
    while (code := process.poll()) is None:
        if time.monotonic() > until:
            os.kill(process.pid, signal.SIGKILL)
            raise TimeoutError("Expected the process to end within ten minutes; it hangs.")
        time.sleep(0.01)
    return code
