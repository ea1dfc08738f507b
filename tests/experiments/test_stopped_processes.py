"""Processes of a fit that are killed, or told to stop, lose nothing: it ends as one that was left alone."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from tests.experiments.interrupted_fit import (
    ARGUMENTS,
    Running,
    StopBefore,
    differences,
    fit_arguments,
    interrupt,
    read,
    wait,
)

pytestmark = pytest.mark.processes

NUM_KILLS = 6


class Started:
    """A process of multiprocessing's that is watched as one of subprocess's is."""

    def __init__(self, process: ForkServerProcess) -> None:
        assert process.pid is not None
        self._process, self.pid = process, process.pid

    def poll(self) -> int | None:
        return self._process.exitcode


def _fit(arguments: list[str], log_path: Path, environment: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    os.environ.update(environment)
    import torch

    import train

    torch.set_num_threads(1)
    log = os.open(log_path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(log_path.parent)
    train.main(arguments)


@pytest.fixture
def start() -> Callable[..., Running]:
    """Return what starts the real command in a process of its own, forked from one that has imported it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train"])  # imports take longer than the fit

    def begin(arguments: list[str], log_path: Path, **environment: str) -> Running:
        trusted = {"EARMARK_TRUSTED_PACKAGES": "tests"}  # the config names callbacks of these
        process = context.Process(target=_fit, args=(arguments, log_path, environment | trusted))
        process.start()
        return Started(process)

    return begin


def test_a_killed_fit_ends_as_one_left_alone(tmp_path: Path, start: Callable[..., Running]) -> None:
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    assert wait(start(fit_arguments(alone), tmp_path / "alone.log")) == 0
    told = interrupt(lambda arguments: start(arguments, tmp_path / "killed.log"), killed, NUM_KILLS, seed=0)
    assert told[-1] == "at last: 0", told
    assert sum(": 0" not in each for each in told) >= NUM_KILLS - 1, told  # hardly one came too late
    assert differences(read(alone), read(killed)) == [], told
    left = {path.name for path in (killed / "checkpoints").glob("*.ckpt")}
    assert left <= {"last.ckpt", "resume.ckpt", "resume-before.ckpt"}


def test_two_processes_stop_where_one_is_told_to_and_go_on(tmp_path: Path, start: Callable[..., Running]) -> None:
    def fit(name: str, *further: str) -> list[int]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        arguments = [*ARGUMENTS, "--trainer.max_epochs=3", "--trainer.devices=2", "--trainer.strategy=ddp", *further,
                     f"--trainer.default_root_dir={tmp_path / name}", "--ckpt_path=resume"]  # fmt: skip
        together = {"NODE_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        logs = [tmp_path / f"{name}-{rank}.log" for rank in range(2)]
        ranks = [start(arguments, log, LOCAL_RANK=str(rank), **together) for rank, log in enumerate(logs)]
        return [wait(each) for each in ranks]

    told = f'{{"class_path": "{StopBefore.__module__}.StopBefore", "init_args": {{"step": 7, "rank": 1}}}}'
    assert fit("whole") == [0, 0]
    assert fit("stopped", f"--trainer.callbacks+={told}") == [143, 0]
    assert fit("stopped") == [0, 0]
    assert differences(read(tmp_path / "whole"), read(tmp_path / "stopped")) == []
