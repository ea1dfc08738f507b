"""Folders of rendered music, and questions to search.py."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import search
from tests.replicas.fma import make_music

RATE_HZ = 16_000


def music(seconds: float, seed: int, rate_hz: int = RATE_HZ) -> np.ndarray:
    return 0.7 * make_music(seconds, rate_hz, seed)


def write_music(path: Path, seed: int, seconds: float = 6.0, rate_hz: int = RATE_HZ) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, music(seconds, seed, rate_hz), rate_hz)


def write_folder(folder: Path, num_files: int, seconds: float) -> Path:
    """Write `0.wav`, `1.wav` and so on, each another piece."""
    for seed in range(num_files):
        write_music(folder / f"{seed}.wav", seed, seconds)
    return folder


def query(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Ask; return the exit status and the answers."""
    capsys.readouterr()
    status = search.main(["query", *arguments, "--json"])
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def info(capsys: pytest.CaptureFixture[str], index: str) -> dict[str, Any]:
    """Return what info says, with the names."""
    capsys.readouterr()
    assert search.main(["info", "--index", index, "--json", "--names"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what is said of a command that can't be carried out."""
    capsys.readouterr()
    assert search.main(arguments) == 1
    return capsys.readouterr().err
