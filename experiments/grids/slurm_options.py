"""Options of submit.py and `reproduce.py --slurm` that say what a job asks the cluster for."""

import argparse
from functools import partial

from experiments.grids.cell import GridRunner
from experiments.grids.slurm import JobOptions, SlurmError


def add_job_options(parser: argparse.ArgumentParser) -> None:
    """Add them; `job_options_of` reads them."""
    group = parser.add_argument_group("the cluster", "what a job asks SLURM for")
    group.add_argument("--gpus", type=_gpus, metavar="[TYPE:]N", help="GPUs of a node; 0 runs on processors; default 1")
    group.add_argument("--time", metavar="LIMIT", help="hours:minutes:seconds, days-hours or minutes; default 4:00:00")
    group.add_argument("--cpus", type=_positive, metavar="N", help="processors of a process; default 4")
    group.add_argument("--memory", metavar="SIZE", help="of a node, such as 64G; default the cluster's")
    group.add_argument("--partition", metavar="NAME", help="queue; `sinfo` lists them")
    group.add_argument("--account", metavar="NAME", help="whom it is charged to")
    group.add_argument("--qos", metavar="NAME", help="quality of service")
    group.add_argument("--name", metavar="NAME", help="shown by squeue; default after what is run")
    group.add_argument(
        "--sbatch", action="append", metavar="OPTION", help="further option of sbatch, such as "
        "--sbatch=--constraint=a100; may be repeated",
    )  # fmt: skip
    group.add_argument(
        "--setup", action="append", metavar="LINE", help="shell line that makes the environment on a node, such as "
        "'module load cuda'; may be repeated",
    )  # fmt: skip
    group.add_argument("--dry-run", action="store_true", help="show the script, send nothing")


def add_array_options(parser: argparse.ArgumentParser) -> None:
    """Add what says how a grid is run; `grid_runner` reads it."""
    parser.add_argument("--workers", type=int, metavar="N", help="runs at a time; default one a GPU, or one a core")
    group = parser.add_argument_group("SLURM", "send the runs as one array of jobs, and collect their results")
    group.add_argument("--slurm", action="store_true", help="do so; the same command sends what got lost again")
    group.add_argument("--chunk", type=_positive, metavar="N", help="runs a job; default so that there are 100 jobs")
    group.add_argument("--at_once", type=_positive, metavar="N", help="jobs that run at the same time; default 16")
    group.add_argument("--no_wait", action="store_true", help="don't wait; the same command collects")
    add_job_options(parser)


def given_array_options(options: argparse.Namespace) -> list[str]:
    """Name the options that were given and are for `--slurm` alone."""
    names = ("gpus", "time", "cpus", "memory", "partition", "account", "qos", "name", "sbatch", "setup", "dry_run")
    own = ("chunk", "at_once", "no_wait")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(options, name)]
    return given + [f"--{name}" for name in own if getattr(options, name)]


def grid_runner(options: argparse.Namespace) -> GridRunner:
    """Return what runs the cells of a grid: this machine, or an array of jobs.

    Raises:
        SlurmError: If options contradict each other.
    """
    from experiments.grids.grid import run_grid  # brings torch, which reading a command line does without
    from experiments.grids.slurm_array import ArrayOptions, run_array

    if options.slurm:
        if options.workers:
            raise SlurmError("Expected --at_once with --slurm, where each job runs a cell at a time; got --workers.")
        own = {"at_once": options.at_once} if options.at_once else {}
        array = ArrayOptions(
            job_options_of(options), options.chunk, waits=not options.no_wait, is_dry=options.dry_run, **own
        )
        return partial(run_array, options=array)
    return partial(run_grid, num_workers=options.workers)


def job_options_of(options: argparse.Namespace) -> JobOptions:
    """Read what `add_job_options` added, and `--nodes`, `--tasks` and `--grace` where the command has them.

    Raises:
        SlurmError: If options contradict each other.
    """
    gpu_type, _, num_gpus = (options.gpus or "1").rpartition(":")
    given = {
        "num_nodes": getattr(options, "nodes", None), "num_tasks": getattr(options, "tasks", None),
        "grace_seconds": getattr(options, "grace", None), "num_cpus": options.cpus, "time_limit": options.time,
        "memory": options.memory, "partition": options.partition, "account": options.account, "qos": options.qos,
        "name": options.name, "sbatch": tuple(options.sbatch or ()), "setup": tuple(options.setup or ()),
    }  # fmt: skip
    return JobOptions(
        num_gpus=int(num_gpus),
        gpu_type=(gpu_type,) if gpu_type else (),
        **{name: value for name, value in given.items() if value is not None},
    )


def _gpus(text: str) -> str:
    if not text.rpartition(":")[2].isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number of GPUs, or a type and a number as a100:4; got {text}")
    return text


def _positive(text: str | int) -> int:  # jsonargparse checks what it has parsed once more
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1; got {text}")
    return value
