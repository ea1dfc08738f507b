"""Stand-ins for SLURM's programs, which need no cluster; tests/slurm has tests with a real one."""

import os
from pathlib import Path

import pytest


class StubPrograms:
    """A folder of shell scripts that is first on the PATH.

    Args:
        folder: Where they are; each call of `NAME` also writes its arguments to `NAME.args` and its environment to
            `NAME.env`, a line each.
        monkeypatch: Changes the PATH.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def add(self, name: str, script: str) -> None:
        path = self.folder / name
        path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >"$0.args"\nenv >"$0.env"\n{script}\n')
        path.chmod(0o755)

    def arguments(self, name: str) -> list[str]:
        return (self.folder / f"{name}.args").read_text().splitlines()

    def environment(self, name: str) -> dict[str, str]:
        lines = (self.folder / f"{name}.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)
