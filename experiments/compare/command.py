"""The command behind compare.py: many runs in one table, with its plots, significance and a page to send around."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.compare.run_files import NoRunsFound, find_runs

if TYPE_CHECKING:
    from experiments.compare.run_records import LeftOut, RunRecord

_DESCRIPTION = """\
Compare runs: one table with a row a setting, its columns the options in which the runs differ. Runs that differ in
seeds and folds alone are one row, with mean and standard deviation. Options that a config decides alone are folded
into its name; the report lists them. Works without an account and without a network.
"""
_EPILOG = """\
examples:
  python compare.py runs                                   everything under runs/
  python compare.py 'runs/dqn/*' 'runs/pq/*' --baseline pq  what is better than pq, at equal other options
  python compare.py runs/sweep/dqn --baseline model.quantization_weight=0
  python compare.py runs --metrics 'test/mAP*' test/hit@1 --sort test/mAP
  python compare.py runs --group_by config model.num_bits --output comparison

Significance: where the runs kept the score of each query (report/queries.csv, cells of a grid), a paired permutation
test over queries, seeds meaned first; otherwise over folds or seeds that both sides have, which can't be significant
with five pairs or fewer. p-values are corrected by Holm's method. The report says which test was made.

Damaged and unfinished runs are listed and left out; of runs with the same options and seeds the last one counts.
"""


def compare(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: As after `compare.py`; None takes the process's own.

    Returns:
        0; 1 if there is nothing to compare.

    Raises:
        SystemExit: If the command line is not understood, or asks for help.
    """
    options = _parser().parse_args(arguments)
    # they bring scikit-learn and matplotlib, which reading a command line does without
    from experiments.compare.comparison import ComparisonError, ComparisonOptions
    from experiments.compare.report import show_comparison, write_comparison
    from experiments.compare.run_comparison import compare_runs

    try:
        records, left_out = _read(options.runs)
        asked = ComparisonOptions(
            metrics=tuple(options.metrics),
            group_by=tuple(options.group_by),
            sort=options.sort,
            baseline=options.baseline,
            level=options.level,
        )
        comparison = compare_runs(records, left_out, asked)
        page = write_comparison(comparison, Path(options.output))
    except (NoRunsFound, ComparisonError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    show_comparison(comparison)
    sys.stdout.write(f"Report with plots: {page}\n")
    return 0


def _read(names: Sequence[str]) -> "tuple[list[RunRecord], list[LeftOut]]":
    """Read folders, files and globs; what is none of these and looks like a W&B project, as one.

    Raises:
        NoRunsFound: If a name holds no run.
    """
    from experiments.compare.run_records import read_runs
    from experiments.compare.wandb_project import is_project, read_project

    records: list[RunRecord] = []
    left_out: list[LeftOut] = []
    projects = [name for name in names if is_project(name) and not Path(name).exists()]
    local = [name for name in names if name not in projects]
    for read in [*([read_runs(find_runs(local))] if local else []), *(read_project(name) for name in projects)]:
        records += read[0]
        left_out += read[1]
    return records, left_out


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="compare.py",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUNS",
        help="folders (searched to any depth), files and globs that hold offline W&B runs, CSV logs, run folders of "
        "train.py or cells of reproduce.py; or entity/project of W&B, when logged in",
    )  # fmt: skip
    parser.add_argument(
        "--metrics", nargs="+", default=(), metavar="NAME",
        help="metrics to show, * for any text; the first is tested and drawn. Default: test/ first, at most five",
    )  # fmt: skip
    parser.add_argument(
        "--group_by", nargs="+", default=(), metavar="OPTION",
        help="options that make the rows, such as config model.num_bits; default: all that differ",
    )  # fmt: skip
    parser.add_argument(
        "--baseline", default="", metavar="VALUE",
        help="what the others are tested against: OPTION=VALUE, or a value of a column, such as a config's name",
    )  # fmt: skip
    parser.add_argument("--level", type=float, default=0.05, metavar="P", help="significance level; default 0.05")
    parser.add_argument("--sort", default="", metavar="NAME", help="a metric, largest first, or a column")
    parser.add_argument(
        "--output", default="runs/comparison", metavar="DIR",
        help="folder of comparison.html, .md, .csv and the plots; default runs/comparison",
    )  # fmt: skip
    return parser
