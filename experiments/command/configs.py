"""Configs: where they are found and what they say. Light to import: it says what is missing before torch is there."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

CONFIG_FOLDER = Path(__file__).resolve().parents[2] / "configs"


class ConfigNotFound(FileNotFoundError):
    """A config is neither a file nor a name in configs/."""


@functools.cache  # a grid has some configs and a thousand cells
def read_config(path: Path) -> dict[str, Any]:
    """Read a config file, once a process."""
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return config


def resolve_configs(arguments: Sequence[str]) -> list[str]:
    """Replace bare config names by the path of the file of that name in configs/.

    Raises:
        ConfigNotFound: If there is neither such a file nor such a name; it lists the names there are.
    """
    resolved = list(arguments)
    for position, argument in enumerate(resolved):
        option, equals, value = argument.partition("=")
        if option not in ("--config", "-c"):
            continue
        if equals:
            resolved[position] = f"{option}={find_config(value)}"
        elif position + 1 < len(resolved):
            resolved[position + 1] = str(find_config(resolved[position + 1]))
    return resolved


def find_config(name: str) -> Path:
    """Find a config: a path as it is, else a name in configs/, with or without its ending.

    Raises:
        ConfigNotFound: If there is none; it lists the names there are.
    """
    for candidate in (Path(name), CONFIG_FOLDER / name, CONFIG_FOLDER / f"{name}.yaml"):
        if candidate.is_file():
            return candidate
    known = sorted(path.relative_to(CONFIG_FOLDER).as_posix() for path in CONFIG_FOLDER.rglob("*.yaml"))
    raise ConfigNotFound(f"No config {name!r}: it is not a file, and configs/ has {', '.join(known)}.")


def join_options(arguments: Sequence[str]) -> list[str]:
    """Write `--option value` as `--option=value`."""
    joined: list[str] = []
    for argument in arguments:
        if argument.startswith("--") or not joined or "=" in joined[-1]:
            joined.append(argument)
        else:
            joined[-1] += f"={argument}"
    return joined
