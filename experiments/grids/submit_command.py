"""The command behind submit.py: a command of train.py or reproduce.py as a SLURM job."""

import argparse
import contextlib
import io
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from experiments.command.configs import ConfigError, join_options
from experiments.command.messages import say, show_messages
from experiments.command.option_tree import UnknownOption, read_tree
from experiments.command.run_options import RESUME
from experiments.grids.slurm import JobOptions, JobScript, SlurmError, check_sbatch, send
from experiments.grids.slurm_options import add_job_options, job_options_of
from storage.atomic import write_text

SCRIPT_FILE = "job.sbatch"
_ROOT = Path(__file__).resolve().parents[2]
_TRAIN_COMMANDS = ("fit", "validate", "test", "predict")
# Lightning's own way to requeue saves inside the handler of the signal, and may so block for ever.
_NO_AUTO_REQUEUE = {
    "class_path": "pytorch_lightning.plugins.environments.SLURMEnvironment",
    "init_args": {"auto_requeue": False},
}
_EPILOG = """examples:
  python submit.py fit --config dqn.yaml --time 1:00:00
  python submit.py fit --config fingerprinter.yaml --nodes 2 --gpus 4 --cpus 8 --time 1-00:00:00 --partition gpu
  python submit.py fit --config demo.yaml --gpus 0 --tasks 2 --dry-run
  python submit.py reproduce table2 --preset full --gpus 4 --cpus 32 --time 8:00:00

What is not listed above goes to train.py or reproduce.py.
A grid as an array of jobs: python reproduce.py table2 --slurm.
"""


def submit(read_target: Callable[[Sequence[str]], str | None], arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        read_target: Reads what follows `reproduce`; returns the study's name, None if there is none.
        arguments: As after `submit.py`; None takes the process's own.

    Returns:
        0; 1 if the job could not be sent, or a cell of an element failed; 2 if there is no such option.

    Raises:
        SystemExit: If the command line is not understood, or asks for help.
    """
    options, passed_on = _parser().parse_known_args(arguments)
    show_messages()
    try:
        if options.command == "element":
            from experiments.grids.slurm_array import run_element  # brings torch; a misspelt option doesn't wait for it

            return run_element(Path(*passed_on), int(os.environ["SLURM_ARRAY_TASK_ID"]))
        if options.command in _TRAIN_COMMANDS:
            read_tree(options.command, passed_on)  # which refuses what train.py does not take
        job = job_options_of(options)
        if not options.dry_run:
            check_sbatch()
        if options.command == "reproduce":
            folder, script = _reproduce_job(read_target(passed_on), passed_on, job)
        else:
            folder, script = _train_job(options.command, passed_on, job)
        if options.dry_run:
            sys.stdout.write(script.text)
            return 0
        path = folder / SCRIPT_FILE
        write_text(path, script.text)
        job_id = send(path)
    except (ConfigError, SlurmError) as error:
        sys.stderr.write(f"\nerror: {error}\n")
        return 2 if isinstance(error, UnknownOption) else 1
    log = str(script.log).replace("%j", job_id)
    say(f"Job {job_id}. Its state: squeue --jobs={job_id}; to stop it: scancel {job_id}")
    say(f"Log, once it runs: {log}")
    say(f"Run folder: {folder}. Should the job die, it goes on by: sbatch {shlex.quote(str(path))}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="submit.py",
        description="Run a command of train.py, or reproduce.py, as a SLURM job.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # an option that goes to train.py may begin like one of ours
    )
    parser.add_argument(
        "command", choices=[*_TRAIN_COMMANDS, "reproduce", "element"], metavar="COMMAND",
        help=f"{', '.join(_TRAIN_COMMANDS)} of train.py, or reproduce; `element` is what an array's jobs run",
    )  # fmt: skip
    parser.add_argument("--nodes", type=int, metavar="N", help="machines that train together; default 1")
    parser.add_argument("--tasks", type=int, metavar="N", help="with --gpus 0: processes a node; default 1")
    parser.add_argument("--grace", type=int, metavar="SECONDS", help="to save in before the time limit; default 120")
    add_job_options(parser)
    return parser


def _train_job(command: str, passed_on: Sequence[str], job: JobOptions) -> tuple[Path, JobScript]:
    """Return the run's folder and its script.

    Raises:
        SlurmError: If the command line contradicts what is asked for, or train.py would refuse it.
        ConfigNotFound: If there is no such config.
    """
    pairs = [(option, value) for option, _, value in (each.partition("=") for each in join_options(passed_on))]
    given = dict(pairs)
    for option, ours in (("--trainer.devices", "--gpus or --tasks"), ("--trainer.num_nodes", "--nodes")):
        if option in given:
            raise SlurmError(f"Expected {ours} to say where to run; got {option} {given[option]}. Leave that out.")
    accelerator = given.pop("--trainer.accelerator", "gpu" if job.num_gpus else "cpu")
    if (accelerator == "cpu") != (job.num_gpus == 0):
        raise SlurmError(
            f"Expected --gpus 0 with --trainer.accelerator cpu, and only then; got --gpus {job.num_gpus} and "
            f"{accelerator}. Leave --trainer.accelerator out."
        )
    stem = next((Path(value).stem for option, value in pairs if option in ("--config", "-c")), command)
    default = Path("runs") / stem / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    folder = Path(given.get("--trainer.default_root_dir", default)).absolute()
    own = {
        "num_nodes": str(job.num_nodes),
        "devices": str(job.tasks_per_node),
        "accelerator": accelerator,
        # A folder of its own that stays when the job is requeued: what it has saved is found there.
        "default_root_dir": str(folder),
        "plugins": json.dumps(_NO_AUTO_REQUEUE),
    }
    line = [command, *passed_on, *(f"--trainer.{name}={value}" for name, value in own.items())]
    variables = {}
    if command == "fit":
        if "--ckpt_path" not in given:
            line.append(f"--ckpt_path={RESUME}")
        # Started again in its folder, the run goes on under the name that it has in W&B.
        variables["WANDB_RUN_ID"] = f"{stem}-{sha256(str(folder).encode()).hexdigest()[:12]}"
    script = JobScript(
        job,
        [sys.executable, str(_ROOT / "train.py"), *line],
        folder / "slurm-%j.out",
        stem,
        is_told=True,
        variables=variables,
    )
    _check_command(line)
    return folder, script


def _check_command(line: Sequence[str]) -> None:
    """Have train.py read a command line, so that a slip of the pen is found now and not when the job begins.

    Raises:
        SlurmError: If it refuses it.
        ConfigNotFound: If there is no such config.
    """
    from experiments.command.cli import run_command

    refused = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(refused):
            run_command([*line, "--print_config"])
    except SystemExit as ended:
        if ended.code:
            reason = refused.getvalue().rpartition("\nerror: ")[2].strip()  # after a page of options
            raise SlurmError(f"Expected a command line of train.py; it says: {reason}") from ended


def _reproduce_job(target: str | None, passed_on: Sequence[str], job: JobOptions) -> tuple[Path, JobScript]:
    """Return a folder for the job's files and its script; the grid's own folder is as reproduce.py names it.

    Raises:
        SlurmError: If several nodes or processes are asked for, or there is nothing to reproduce.
    """
    if job.num_nodes > 1 or job.num_tasks:
        raise SlurmError(
            "Expected one node for reproduce, which starts its processes itself (--workers N); got --nodes or --tasks. "
            "To spread over nodes, send its cells as an array: python reproduce.py TARGET --slurm."
        )
    if target is None:
        raise SlurmError("Expected what to reproduce, such as `submit.py reproduce table2`; got nothing.")
    name = f"{target}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    folder = (Path("runs") / "reproduce" / "jobs" / name).absolute()
    command = [sys.executable, str(_ROOT / "reproduce.py"), *passed_on]
    return folder, JobScript(job, command, folder / "slurm-%j.out", target, is_single=True)
