"""Fixtures all tests share."""

import os

# Before faiss and torch are imported, as train.py does.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"

import multiprocessing.process
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import jaxtyping
import pytest

# In a job, runs that tests start would take themselves for its tasks.
for _name in [name for name in os.environ if name.startswith("SLURM_")]:
    del os.environ[_name]

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in an empty folder, with no corpus or weights named by the environment."""
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("EARMARK_")]:
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """Let a wrong choice through to the code's own check, as it comes in production."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def only_marked_tests_start_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that starts a process and isn't marked `processes`, which `make test-quick` leaves out."""
    if request.node.get_closest_marker("processes") is not None:
        return

    def refuse(*_: object, **__: object) -> NoReturn:
        pytest.fail("It starts a process: mark it with @pytest.mark.processes.")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", refuse)
