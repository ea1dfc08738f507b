"""Configs: where they are found, and what one says together with those that it extends.

A config whose first line is `extends: base.yaml` holds what differs from `base.yaml`, which may extend another. Light
to import: it says that a config is missing before torch is there.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CONFIG_FOLDER = Path(__file__).resolve().parents[2] / "configs"
EXTENDS = "extends"


class ConfigError(ValueError):
    """A config is not there, can't be read, or has what nothing takes."""


class ConfigNotFound(ConfigError):
    """A config is neither a file nor a name in configs/."""


@dataclass(frozen=True)
class ConfigFile:
    """One file of a chain of configs.

    Attributes:
        path: Where it was found.
        content: What it says itself, without `extends`.
    """

    path: Path
    content: Mapping[str, Any]


def find_config(name: str) -> Path:
    """Find a config: a path as it is, else a name in configs/, with or without its ending.

    Raises:
        ConfigNotFound: If there is none; it names the nearest one and lists what there is.
    """
    return _find(name, (Path(), CONFIG_FOLDER), "")


def read_config(path: Path) -> dict[str, Any]:
    """Read a config together with those that it extends.

    Mappings are merged key by key, and what is nearer to `path` counts; lists and values replace. Where an object's
    `class_path` changes, the `init_args` of the base's are dropped, all of them: what is meant for one class may mean
    something else to another.

    Raises:
        ConfigNotFound: If a base is neither beside the file that names it nor in configs/.
        ConfigError: If a file is no YAML mapping, or a chain comes back to where it began.
    """
    config: dict[str, Any] = {}
    for file in reversed(read_chain(path)):
        config = _merge(config, file.content)
    return config


def read_chain(path: Path) -> list[ConfigFile]:
    """Read a config and those that it extends, itself first.

    Raises:
        ConfigNotFound: As `read_config`.
        ConfigError: As `read_config`.
    """
    chain: list[ConfigFile] = []
    following: Path | None = path
    while following is not None:
        if any(following.samefile(file.path) for file in chain):
            names = " extends ".join(str(each) for each in [*(file.path for file in chain), following])
            raise ConfigError(f"Expected a chain of configs that ends; found {names}. Take `extends` out of one.")
        content = _read(following)
        base = content.pop(EXTENDS, None)
        chain.append(ConfigFile(following, content))
        if base is not None and not isinstance(base, str):
            raise ConfigError(f"{following}: expected one config as `extends`, found {base!r}. A base may have a base.")
        following = (
            _find(base, (following.parent, CONFIG_FOLDER), f"{following} extends it. ") if base is not None else None
        )
    return chain


def resolve_configs(arguments: Sequence[str]) -> list[str]:
    """Replace bare config names by the path of the file of that name in configs/.

    Raises:
        ConfigNotFound: If there is neither such a file nor such a name.
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


def join_options(arguments: Sequence[str]) -> list[str]:
    """Write `--option value` as `--option=value`."""
    joined: list[str] = []
    for argument in arguments:
        if argument.startswith(("--", "-c")) or not joined or "=" in joined[-1]:
            joined.append(argument)
        else:
            joined[-1] += f"={argument}"
    return joined


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that a misspelt one is most like, or None where it is like none."""
    return next(iter(difflib.get_close_matches(name, known, n=1)), None)


def _find(name: str, folders: Sequence[Path], asked: str) -> Path:
    for candidate in [folder / each for folder in folders for each in (name, f"{name}.yaml")]:
        if candidate.is_file():
            return candidate
    known = sorted(path.relative_to(CONFIG_FOLDER).as_posix() for path in CONFIG_FOLDER.rglob("*.yaml"))
    hint = nearest(name, [*known, *(each.removesuffix(".yaml") for each in known)])
    raise ConfigNotFound(
        f"No config {name!r}: it is not a file, and configs/ has {', '.join(known)}. {asked}"
        + (f"The nearest is {hint}." if hint else "Name one of these.")
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected YAML, found {' '.join(str(error).split())}. Mend that line.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping such as `model: ...`, found {type(content).__name__}.")
    return content


def _merge(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    is_another = "class_path" in base and own.get("class_path", base["class_path"]) != base["class_path"]
    merged = {key: value for key, value in base.items() if not (is_another and key in ("init_args", "dict_kwargs"))}
    for key, value in own.items():
        inner = merged.get(key)
        merged[key] = _merge(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged
