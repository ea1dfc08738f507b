"""The command behind reproduce.py: a table or figure as a resumable grid, as text, as figures and in W&B."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

from rich.console import Console

from experiments.command.configs import ConfigError
from experiments.command.messages import show_messages
from experiments.grids.cell import Cell, CellResult, GridResult
from experiments.grids.grid import WorkerKilled
from experiments.grids.slurm import SlurmError
from experiments.grids.slurm_array import CellsPending
from experiments.grids.slurm_options import add_array_options, given_array_options, grid_runner
from experiments.grids.sweep_command import OWN_TARGETS, parse_own, reproduce_own
from experiments.papers.curves import draw_bits, draw_fractions, draw_map_at, save_figure
from experiments.papers.fan2020.runs import METHODS as SONYC_METHODS
from experiments.papers.jati2020.search_complexity import measure_complexity
from experiments.papers.jati2020.search_report import to_table, write_report
from experiments.papers.jati2020.study import (
    FRONTENDS,
    METHOD_OF,
    METHODS,
    Grid,
    Target,
    check_names,
    default_frontend,
    grid_of,
)
from experiments.papers.pedersen2024.runs import METHODS as LLAR_METHODS
from experiments.papers.published_values import read_published
from experiments.papers.singh2024.settings import HASHES as FLOWHASH_METHODS
from experiments.papers.studies import reproduce_flowhash, reproduce_llar, reproduce_sonyc, say
from experiments.papers.summary import summarize
from experiments.papers.table_files import TableText, bits_table, csv_text, cutoffs_table, fractions_table
from experiments.papers.wandb_group import log_complexity, log_rows
from storage.atomic import write_text

REFERENCE = "dqn"
PRESETS = ("smoke", "quick", "full", "paper", "medium", "large")
TARGETS = {
    "table1": "methods x code lengths on FSDKaggle2018, 256 codewords a book",
    "table2": "methods x code lengths on ESC-50, 64 codewords a book",
    "fig2": "mAP against the labelled share of the database, FSDKaggle2018, 64 bits",
    "fig3": "mAP@R against R, FSDKaggle2018, 64 bits",
    "llar": "the thesis on learned representations: VAE, YAMNet features and baselines, searched, classified, tested",
    "sonyc": "mAP_s@K on SONYC-UST of models that compare pairs, fig. 3 of the Siamese network's paper",
    "flowhash": "FlowHash's paper: encoders x hash tables x query lengths x distortion, balance of buckets, toys",
    "complexity": "the slides' table: what a query costs by Euclidean distance, VQ, PQ and DQN, measured",
}
_GRID_OPTIONS = (
    "data_config", "embeddings", "methods", "bits", "num_codewords", "folds", "seeds", "label_fractions", "workers",
)  # fmt: skip
_PAIR_OPTIONS = ("methods", "seeds", "workers")
_CHECKPOINT_OPTIONS = (
    "fingerprinter", "nafp", "attention", "flowhash", "flowhash_contrast", "flowhash_plus", "flowhash_without_bce",
    "num_queries",
)  # fmt: skip
_FLOWHASH_OPTIONS = ("methods", "bits", "data_config")
_CODE_OPTIONS = ("embeddings", "bits", "num_codewords", "seeds", "label_fractions")


def reproduce(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: As after `reproduce.py`; None takes the process's own.

    Returns:
        0; 1 if a cell failed, or the grid could not run.

    Raises:
        SystemExit: If the command line is not understood, or asks for help.
    """
    options, passed_on = parse_reproduce(sys.argv[1:] if arguments is None else arguments)
    if options.target in OWN_TARGETS:
        return reproduce_own(options, passed_on)
    if options.list or options.target is None:
        for name, text in (TARGETS | OWN_TARGETS).items():
            Console().print(f"{name:12}{text}", highlight=False)
        return 0
    show_messages()
    if options.target == "flowhash":
        return reproduce_flowhash(options, passed_on)
    if options.target == "complexity":
        return _reproduce_complexity(options)
    if options.target == "llar":
        return reproduce_llar(options, passed_on)
    if options.target == "sonyc":
        return reproduce_sonyc(options, passed_on)
    try:
        grid, run = _grid(options, passed_on), grid_runner(options)
        folder = Path(options.output or f"runs/reproduce/{options.target}-{Path(grid.data_config).stem}")
        finished = run(grid.cells(), folder)
        if finished.results:
            _report(cast(Target, options.target), grid, finished, folder, with_wandb=not options.no_wandb)
    except CellsPending as pending:
        say(str(pending))
        return 0
    except (ConfigError, SlurmError, WorkerKilled, ValueError) as error:
        sys.stderr.write(f"\nerror: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. The same command goes on from the finished cells.\n")
        return 1
    for cell, failure in finished.failures.items():
        others = " The other runs of this embedding are left out." if failure.concerns_all else ""
        sys.stderr.write(f"failed: {failure.message}{others}\n    {cell.command}\n")
    return 1 if finished.failures else 0


def parse_reproduce(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Read a command line; return its options, and the arguments that go to every run.

    Raises:
        SystemExit: If it is not understood, or asks for help.
    """
    if arguments and arguments[0] in OWN_TARGETS:
        return parse_own(arguments)
    parser = _parser()
    options, passed_on = parser.parse_known_args(arguments)
    stray = [argument for argument in passed_on if argument.startswith("-") and "." not in argument.partition("=")[0]]
    if stray:
        parser.error(f"unknown option {stray[0]}; what goes to every run has a dot, such as --data.root DIR")
    if options.list or options.target is None:
        return options, passed_on
    for_slurm = given_array_options(options)
    if for_slurm and not options.slurm:
        parser.error(f"{for_slurm[0]} is for --slurm, which sends the runs to a cluster")
    if options.slurm and options.target in ("flowhash", "complexity"):
        parser.error(f"{options.target} runs in one process: python submit.py reproduce {options.target}")
    if options.target == "flowhash":
        if any(getattr(options, name) for name in _GRID_OPTIONS if name not in _FLOWHASH_OPTIONS):
            parser.error("flowhash takes --methods, --bits, --data_config, --num_queries and checkpoints")
        return options, passed_on
    if options.preset in ("medium", "large") or any(getattr(options, name) for name in _CHECKPOINT_OPTIONS):
        parser.error("medium and large, --num_queries and checkpoints are for flowhash")
    if options.target == "complexity" and (passed_on or any(getattr(options, name) for name in _GRID_OPTIONS)):
        parser.error("complexity runs no grid: it takes --preset, --output and --no_wandb alone")
    if options.target == "llar" and any(getattr(options, name) for name in _CODE_OPTIONS):
        parser.error("llar compares features, not codes: it takes --methods, --folds, --data_config and --workers")
    if options.target == "sonyc" and any(getattr(options, name) for name in _GRID_OPTIONS if name not in _PAIR_OPTIONS):
        parser.error("sonyc ranks by comparing pairs: it takes --methods, --seeds and --workers")
    if options.label_fractions and options.target.startswith("table"):
        parser.error("--label_fractions is for fig2 and fig3; a table takes --data.label_fraction X")
    return options, passed_on


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="reproduce.py",
        description="Reproduce tables and figures of the papers, our numbers beside theirs. A grid that was stopped "
        "goes on where it was. Options with a dot go to every run of train.py: --data.root DIR, --data.name NAME, "
        "--trainer.accelerator cpu. `sweep` and `choose` have options of their own: reproduce.py sweep --help.",
    )
    parser.add_argument("target", nargs="?", choices=list(TARGETS), help="what to reproduce; --list explains each")
    parser.add_argument("--list", action="store_true", help="explain what can be reproduced")
    parser.add_argument(
        "--preset", choices=PRESETS, default="full",
        help="paper: five folds, ten seeds; full: three seeds (default); quick: three folds, one seed; smoke: two "
        "code lengths on rendered events, hardly trained, to see that all parts work. llar: full trains the small VAE "
        "on five folds, paper its variants and the thesis's sizes too (for a GPU), quick takes two folds. sonyc: full "
        "has every model and three seeds, quick the three that matter and one. flowhash: smoke trains no encoder and "
        "hardly a hash, medium (also quick, full) is FMA medium at 16 bits, large (also paper) FMA large at 24",
    )  # fmt: skip
    parser.add_argument("--data_config", metavar="NAME", help="corpus, a config such as data/audio_folder.yaml")
    parser.add_argument("--embeddings", nargs="+", metavar="NAME", help=f"of {', '.join(FRONTENDS)}")
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        help=f"of {', '.join(METHOD_OF)}; of llar {', '.join(LLAR_METHODS)}; of sonyc {', '.join(SONYC_METHODS)}; of "
        f"flowhash {', '.join(FLOWHASH_METHODS)}",
    )  # fmt: skip
    parser.add_argument("--bits", nargs="+", type=int, metavar="N", help="code lengths")
    parser.add_argument("--num_codewords", type=int, metavar="N", help="codewords a book")
    parser.add_argument("--folds", nargs="+", type=int, metavar="N", help="folds whose clips ask")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="seeds of labels, weights and codes")
    parser.add_argument("--label_fractions", nargs="+", type=float, metavar="X", help="labelled shares, fig2 and fig3")
    _add_flowhash_options(parser)
    parser.add_argument("--output", metavar="DIR", help="folder of cells, tables and figures")
    parser.add_argument("--no_wandb", action="store_true", help="log no W&B runs")
    add_array_options(parser)
    return parser


def _add_flowhash_options(parser: argparse.ArgumentParser) -> None:
    """Add what is for flowhash alone."""
    group = parser.add_argument_group("flowhash", "checkpoints; what is not given is trained by its config")
    group.add_argument("--fingerprinter", nargs="+", metavar="CKPT", help="transformers; the first is what is hashed")
    group.add_argument("--nafp", metavar="CKPT", help="of fingerprinter_nafp.yaml; left out where it is not given")
    group.add_argument("--attention", metavar="CKPT", help="of fingerprinter_attention.yaml; likewise")
    for name in ("flowhash", "flowhash_contrast", "flowhash_plus", "flowhash_without_bce"):
        text = "of flowhash.yaml with --model.bit_weight 0" if name == "flowhash_without_bce" else f"of {name}.yaml"
        group.add_argument(f"--{name}", nargs="+", metavar="CKPT", help=f"{text}, one a code length")
    group.add_argument(
        "--num_queries", nargs="+", type=int, metavar="N", help="of each condition: of one second, and of longer ones"
    )


def _grid(options: argparse.Namespace, passed_on: Sequence[str]) -> Grid:
    """Take the preset's grid and what the command line changes.

    Raises:
        ValueError: If a name is not known.
        ConfigNotFound: If there is no such data config.
    """
    assert options.target in get_args(Target)
    grid = grid_of(options.target, options.preset)
    own = (default_frontend(options.data_config) or grid.embeddings[0],) if options.data_config else grid.embeddings
    grid = replace(
        grid,
        data_config=options.data_config or grid.data_config,
        embeddings=tuple(options.embeddings or own),
        methods=tuple(options.methods or grid.methods),
        bits=tuple(options.bits or grid.bits),
        num_codewords=options.num_codewords or grid.num_codewords,
        folds=tuple(options.folds or grid.folds),
        seeds=tuple(options.seeds or grid.seeds),
        label_fractions=tuple(options.label_fractions or grid.label_fractions),
        arguments=(*grid.arguments, *passed_on),
    )
    check_names(grid.embeddings, list(FRONTENDS), "embeddings")
    check_names(grid.methods, list(METHOD_OF), "methods")
    return grid


def _report(target: Target, grid: Grid, finished: GridResult, folder: Path, *, with_wandb: bool) -> None:
    """Write and show tables and figures.

    Raises:
        ValueError: If cells that belong together were scored on different queries.
    """
    cells = grid.cells()
    results = {cell: finished.results[cell] for cell in cells if cell in finished.results}
    # a figure is held to the table of its corpus
    of_corpus = "table2" if grid.data_config == "data/esc50.yaml" else "table1"
    published_table = target if target.startswith("table") else of_corpus
    rows = summarize(_at_every_length(results, grid.bits), REFERENCE)
    text = TableText(
        labels={method.name: method.label for method in METHODS},
        published_names={method.name: method.published for method in METHODS},
        published=read_published("jati2020", published_table),
        data_name=next(iter(results.values())).data_name,
        reference=REFERENCE,
        num_missing=len(cells) - len(results),
    )
    lay_out, draw = {
        "table1": (bits_table, draw_bits), "table2": (bits_table, draw_bits),
        "fig2": (fractions_table, draw_fractions), "fig3": (cutoffs_table, draw_map_at),
    }[target]  # fmt: skip
    write_text(folder / f"{target}.csv", csv_text(rows, text))
    shown = lay_out(rows, text, "github")
    write_text(folder / f"{target}.md", shown)
    write_text(folder / f"{target}.tex", lay_out(rows, text, "latex_booktabs"))
    figure = save_figure(draw(rows, text), folder, target)[0]
    sys.stdout.write("\n" + shown + "\n")
    seconds = sum(result.seconds for result in results.values())
    say(f"{finished.num_run} cells run now, {len(results)} in all, {seconds:.0f} s of one process.")
    say(f"Tables and figures: {folder}")
    if with_wandb:
        log_rows(target, rows, text.data_name, folder, figure)
        say(f"W&B runs, offline unless you are logged in: {folder / 'wandb'}")


def _at_every_length(results: Mapping[Cell, CellResult], bits: Sequence[int]) -> dict[Cell, CellResult]:
    """Show a search without a code at every code length, so that each can be compared with it."""
    return {
        replace(cell, num_bits=num_bits): result
        for cell, result in results.items()
        for num_bits in (bits if cell.scores_exactly else [cell.num_bits])
    }


def _reproduce_complexity(options: argparse.Namespace) -> int:
    """Measure, show and write the slides' table."""
    folder = Path(options.output or "runs/reproduce/complexity")
    sizes = {"smoke": (1000,), "quick": (10_000, 100_000)}.get(options.preset, (10_000, 100_000, 1_000_000))
    dims = (32,) if options.preset == "smoke" else (128, 1000)
    seconds, vq_bits = (0.1, 8) if options.preset == "smoke" else (1.0, 12)
    with Console(stderr=True).status("measuring") as status:
        measured = measure_complexity(sizes, dims, vq_bits=vq_bits, seconds=seconds, report=status.update)
    table = to_table(measured, "Cost of a query and of an item, measured; the slides' formula beside it")
    Console(width=max(Console().width, 120)).print(table)
    written = write_report(measured, folder, "complexity")
    say(f"Tables and figures: {folder}")
    if not options.no_wandb:
        log_complexity(measured, folder, next(path for path in written if path.suffix == ".png"))
        say(f"W&B run, offline unless you are logged in: {folder / 'wandb'}")
    return 0
