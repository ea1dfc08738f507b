"""A fit that is killed again and again loses nothing: it ends as one that was left alone."""

import multiprocessing
import os
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from tests.experiments.interrupted_fit import Running, differences, fit_arguments, interrupt, read, wait

NUM_KILLS = 6


class Started:
    """A process of multiprocessing's that is watched as one of subprocess's is."""

    def __init__(self, process: ForkServerProcess) -> None:
        assert process.pid is not None
        self._process, self.pid = process, process.pid

    def poll(self) -> int | None:
        return self._process.exitcode


def _fit(run: Path) -> None:
    import torch

    import train

    torch.set_num_threads(1)
    log = os.open(f"{run}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(run.parent)
    train.main(fit_arguments(run))


def test_a_killed_fit_ends_as_one_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARMARK_TRUSTED_PACKAGES", "tests")  # the config names a callback of these
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train"])  # imports take longer than the fit

    def start(run: Path) -> Running:
        process = context.Process(target=_fit, args=(run,))
        process.start()
        return Started(process)

    alone = start(tmp_path / "alone")
    assert wait(alone) == 0
    told = interrupt(lambda: start(tmp_path / "killed"), tmp_path / "killed", NUM_KILLS, seed=0)
    assert told[-1] == "at last: 0", told
    assert sum(": 0" not in each for each in told) >= NUM_KILLS - 1, told  # hardly one came too late
    assert differences(read(tmp_path / "alone"), read(tmp_path / "killed")) == [], told
    leftovers = {path.name for path in (tmp_path / "killed" / "checkpoints").iterdir() if path.suffix == ".ckpt"}
    assert leftovers <= {"last.ckpt", "resume.ckpt", "resume-before.ckpt"}
