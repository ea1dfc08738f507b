"""The targets of reproduce.py that vary options of any config: `sweep`, a grid, and `choose`, by cross-validation."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.command.configs import ConfigError
from experiments.command.messages import show_messages
from experiments.compare.comparison import ComparisonOptions
from experiments.compare.report import show_comparison, write_comparison
from experiments.compare.run_comparison import compare_runs
from experiments.compare.run_files import find_runs
from experiments.compare.run_records import read_runs
from experiments.compare.study_table import table_files
from experiments.grids.cross_validation import LAMBDA, LAMBDAS, Choice, choose, cross_validation_cells
from experiments.grids.cross_validation_report import choice_table, draw_choices
from experiments.grids.grid import GridResult, WorkerKilled
from experiments.grids.slurm import SlurmError
from experiments.grids.slurm_array import CellsPending
from experiments.grids.slurm_options import add_array_options, given_array_options, grid_runner
from experiments.grids.sweep import SWEEP_FOLDER, Sweep, read_sweep_file
from experiments.papers.curves import save_figure
from experiments.papers.studies import say
from storage.atomic import write_text

OWN_TARGETS = {
    "sweep": "a grid over options of any config, such as lambda, bits, learning rate; `reproduce.py sweep --help`",
    "choose": "lambda by cross-validation inside the training set, or another option; `reproduce.py choose --help`",
}


def parse_own(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Read a command line of `sweep` or `choose`; return its options, and the arguments that go to every run.

    Args:
        arguments: As after `reproduce.py`, the target first.

    Raises:
        SystemExit: If it is not understood, or asks for help.
    """
    target, *rest = arguments
    parser = _sweep_parser() if target == "sweep" else _choose_parser()
    options, passed_on = parser.parse_known_args(rest)
    options.target = target
    stray = [argument for argument in passed_on if argument.startswith("-") and "." not in argument.partition("=")[0]]
    if stray:
        parser.error(f"unknown option {stray[0]}; what goes to every run has a dot, such as --data.root DIR")
    if not options.config and not getattr(options, "file", None):
        parser.error("expected --config NAME, a config of train.py such as dqn.yaml")
    for_slurm = given_array_options(options)
    if for_slurm and not options.slurm:
        parser.error(f"{for_slurm[0]} is for --slurm, which sends the runs to a cluster")
    return options, passed_on


def reproduce_own(options: argparse.Namespace, passed_on: Sequence[str]) -> int:
    """Run `sweep` or `choose`.

    Args:
        options: As `parse_own` returns them.
        passed_on: Arguments that go to every run.

    Returns:
        0; 1 if a run failed, or the grid could not run.
    """
    show_messages()
    try:
        return _sweep(options, passed_on) if options.target == "sweep" else _choose(options, passed_on)
    except CellsPending as pending:
        say(str(pending))
        return 0
    except (ConfigError, SlurmError, WorkerKilled, ValueError) as error:
        sys.stderr.write(f"\nerror: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. The same command goes on from the finished runs.\n")
        return 1


def _sweep(options: argparse.Namespace, passed_on: Sequence[str]) -> int:
    """Run a grid and compare its runs."""
    configs, over = tuple(options.config or ()), dict[str, tuple[str, ...]]()
    if options.file:
        configs_of_file, over = read_sweep_file(_find_sweep(options.file))
        configs = configs or configs_of_file
    for text in options.over or ():
        option, equals, values = text.partition("=")
        if not equals or not all(values.split(",")):
            raise ValueError(f"Expected --over OPTION=VALUE,VALUE,...; got {text}. Try --over model.num_bits=12,24.")
        over[option] = tuple(values.split(","))
    seeds = tuple(int(seed) for seed in over.pop("seed_everything", ()))  # a W&B sweep lists them among its parameters
    if not over:
        raise ValueError("Expected what to vary, --over OPTION=VALUE,VALUE,... or --file NAME; got neither.")
    sweep = Sweep(configs, over, tuple(options.seeds or seeds or (0,)), tuple(options.folds or ()), tuple(passed_on))
    folder = Path(options.output or f"runs/sweep/{Path(configs[0]).stem}")
    cells = sweep.cells()
    finished = grid_runner(options)(cells, folder)
    if finished.results:
        paths = [str(folder / "cells" / f"{cell.key}.json") for cell in cells if cell in finished.results]
        records, left_out = read_runs(find_runs(paths))
        comparison = compare_runs(records, left_out, ComparisonOptions(baseline=options.baseline))
        written = write_comparison(comparison, folder)
        show_comparison(comparison)
        say(f"{finished.num_run} runs now, {len(finished.results)} in all. Report: {written}")
    return _tell_failures(finished)


def _choose(options: argparse.Namespace, passed_on: Sequence[str]) -> int:
    """Choose an option for each test fold, and report it."""
    base = Sweep(tuple(options.config), {}, tuple(options.seeds), tuple(options.folds or ()), tuple(passed_on))
    folder = Path(options.output or f"runs/choose/{Path(options.config[0]).stem}")
    value_of = cross_validation_cells(base, options.option, options.values, options.num_folds)
    finished = grid_runner(options)(list(value_of), folder)
    if finished.failures:
        return _tell_failures(finished)
    choices: dict[int, Choice] = {}
    for fold in dict.fromkeys(cell.fold for cell in value_of):
        own = {cell: value for cell, value in value_of.items() if cell.fold == fold}
        choices[fold] = choose(options.option, finished.results, own)
    table = choice_table(choices, options.num_folds)
    for path, text in table_files([table], folder).items():
        write_text(path, text)
    picture = save_figure(draw_choices(choices), folder, "choice")[0]
    write_text(folder / "report.md", f"{table.markdown()}\n![{table.title}]({picture.name})\n")
    sys.stdout.write("\n" + table.text("github") + "\n")
    for fold, choice in choices.items():
        say(f"Chosen{f', test fold {fold}' if fold else ''}: --{choice.option}={choice.value}")
    say(f"{finished.num_run} runs now, {len(finished.results)} in all. Report: {folder / 'report.md'}")
    return 0


def _tell_failures(finished: GridResult) -> int:
    """Say which runs failed and why; return the exit status."""
    for cell, failure in finished.failures.items():
        others = " The other runs of this corpus are left out." if failure.concerns_all else ""
        sys.stderr.write(f"failed: {failure.message}{others}\n    {cell.command}\n")
    return 1 if finished.failures else 0


def _find_sweep(name: str) -> Path:
    """Find a sweep file: a path as it is, else a name among the shipped ones.

    Raises:
        ValueError: If there is none.
    """
    for candidate in (Path(name), SWEEP_FOLDER / name, SWEEP_FOLDER / f"{name}.yaml"):
        if candidate.is_file():
            return candidate
    known = ", ".join(sorted(path.name for path in SWEEP_FOLDER.glob("*.yaml")))
    raise ValueError(f"No sweep {name!r}: it is not a file, and experiments/grids/sweeps has {known}.")


def _sweep_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="reproduce.py sweep",
        description="Run every combination of values, several at a time, resumably, and compare the runs: a table with "
        "mean and deviation over seeds, plots, significance. Needs no account. Options with a dot go to every run.",
        epilog="reproduce.py sweep --config dqn.yaml --over model.quantization_weight=0,0.01,1 --over "
        "model.num_bits=12,24 --over model.optimizer.init_args.lr=0.001,0.003 --seeds 0 1 2 --data.root DIR",
    )
    _add_common(parser)
    parser.add_argument("--file", metavar="NAME", help="a W&B sweep file that lists values, such as dqn.yaml")
    parser.add_argument("--over", action="append", metavar="OPTION=A,B", help="an option and its values; repeat it")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="of labels, weights and codes; default 0")
    parser.add_argument("--baseline", metavar="OPTION=VALUE", help="what the others are tested against")
    return parser


def _choose_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="reproduce.py choose",
        description="Choose lambda, or another numeric option, by cross-validation inside the labelled training set: "
        "each fold of the labelled clips asks the others, which are trained on. Test queries and unlabelled clips are "
        "not looked at. Of tied values the smallest is chosen. Options with a dot go to every run.",
        epilog="reproduce.py choose --config dqn.yaml --num_folds 4 --seeds 0 1 2 --data.root DIR",
    )
    _add_common(parser)
    parser.add_argument("--option", default=LAMBDA, help="what to choose; default %(default)s")
    parser.add_argument("--values", nargs="+", default=LAMBDAS, metavar="X", help=f"default {' '.join(LAMBDAS)}")
    parser.add_argument("--num_folds", type=int, default=4, metavar="N", help="of the labelled clips; default 4")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N", help="of weights and codes")
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", action="append", metavar="NAME", help="of train.py; repeat it to layer a corpus")
    parser.add_argument("--folds", nargs="+", type=int, metavar="N", help="test folds; default the config's")
    parser.add_argument("--output", metavar="DIR", help="folder of runs, tables and figures")
    add_array_options(parser)
