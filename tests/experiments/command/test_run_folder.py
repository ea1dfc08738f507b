"""Names of runs, one run a folder, and the checkpoint that a run goes on from."""

import logging
import multiprocessing
import os
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
import torch

from experiments.command import run_folder
from experiments.command.run_folder import RunFolderError, check_same_run, lock_run, newest_checkpoint, run_name

SLURM = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_STEP_ID", "LOCAL_RANK", "EARMARK_RUN")


@pytest.fixture(autouse=True)
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SLURM:
        monkeypatch.delenv(name, raising=False)


def _save(path: Path, seconds: int, step: int = 0) -> Path:
    """Write a checkpoint of that age."""
    torch.save({"step": step, "weights": torch.arange(100_000.0)}, path)
    os.utime(path, (seconds, seconds))
    return path


def test_a_job_keeps_its_name_on_all_ranks_and_when_requeued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert run_name("dqn") == "dqn/job-17"
    monkeypatch.setenv("SLURM_STEP_ID", "2")
    assert run_name("dqn") == "dqn/job-17-step-2"
    monkeypatch.setenv("SLURM_STEP_ID", str(0xFFFFFFFB))  # the batch script's own
    assert run_name("dqn") == "dqn/job-17"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "15")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert run_name("dqn") == "dqn/job-15_3"


def test_processes_that_a_run_starts_have_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    name = run_name("vae")
    assert name.startswith("vae/2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(os, "getpid", lambda: 0)
    assert run_name("vae") == name


def _hold(folder: Path, held: Event, release: Event) -> None:
    with lock_run(folder):
        held.set()
        release.wait(60)


def test_a_second_run_is_refused_until_the_first_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "_LOCK_SECONDS", 0.1)
    context = multiprocessing.get_context("fork")
    held, release = context.Event(), context.Event()
    first = context.Process(target=_hold, args=(tmp_path / "run", held, release), daemon=True)
    first.start()
    assert held.wait(60)
    with pytest.raises(RunFolderError, match="a run under way in it"), lock_run(tmp_path / "run"):
        pass
    first.kill()
    first.join(60)
    with lock_run(tmp_path / "run"):
        pass


def test_the_newest_checkpoint_is_taken(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert newest_checkpoint([tmp_path, tmp_path / "nowhere"]) is None
    _save(tmp_path / "last.ckpt", 100)
    newest = _save(tmp_path / "other" / "resume.ckpt", 200)
    (tmp_path / ".last.ckpt.77").write_bytes(b"being written when the process was killed")
    assert newest_checkpoint([tmp_path, tmp_path / "other"]) == newest


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    before, newest = _save(tmp_path / "resume-before.ckpt", 100), _save(tmp_path / "resume.ckpt", 200)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 255
    newest.write_bytes({"cut": bytes(content[:-100]), "flipped": bytes(content), "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        assert newest_checkpoint([tmp_path]) == before
    assert f"{newest} is damaged" in caplog.text
    before.write_bytes(b"")
    with pytest.raises(RunFolderError, match=r"found 2 damaged\. Delete them"):
        newest_checkpoint([tmp_path])


def test_only_the_same_run_goes_on_in_a_folder(tmp_path: Path) -> None:
    check_same_run(tmp_path, {"seed_everything": 1})  # nothing there yet
    (tmp_path / "config.yaml").write_text(
        "seed_everything: 0\nmodel: {class_path: A, init_args: {num_bits: 48}}\n"
        "data: {class_path: D, init_args: {fold: 1, root: here, num_workers: 0}}\ntrainer: {max_epochs: 4}\n"
    )
    model = {"class_path": "A", "init_args": {"num_bits": 48}}
    data = {"class_path": "D", "init_args": {"fold": 1, "root": "there", "num_workers": 4}}
    check_same_run(tmp_path, {"seed_everything": 0, "model": model, "data": data, "trainer": {"max_epochs": 8}})
    data["init_args"] = {"fold": 2, "root": "here", "num_workers": 0}
    with pytest.raises(RunFolderError, match=r"another: data\.init_args\.fold was 1 and is 2\. Give it its own"):
        check_same_run(tmp_path, {"seed_everything": 0, "model": model, "data": data})
