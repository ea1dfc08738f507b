"""Which classes a config or checkpoint may name.

Whoever makes the object that a `class_path` names runs its code. Allowed are this project's own classes, torch.nn and
torch.optim; a user's own packages are trusted by name in the variable EARMARK_TRUSTED_PACKAGES, comma-separated.
"""

import importlib
import inspect
import os
from collections.abc import Iterator, Mapping, Sequence

from jsonargparse import ArgumentError, ArgumentParser, Namespace

TRUST_VARIABLE = "EARMARK_TRUSTED_PACKAGES"
_PACKAGES = (
    "callbacks", "datamodules", "experiments", "lightning_modules", "retrieval", "search_tool", "sound", "storage",
    "torch.nn", "torch.optim",
)  # fmt: skip
_CLASS_KEYS = ("class_path", "_class_path")


class UntrustedClass(RuntimeError):
    """A config or checkpoint names a class or function of a package that is not trusted."""


class UnusableConfig(ValueError):
    """An object can't be made from its section of a config."""


def refuse_untrusted(section: object, source: str, packages: Sequence[str] = ()) -> None:
    """Check all that a config names, at any depth; a name without a package stands for a class imported already.

    Args:
        section: As read from a file, or as parsed.
        source: What it is from; for the error.
        packages: Trusted besides this project's, torch.nn, torch.optim and the user's.

    Raises:
        UntrustedClass: If it names a class or function of another package, or one that isn't there.
    """
    users = tuple(name.strip() for name in os.environ.get(TRUST_VARIABLE, "").split(",") if name.strip())
    trusted = (*_PACKAGES, *packages, *users)
    for name in _named(section):
        if "." in name and not _is_trusted(name, trusted):
            raise UntrustedClass(
                f"{source}: expected classes of {', '.join(trusted)}; found {name}, which is in none of them. If you "
                f"know this class and trust who wrote the file, set {TRUST_VARIABLE}={name.partition('.')[0]}."
            )


def make_trusted(base: type, name: str, section: Mapping[str, object], source: str) -> object:
    """Make an object from a section of a config that others may have written.

    Args:
        base: What it must be.
        name: Of the section.
        section: `class_path` and `init_args`.
        source: What it is from; for the error.

    Raises:
        UntrustedClass: If a class or function of a package is named that is not trusted.
        UnusableConfig: If it can't be made.
    """
    refuse_untrusted(section, source)  # before anything is imported
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(base, name)
    try:
        parsed = parser.parse_object({name: dict(section)})
        refuse_untrusted(parsed, source)  # with short names in full
        return parser.instantiate_classes(parsed)[name]
    except (ArgumentError, TypeError, ValueError) as error:
        raise UnusableConfig(f"{source}: expected a config whose {name} can be made, it can't: {error}") from error


def _named(value: object) -> Iterator[str]:
    """Yield the paths of all classes and functions that a config names."""
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        yield from (str(value[key]) for key in _CLASS_KEYS if isinstance(value.get(key), str))
        for inner in value.values():
            yield from _named(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _named(inner)
    elif inspect.isroutine(value) or isinstance(value, type):  # jsonargparse puts the function in its name's place
        yield f"{value.__module__}.{value.__qualname__}"


def _is_trusted(path: str, packages: Sequence[str]) -> bool:
    """Whether a class is in the packages, and not merely imported by one of their files."""
    module, _, name = path.rpartition(".")
    if not _is_within(module, packages):
        return False
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return False
    return _is_within(str(getattr(found, "__module__", "")), packages)


def _is_within(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
