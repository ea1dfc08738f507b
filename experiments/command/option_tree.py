"""What a command line of train.py sets, and which options it has: read off configs and sources, nothing imported.

A tree is a config as YAML has it, all that a command line says layered: `{"model": {"class_path": ..., "init_args":
...}}`. What can't be read off sources is passed over in silence; the parser has the last word.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.command.configs import (
    EXTENDS,
    ConfigError,
    find_config,
    join_options,
    nearest,
    read_chain,
    read_config,
)
from experiments.command.signatures import (
    Parameter,
    Signature,
    alias_of,
    classes_of,
    is_given_without_path,
    read_signature,
)

# What the data module gives the model, and how both are called on the command line.
LINKS = (("data.feature_dim", "model.init_args.input_dim"), ("data.num_classes", "model.init_args.num_classes"))
COMMANDS = ("fit", "validate", "test", "predict")
_TRAINER = "pytorch_lightning.Trainer"
# without a class_path: there is one class it can be
_FIXED = {"trainer": _TRAINER, "preemption": "callbacks.stopping.preemption.Preemption"}
_PASSED = ("model", "datamodule", "dataloaders", "train_dataloaders", "val_dataloaders")  # objects, by the program
_CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
_ANYWHERE = ("help", *_CLASS_KEYS)
_OWN = (
    Parameter("config", "", None, "A config: a file, or a name in configs/. Several are layered.", ""),
    Parameter("print_config", "", None, "Print the whole config and stop.", ""),
    Parameter("seed_everything", "bool | int", "0", "Seed of all that is drawn.", ""),
    Parameter("trainer", "", None, "", ""),
    Parameter("model", "", None, "", ""),
    Parameter("data", "", None, "", ""),
    Parameter("test_after_fit", "bool", "True", "Test the model when a fit has ended.", ""),
    Parameter("preemption", "", None, "", ""),
)


class UnknownOption(ConfigError):
    """A command line or a config has an option that nothing takes."""


@dataclass(frozen=True)
class Option:
    """One option that a command line has.

    Attributes:
        name: As it is typed, without dashes.
        value: What it is set to, or its default as the source has it; None where one must be given.
        is_set: Whether the config or the command line says it.
        parameter: What the class that has it says of it.
        is_class: Whether its value is a class, whose own options follow.
    """

    name: str
    value: object
    is_set: bool
    parameter: Parameter
    is_class: bool = False


class Source(str):
    """A default as its source has it."""


def root_signature(command: str) -> Signature:
    """Return what follows `train.py fit`."""
    own = {parameter.name: parameter for parameter in _OWN}
    method = read_signature(_TRAINER, command)
    if method is None:
        return Signature(own, is_whole=False)
    return Signature(own | {k: v for k, v in method.parameters.items() if k not in _PASSED}, method.is_whole)


def read_tree(command: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Layer what a command line says, and refuse what nothing takes.

    Raises:
        ConfigError: If a config is not there, or can't be read.
        UnknownOption: If a config or the command line has an option that nothing takes.
    """
    root, tree = root_signature(command), dict[str, Any]()
    for argument in join_options(arguments):
        option, _, text = argument.partition("=")
        if option in ("--config", "-c"):
            path = find_config(text)
            tree = _layer(tree, read_config(path))
            _check_files(path, tree, root)
        elif option.startswith("--"):
            parts = option.removeprefix("--").removesuffix("+").split(".")
            _check_name(parts, tree, root)
            _set(tree, parts, f"[{text}]" if option.endswith("+") else text)
    return tree


def list_options(tree: Mapping[str, Any], root: Signature) -> Iterator[Option]:
    """List every option, in the order of the sources."""
    linked = {target.replace(".init_args", "") for _, target in LINKS}
    for option in _list(tree, root, "", 0):
        if option.name not in (*linked, "config", "print_config"):
            yield option


def inner_signature(parameter: Parameter, value: object) -> Signature | None:
    """Return what the value of a parameter takes in its turn; None if nothing, or if it can't be read."""
    if isinstance(value, list):
        return None
    if isinstance(value, Mapping) and isinstance(value.get("class_path"), str):
        return read_signature(value["class_path"])
    if not parameter.scope and parameter.name in _FIXED:
        return read_signature(_FIXED[parameter.name])
    annotation = alias_of(parameter.annotation, parameter.scope)
    fielded = [path for path in classes_of(annotation, parameter.scope) if is_given_without_path(path)]
    return read_signature(fielded[0]) if len(fielded) == 1 and not annotation.startswith(("list", "dict")) else None


def _list(tree: Mapping[str, Any], signature: Signature, prefix: str, num_passed: int) -> Iterator[Option]:
    for position, (name, parameter) in enumerate(signature.parameters.items()):
        is_set = name in tree
        value = tree[name] if is_set else None if parameter.default is None else Source(parameter.default)
        if position < num_passed and not is_set:
            continue
        full = f"{prefix}{name}"
        inner = inner_signature(parameter, value)
        if isinstance(value, Mapping) and "class_path" in value:
            yield Option(full, value["class_path"], is_set, parameter, is_class=True)
            if inner is not None:
                num_inner = _num_passed(alias_of(parameter.annotation, parameter.scope))
                yield from _list(value.get("init_args") or {}, inner, f"{full}.", num_inner)
        elif inner is not None:
            if value == "None" or value is None:
                yield Option(full, value, is_set, parameter)
            yield from _list(value if isinstance(value, Mapping) else {}, inner, f"{full}.", 0)
        else:
            yield Option(full, value, is_set, parameter)
    for name in sorted(tree.keys() - signature.parameters.keys()):  # of what takes anything
        yield Option(f"{prefix}{name}", tree[name], True, Parameter(name, "", None, "", ""))


def _num_passed(annotation: str) -> int:
    """Count the arguments that a program passes to what a config describes: two of `Callable[[int, int], Module]`."""
    for node in ast.walk(ast.parse(annotation or "None", mode="eval")):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Callable":
            first = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) else None
            return len(first.elts) if isinstance(first, ast.List) else 0
    return 0


def _layer(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Layer a config over another as the parser does: of another class's arguments those stay that the new one has."""
    layered = dict(base)
    is_another = "class_path" in base and own.get("class_path", base["class_path"]) != base["class_path"]
    if is_another:
        signature = read_signature(str(own["class_path"]))
        kept = base.get("init_args") or {}
        layered["init_args"] = {k: v for k, v in kept.items() if signature is not None and k in signature.parameters}
    for key, value in own.items():
        inner = layered.get(key)
        layered[key] = _layer(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return layered


def _set(tree: dict[str, Any], parts: Sequence[str], text: str) -> None:
    """Set an option; what lies under a list or a plain value is left to the parser."""
    node = tree
    for position, part in enumerate(parts):
        if "class_path" in node and part not in _CLASS_KEYS:
            node["init_args"] = node = dict(node.get("init_args") or {})
        if position == len(parts) - 1:
            node[part] = _value(text, node.get(part))
        elif isinstance(node.get(part, {}), Mapping):
            node[part] = node = dict(node.get(part, {}))
        else:
            return


def _value(text: str, before: object) -> object:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str) and "." in value and read_signature(value) is not None:
        value = {"class_path": value}
    return _layer(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value


def _check_name(parts: Sequence[str], tree: Mapping[str, Any], root: Signature) -> None:
    signature: Signature | None = root
    node: object = tree
    for position, part in enumerate(parts):
        if signature is None or part == "help":
            return
        if part in _CLASS_KEYS and isinstance(node, Mapping) and "class_path" in node:
            if part != "init_args":
                return
            continue
        parameter = signature.parameters.get(part)
        if parameter is None:
            if signature.is_whole:
                raise UnknownOption(_refusal(parts, position, list(signature.parameters), tree, root))
            return
        arguments = node.get("init_args", {}) if isinstance(node, Mapping) and "class_path" in node else node
        node = arguments.get(part) if isinstance(arguments, Mapping) else None
        signature = inner_signature(parameter, node)


def _refusal(
    parts: Sequence[str], position: int, known: Sequence[str], tree: Mapping[str, Any], root: Signature
) -> str:
    part = parts[position]
    listed = [option.name for option in list_options(tree, root)]
    same = [name for name in listed if name.rpartition(".")[2] == part]
    near = nearest(part, known)
    if near is None and not same:
        last = nearest(part, [name.rpartition(".")[2] for name in listed])
        same = [name for name in listed if name.rpartition(".")[2] == last]
    whole = same[:1] if same else [".".join([*parts[:position], near, *parts[position + 1 :]])] if near else []
    hint = f" Did you mean --{whole[0]}?" if whole else ""
    return f"expected an option that this config has, found --{'.'.join(parts)}.{hint} --options lists all."


def _check_files(path: Path, tree: Mapping[str, Any], root: Signature) -> None:
    for file in read_chain(path):
        found = _unknown_key(file.content, tree, root)
        if found is not None:
            keys, known = found
            near = nearest(keys[-1], [*known, *([EXTENDS] if len(keys) == 1 else [])])
            hint = f" Did you mean {near}?" if near else ""
            raise UnknownOption(
                f"{file.path}: expected a key that its class takes, found {'.'.join(keys)}.{hint} --options lists all."
            )


def _unknown_key(
    own: Mapping[str, Any], whole: Mapping[str, Any], signature: Signature
) -> tuple[list[str], Sequence[str]] | None:
    for key, value in own.items():
        parameter = signature.parameters.get(key)
        if parameter is None and signature.is_whole:
            return [str(key)], list(signature.parameters)
        found = _unknown_below(value, whole.get(key), parameter) if parameter is not None else None
        if found is not None:
            return [str(key), *found[0]], found[1]
    return None


def _unknown_below(own: object, whole: object, parameter: Parameter) -> tuple[list[str], Sequence[str]] | None:
    if isinstance(own, list):
        for index, item in enumerate(own):
            found = _unknown_below(item, item, parameter)
            if found is not None:
                return [str(index), *found[0]], found[1]
        return None
    inner = inner_signature(parameter, whole)
    if inner is None or not isinstance(own, Mapping) or not isinstance(whole, Mapping):
        return None
    if "class_path" not in whole:
        return _unknown_key(own, whole, inner)
    if own.get("class_path", whole["class_path"]) != whole["class_path"]:
        return None  # of a base whose class another has replaced
    stray = [key for key in own if key not in _CLASS_KEYS]
    if stray:
        return [str(stray[0])], _CLASS_KEYS
    arguments = own.get("init_args")
    if not isinstance(arguments, Mapping):
        return None
    found = _unknown_key(arguments, whole.get("init_args") or {}, inner)
    return None if found is None else (["init_args", *found[0]], found[1])
