"""A small fit of the real command that can be watched from outside, and what is left of it."""

import os
import signal
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


class StepFile(pl.Callback):
    """Tell a file which step a fit is at.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        """Write the number of steps taken."""
        self.path.write_text(str(trainer.global_step))


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


def fit_arguments(run: Path) -> list[str]:
    """Return the command line of a fit in a folder that goes on if it was begun."""
    step_file = f'{{"class_path": "{__name__}.StepFile", "init_args": {{"path": "{run}.step"}}}}'
    return [*ARGUMENTS, f"--trainer.callbacks+={step_file}", f"--trainer.default_root_dir={run}", "--ckpt_path=resume"]


def interrupt(start: Callable[[], Running], run: Path, num_kills: int, seed: int) -> list[str]:
    """Start a fit again and again, ending it by signals at random moments, until it ends by itself.

    A third of the moments lie anywhere from the start of the process on, the others within training.

    Args:
        start: Starts or goes on with the fit.
        run: Its folder.
        num_kills: Signals in all.
        seed: Of the moments and of the signals, each of which comes as often.

    Returns:
        What each start came to.
    """
    generator = np.random.default_rng(seed)
    signals = generator.permutation(np.resize(np.arange(len(SIGNALS)), num_kills))
    step_path, longest = Path(f"{run}.step"), 0.0
    told: list[str] = []
    for number, chosen in enumerate(signals):
        step_path.unlink(missing_ok=True)
        begun = time.monotonic()
        process = start()
        if number % 3 == 1:
            time.sleep(float(generator.uniform(0, longest)))
        else:
            step = (number + float(generator.uniform())) / num_kills * NUM_EPOCHS * STEPS_PER_EPOCH * 0.9
            while process.poll() is None and _steps(step_path) < step:
                time.sleep(0.001)
            longest = max(longest, time.monotonic() - begun)
            time.sleep(float(generator.uniform(0, 0.03)))
        at = _steps(step_path)
        if process.poll() is None:
            os.kill(process.pid, SIGNALS[chosen])
        told.append(f"{SIGNALS[chosen].name} at step {at}: {wait(process)}")
    told.append(f"at last: {wait(start())}")
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


def _steps(path: Path) -> float:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # not there yet, or being written
        return -1


def wait(process: Running) -> int:
    """Return the exit code of a process that ends within ten minutes."""
    until = time.monotonic() + 600
    while (code := process.poll()) is None:
        if time.monotonic() > until:
            os.kill(process.pid, signal.SIGKILL)
            raise TimeoutError("Expected the process to end within ten minutes; it hangs.")
        time.sleep(0.01)
    return code
