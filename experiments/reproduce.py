"""The command behind reproduce.py: a table or figure as a resumable grid, as text, as figures and in W&B."""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

import wandb
from rich.console import Console

from experiments.cell import Cell, CellResult
from experiments.command import ConfigNotFound, show_messages, wandb_mode
from experiments.curves import draw_bits, draw_fractions, draw_map_at, save_figure
from experiments.grid import GridResult, WorkerKilled, run_grid
from experiments.jati2020 import FRONTENDS, METHOD_OF, METHODS, Grid, Target, check_names, default_frontend, grid_of
from experiments.published_values import PublishedTable, read_published
from experiments.search_complexity import measure_complexity
from experiments.search_report import to_table, write_report
from experiments.summary import Row, summarize
from experiments.table_files import csv_text, table_text, write_text

_logger = logging.getLogger(__name__)

REFERENCE = "dqn"
PRESETS = ("smoke", "quick", "full", "paper")
TARGETS = {
    "table1": "methods x code lengths on FSDKaggle2018, 256 codewords a book",
    "table2": "methods x code lengths on ESC-50, 64 codewords a book",
    "fig2": "mAP against the labelled share of the database, FSDKaggle2018, 64 bits",
    "fig3": "mAP@R against R, FSDKaggle2018, 64 bits",
    "complexity": "the slides' table: what a query costs by Euclidean distance, VQ, PQ and DQN, measured",
}
LABELS = {method.name: method.label for method in METHODS}
PUBLISHED_NAMES = {method.name: method.published for method in METHODS}


def reproduce(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: As after `reproduce.py`; None takes the process's own.

    Returns:
        0; 1 if a cell failed, or the grid could not run.

    Raises:
        SystemExit: If the command line is not understood, or asks for help.
    """
    parser = _parser()
    options, passed_on = parser.parse_known_args(arguments)
    stray = [argument for argument in passed_on if argument.startswith("-") and "." not in argument]
    if stray:
        parser.error(f"unknown option {stray[0]}; what goes to every run has a dot, such as --data.root DIR")
    if options.list or options.target is None:
        for name, text in TARGETS.items():
            Console().print(f"{name:12}{text}", highlight=False)
        return 0
    show_messages()
    if options.target == "complexity":
        return _reproduce_complexity(Path(options.output or "runs/reproduce/complexity"), options.preset)
    try:
        grid = _grid(options, passed_on)
        folder = Path(options.output or f"runs/reproduce/{options.target}-{Path(grid.data_config).stem}")
        finished = run_grid(grid.cells(), folder, options.workers)
    except (ConfigNotFound, WorkerKilled, ValueError) as error:
        sys.stderr.write(f"\nerror: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. The same command goes on from the finished cells.\n")
        return 1
    if finished.results:
        _report(cast(Target, options.target), grid, finished, folder, with_wandb=not options.no_wandb)
    for cell, message in finished.failures.items():
        sys.stderr.write(f"failed: {message}\n    {cell.command}\n")
    return 1 if finished.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="reproduce.py",
        description="Reproduce tables and figures of the papers, our numbers beside theirs. A grid that was stopped "
        "goes on where it was. Options with a dot go to every run of train.py: --data.root DIR, --data.name NAME, "
        "--trainer.accelerator cpu.",
    )
    parser.add_argument("target", nargs="?", choices=list(TARGETS), help="what to reproduce; --list explains each")
    parser.add_argument("--list", action="store_true", help="explain what can be reproduced")
    parser.add_argument(
        "--preset", choices=PRESETS, default="full",
        help="paper: five folds, ten seeds; full: three seeds (default); quick: three folds, one seed; smoke: two "
        "code lengths on rendered events, hardly trained, to see that all parts work",
    )  # fmt: skip
    parser.add_argument("--data_config", metavar="NAME", help="corpus, a config such as data/audio_folder.yaml")
    parser.add_argument("--embeddings", nargs="+", metavar="NAME", help=f"of {', '.join(FRONTENDS)}")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help=f"of {', '.join(METHOD_OF)}")
    parser.add_argument("--bits", nargs="+", type=int, metavar="N", help="code lengths")
    parser.add_argument("--num_codewords", type=int, metavar="N", help="codewords a book")
    parser.add_argument("--folds", nargs="+", type=int, metavar="N", help="folds whose clips ask")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="seeds of labels, weights and codes")
    parser.add_argument("--label_fractions", nargs="+", type=float, metavar="X", help="labelled shares, fig2 and fig3")
    parser.add_argument("--output", metavar="DIR", help="folder of cells, tables and figures")
    parser.add_argument("--workers", type=int, metavar="N", help="runs at a time; default one a GPU, or one a core")
    parser.add_argument("--no_wandb", action="store_true", help="log no W&B runs")
    return parser


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
    """Write and show tables and figures."""
    results = {cell: finished.results[cell] for cell in grid.cells() if cell in finished.results}
    data_name = next(iter(results.values())).data_name
    published = read_published("jati2020", "table2" if target == "table2" else "table1")
    rows = summarize(results, REFERENCE)
    text = csv_text(rows, data_name, PUBLISHED_NAMES, published)
    write_text(folder / f"{target}.csv", text)
    if target in ("table1", "table2"):
        for suffix, style in (("md", "github"), ("tex", "latex_booktabs")):
            table = table_text(rows, LABELS, PUBLISHED_NAMES, published, data_name, REFERENCE, style)
            write_text(folder / f"{target}.{suffix}", table)
        sys.stdout.write("\n" + (folder / f"{target}.md").read_text(encoding="utf-8"))
        figure = draw_bits(rows, LABELS, published, data_name)
    elif target == "fig2":
        figure = draw_fractions(rows, LABELS, published, data_name)
    else:
        figure = draw_map_at(rows, LABELS, data_name)
    drawn = save_figure(figure, folder, target)
    seconds = sum(result.seconds for result in results.values())
    console = Console()
    console.print(
        f"{finished.num_run} cells run now, {len(results)} in all, {seconds:.0f} s of one process. Tables and figures: "
        f"{folder}",
        soft_wrap=True,
    )
    if with_wandb:
        _log_to_wandb(target, rows, results, data_name, folder, drawn[0], published)


def _log_to_wandb(
    target: str,
    rows: Sequence[Row],
    results: dict[Cell, CellResult],
    data_name: str,
    folder: Path,
    figure: Path,
    published: PublishedTable,
) -> None:
    """Log a group of runs: one a method, with mAP by code length, and one with the whole table."""
    group = f"{target}-{folder.name}"
    for embedding, method in dict.fromkeys((row.embedding, row.method) for row in rows):
        config = {"method": method, "embedding": embedding, "data_name": data_name, "target": target}
        with wandb.init(
            project="earmark", group=group, job_type=method, name=f"{method}, {embedding}", dir=folder, config=config,
            tags=["reproduce", target], mode=wandb_mode(), settings=wandb.Settings(silent=True),
        ) as run:  # fmt: skip
            run.define_metric("*", step_metric="num_bits")
            for row in rows:
                if (row.embedding, row.method) == (embedding, method):
                    run.log(
                        {"num_bits": row.num_bits, "label_fraction": row.label_fraction, "mAP": row.mean_ap,
                         "mAP_std": row.std, "adjusted_p": row.p_value}
                    )  # fmt: skip
    with wandb.init(
        project="earmark", group=group, job_type="table", name=target, dir=folder, tags=["reproduce", target],
        config={"data_name": data_name, "published": published.source, "num_cells": len(results)}, mode=wandb_mode(),
        settings=wandb.Settings(silent=True),
    ) as run:  # fmt: skip
        columns: list[str | int] = [
            "embedding",
            "method",
            "num_bits",
            "label_fraction",
            "mAP",
            "std",
            "num_folds",
            "num_seeds",
        ]
        table = wandb.Table(columns=columns)
        for row in rows:
            table.add_data(*(getattr(row, "mean_ap" if name == "mAP" else str(name)) for name in columns))
        run.log({"table": table, "figure": wandb.Image(str(figure))})
    Console().print(f"W&B group {group}: {folder / 'wandb'}", soft_wrap=True)


def _reproduce_complexity(folder: Path, preset: str) -> int:
    """Measure, show and write the slides' table."""
    sizes = {"smoke": (1000,), "quick": (10_000, 100_000)}.get(preset, (10_000, 100_000, 1_000_000))
    dims = (32,) if preset == "smoke" else (128, 1000)
    console = Console(stderr=True)
    with console.status("measuring") as status:
        seconds, vq_bits = (0.1, 8) if preset == "smoke" else (1.0, 12)
        measured = measure_complexity(sizes, dims, vq_bits=vq_bits, seconds=seconds, report=status.update)
    Console().print(to_table(measured, "Cost of a query and of an item, measured; the slides' formula beside it"))
    for path in write_report(measured, folder, "complexity"):
        Console().print(str(path), soft_wrap=True)
    return 0
