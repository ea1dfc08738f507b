"""What train.py answers before torch is there: help, the options of a config, and that an option is misspelt."""

import ast
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.command.configs import nearest
from experiments.command.option_tree import (
    COMMANDS,
    Option,
    Source,
    UnknownOption,
    list_options,
    read_tree,
    root_signature,
)
from experiments.command.run_options import option_text
from experiments.command.signatures import alias_of, constant_of

_COMMAND_HELP = {
    "fit": "train a model, then test what was kept",
    "validate": "score a checkpoint on the validation queries",
    "test": "score a checkpoint on the test queries",
    "predict": "write the codes and embeddings of a corpus",
}
_USAGE = "usage: python train.py {command} --config NAME [--config NAME ...] [--OPTION VALUE ...]\n"
_HELP = """\

Train and evaluate compact audio codes.

commands:
{commands}

options of each command:
  --config NAME    a file, or a name in configs/ such as dqn.yaml; several are layered
  --options        list the options of this config: value, type, meaning
  --print_config   print the whole config that would be run
  --help           this; after a command, its options

examples:
  python train.py fit --config demo.yaml
  python train.py fit --config dqn.yaml --options | grep bits
  python train.py fit --config dqn.yaml --config data/esc50.yaml --model.num_bits 32
  python train.py test --config dqn.yaml --ckpt_path last.ckpt
  python train.py fit --model.help lightning_modules.AudioDqn
"""
_LISTING = "* is set here, the others are defaults. On a terminal lines are cut to its width; piped, they are whole."
_NO_CONFIG = "The options of model and data are listed with a config: --config dqn.yaml --options"
_NAME_WIDTH, _TYPE_WIDTH = 42, 14  # which leave 40 of 100 columns for what an option means


def answer(arguments: Sequence[str]) -> None:
    """Answer a command line that asks for help or options, or has one that nothing takes; else do nothing.

    Args:
        arguments: As after `train.py`.

    Raises:
        SystemExit: If it is answered, with status 0.
        ConfigError: If a config is not there, can't be read, or has a key that nothing takes.
        UnknownOption: If there is no such command or option.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        _say(_USAGE.format(command="COMMAND") + _HELP.format(commands=_list_commands()), is_asked=bool(arguments))
    command, *own = arguments
    if command.startswith("-"):
        return  # options before the command are the parser's
    if command not in COMMANDS:
        near = nearest(command, COMMANDS)
        hint = f"Did you mean {near}?" if near else "See python train.py --help."
        raise UnknownOption(f"expected {', '.join(COMMANDS[:-1])} or {COMMANDS[-1]}, found {command}. {hint}")
    asked = [each for each in own if each in ("-h", "--help", "--options")]
    tree = read_tree(command, [each for each in own if each not in asked])
    if "--options" in asked:
        _say(_list_lines(command, tree))
    elif asked:
        _say(_USAGE.format(command=command) + "\n" + _list_lines(command, tree))


def _say(text: str, *, is_asked: bool = True) -> None:
    (sys.stdout if is_asked else sys.stderr).write(text)
    raise SystemExit(0 if is_asked else 2)


def _list_commands() -> str:
    return "\n".join(f"  {name:10}{text}" for name, text in _COMMAND_HELP.items())


def _list_lines(command: str, tree: Mapping[str, Any]) -> str:
    """Write a line an option, grouped."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    groups: dict[str, list[Option]] = {command: [], "model": [], "data": [], "trainer": [], "preemption": []}
    for option in list_options(tree, root_signature(command)):
        head = option.name.partition(".")[0]
        groups[head if head in groups else command].append(option)
    lines = [_LISTING, *([] if "model" in tree else [_NO_CONFIG])]
    for group, options in groups.items():
        listed = [
            _cut(_line(option), width)
            for option in options
            if option.value is not None or option.parameter.name not in groups
        ]
        lines += ["", f"{group}:", *listed] if listed else []
    return "\n".join(lines) + "\n"


def _line(option: Option) -> str:
    value = _value_text(option)
    typed = f"{'*' if option.is_set else ' '} --{option.name}" + (f"={value}" if value is not None else "")
    needed = "Needed. " if value is None and not option.is_set else ""
    meaning = _first_sentence(option.parameter.meaning)
    return f"{typed:{_NAME_WIDTH}} {_type_text(option):{_TYPE_WIDTH}} {needed}{meaning}".rstrip()


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 3].rstrip() + "..."


def _value_text(option: Option) -> str | None:
    value = option.value
    if isinstance(value, Source):
        value = _read_default(constant_of(value, option.parameter.scope))
    elif value is None and not option.is_set:
        return None
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return f"[{', '.join(_class_name(item) for item in value)}]"
    return option_text(value)


def _class_name(item: object) -> str:
    path = item.get("class_path") if isinstance(item, Mapping) else None
    return str(path).rpartition(".")[2] if path else str(item)


def _read_default(source: str) -> object:
    """Return the value that a default's source stands for, of a dataclass's field too, or the source itself."""
    node = ast.parse(source, mode="eval").body
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "field":
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        made = given.get("default", given.get("default_factory", node))
        node = made.body if isinstance(made, ast.Lambda) else made
    try:
        value: object = ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)
    return list(value) if isinstance(value, tuple) else value


def _type_text(option: Option) -> str:
    """Return a short word for a type: its choices, or its name without where it comes from."""
    if option.is_class:
        return "class"
    annotation = alias_of(option.parameter.annotation, option.parameter.scope)
    return _cut(_plain_type(ast.parse(annotation, mode="eval").body), _TYPE_WIDTH) if annotation else ""


def _plain_type(node: ast.expr) -> str:
    """Write `Optional[int]` as `int | None`, `Literal["a", "b"]` as `a|b`, `nn.Module` as `Module`."""
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if node.value.id == "Literal":
            return "|".join(str(part.value) for part in parts if isinstance(part, ast.Constant))
        if node.value.id in ("Union", "Optional"):
            return " | ".join([*map(_plain_type, parts), *(["None"] if node.value.id == "Optional" else [])])
    if isinstance(node, ast.BinOp):
        return f"{_plain_type(node.left)} | {_plain_type(node.right)}"
    return node.attr if isinstance(node, ast.Attribute) else ast.unparse(node)


def _first_sentence(meaning: str) -> str:
    return re.split(r"(?<=[.])\s(?=[A-Z`])", meaning.replace("``", "`"), maxsplit=1)[0]
