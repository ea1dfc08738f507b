"""The command line of reproduce.py: a subcommand a study, with the study's own options."""

import dataclasses
from argparse import SUPPRESS, HelpFormatter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import docstring_parser
from jsonargparse import ArgumentParser

from experiments.grids.slurm_options import add_array_options
from experiments.papers.study import Study


def make_parser(studies: Mapping[str, Study]) -> ArgumentParser:
    """Return the parser; what is parsed has the study's name as `target`, and its options under that name."""
    parser = _new_parser(
        "reproduce.py",
        "Reproduce tables and figures of the papers, our numbers beside theirs. A grid that was stopped goes on where "
        "it was. Options with a dot go to every run of train.py: --data.root DIR, --data.name NAME, "
        "--trainer.accelerator cpu.",
    )
    parser.add_argument("--list", action="store_true", help="say what can be reproduced")
    targets = parser.add_subcommands(required=False, dest="target", metavar="TARGET", title="targets")
    for name, study in studies.items():
        targets.add_subcommand(name, _study_parser(study), help=summary_of(study))
    return parser


def summary_of(study: Study) -> str:
    """Return the first line of what a study says of itself."""
    return docstring_parser.parse(type(study).__doc__ or "").short_description or ""


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part what the command takes itself from options with a dot and their values, which go to every run."""
    own: list[str] = []
    passed_on: list[str] = []
    is_value = False  # of an option with a dot
    for argument in arguments:
        has_dot = argument.startswith("--") and "." in argument.partition("=")[0]
        is_value = is_value and not argument.startswith("--")
        (passed_on if has_dot or is_value else own).append(argument)
        is_value = has_dot and "=" not in argument
    return own, passed_on


def option_names(study: Study) -> list[str]:
    """Name the options that are a study's own."""
    return [each.name for each in dataclasses.fields(study)]


def _study_parser(study: Study) -> ArgumentParser:
    said = docstring_parser.parse(type(study).__doc__ or "")
    parser = _new_parser(
        f"reproduce.py {study.name}", "\n".join(filter(None, (said.short_description, said.long_description)))
    )
    documented = [docstring_parser.parse(each.__doc__ or "") for each in reversed(type(study).__mro__)]
    texts = {each.arg_name: each.description or "" for doc in documented for each in doc.params}
    kinds = get_type_hints(type(study))
    for option in dataclasses.fields(study):
        _add_option(parser, option, kinds[option.name], texts.get(option.name, ""))
    parser.add_argument("--output", type=Path, metavar="DIR", help="Folder of all that is written.")
    if study.is_logged:
        parser.add_argument("--no_wandb", action="store_true", help="Log no W&B runs.")
    if study.runs_cells:
        add_array_options(parser)
    return parser


def _new_parser(program: str, description: str) -> ArgumentParser:
    return ArgumentParser(
        prog=program, description=description, exit_on_error=False, allow_abbrev=False, formatter_class=HelpFormatter
    )


def _add_option(parser: ArgumentParser, option: dataclasses.Field[Any], kind: Any, text: str) -> None:  # noqa: ANN401 - a type
    choices = option.metadata.get("choices", ())
    text += f" Of {', '.join(choices)}." if choices else ""
    text += f" Default: {_shown(option.default)}." if option.default else ""
    settings: dict[str, Any] = {"type": kind, "default": option.default}
    if get_origin(kind) is tuple:
        each = get_args(kind)[0]
        settings |= {"type": each, "nargs": "+", "metavar": {int: "N", float: "X"}.get(each, "NAME")}
        if isinstance(option.default, tuple):
            settings["default"] = list(option.default)  # the parser replaces its elements one by one
        if not option.default:  # which leaves it to the study; a repeated option adds to what was given
            settings |= {"action": "extend", "default": SUPPRESS}
    if choices:
        settings["choices"] = choices
    if kind is bool:
        settings = {"action": "store_true"}
    parser.add_argument(f"--{option.name}", help=text.replace("%", "%%"), **settings)


def _shown(default: object) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
