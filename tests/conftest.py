"""Fixtures all tests share."""

import os

# Before faiss and torch are imported, as train.py does.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"

from collections.abc import Iterator
from pathlib import Path

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
