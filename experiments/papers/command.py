"""The command behind reproduce.py: a table or figure as a resumable grid, as text, as figures and in W&B."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from jsonargparse import ArgumentError
from rich.console import Console

from experiments.command.messages import say, show_messages
from experiments.compare.study_report import Report
from experiments.grids.slurm import SlurmError
from experiments.grids.slurm_options import given_array_options, grid_runner
from experiments.papers.options import make_parser, option_names, split_arguments, summary_of
from experiments.papers.study import Study, StudyError, find_studies


@dataclass(frozen=True)
class Command:
    """What a command line asks for.

    Attributes:
        study: With its options.
        shared: Options that all studies have, or all that run cells.
        arguments: What goes to every run.
    """

    study: Study
    shared: Namespace
    arguments: Sequence[str]


def reproduce(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: As after `reproduce.py`; None takes the process's own.

    Returns:
        0; 1 if a cell failed, or the study could not run.

    Raises:
        SystemExit: If the command line is not understood, or asks for help.
    """
    command = read_command(sys.argv[1:] if arguments is None else arguments)
    if command is None:
        for name, study in _studies().items():
            Console().print(f"{name:12}{summary_of(study)}", highlight=False, soft_wrap=True)
        return 0
    return _show(command)


def read_command(arguments: Sequence[str]) -> Command | None:
    """Read a command line; None if it asks for the list of studies.

    Raises:
        SystemExit: If it is not understood, or asks for help.
    """
    studies = _studies()
    own, passed_on = split_arguments(arguments)
    try:
        parsed = make_parser(studies).parse_args(own)
    except ArgumentError as error:
        target = "".join(f" {each}" for each in own[:1] if each in studies)
        _refuse(
            f"{' '.join(str(error).split())}. Expected what `python reproduce.py{target} --help` lists; what goes to "
            "every run of train.py has a dot, such as --data.root DIR"
        )
    if parsed.list or parsed.target is None:
        return None
    study = studies[parsed.target]
    options = parsed[parsed.target].as_dict()
    own_options = {name: options.pop(name) for name in option_names(study) if name in options}
    for name, value in own_options.items():
        if isinstance(value, list):  # argparse collects several values in one
            own_options[name] = tuple(value)
    study, shared = replace(study, **own_options), Namespace(**options)
    for_slurm = given_array_options(shared) if study.runs_cells else []
    if for_slurm and not shared.slurm:
        _refuse(f"{for_slurm[0]} is for --slurm, which sends the runs to a cluster")
    return Command(study, shared, passed_on)


def read_target(arguments: Sequence[str]) -> str | None:
    """Return the name of the study that a command line asks for.

    Raises:
        SystemExit: If it is not understood, or asks for help.
    """
    command = read_command(arguments)
    return command.study.name if command else None


def _studies() -> dict[str, Study]:
    try:
        return find_studies()
    except StudyError as error:
        _refuse(str(error))


def _show(command: Command) -> int:
    """Run a study, show its first table and log it; or say why not."""
    from datamodules import DatasetError
    from experiments.grids.grid import WorkerKilled, run_grid
    from experiments.grids.slurm_array import CellsPending
    from lightning_modules.frontends.pretrained.release import WeightsError
    from search_tool.model_records import SearchError
    from sound.errors import SoundError
    from storage.errors import StorageError

    show_messages()
    study, shared = command.study, command.shared
    try:
        run_cells = grid_runner(shared) if study.runs_cells else run_grid
        report = study.run(command.arguments, shared.output, run_cells)
    except CellsPending as pending:
        say(str(pending))
        return 0
    except (
        DatasetError, SearchError, SlurmError, SoundError, StorageError, WeightsError, WorkerKilled, ValueError,
    ) as error:  # fmt: skip
        sys.stderr.write(f"\nerror: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. The same command goes on from what is finished.\n")
        return 1
    for failure in report.failures:
        sys.stderr.write(f"failed: {failure}\n")
    if report.tables:
        sys.stdout.write(f"\n{report.tables[0].markdown()}\n")
        say(f"Report, tables and figures: {report.folder / 'report.md'}")
    for remark in report.remarks:
        say(remark)
    if report.tables and study.is_logged and not shared.no_wandb:
        _log(study.name, report)
    return 1 if report.failures else 0


def _log(name: str, report: Report) -> None:
    from experiments.papers.wandb_group import log_report

    log_report(name, report)
    say(f"W&B runs, offline unless you are logged in: {report.folder / 'wandb'}")


def _refuse(message: str) -> NoReturn:
    sys.stderr.write(f"error: {message}\n")
    raise SystemExit(2)
