"""Jobs on a SLURM cluster: what they ask for, their scripts, sending them, asking what became of them.

A script is a plain one for sbatch, not a pickled function as submitit sends: it can be read, mended and sent again by
hand, it starts the same command lines as a terminal does, and needs nothing of ours on the node but this project.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_DEFAULT_CPUS = 4
# days-hours:minutes:seconds; what sbatch takes, as a pattern and the seconds of its groups
_TIMES = (
    (re.compile(r"(\d+)"), (60,)),
    (re.compile(r"(\d+):(\d+)"), (60, 1)),
    (re.compile(r"(\d+):(\d+):(\d+)"), (3600, 60, 1)),
    (re.compile(r"(\d+)-(\d+)"), (86400, 3600)),
    (re.compile(r"(\d+)-(\d+):(\d+)"), (86400, 3600, 60)),
    (re.compile(r"(\d+)-(\d+):(\d+):(\d+)"), (86400, 3600, 60, 1)),
)
# sbatch options that the script sets, by the option of ours that changes them
_OWN_OPTIONS = {
    "nodes": "--nodes", "N": "--nodes", "gres": "--gpus", "gpus": "--gpus", "gpus-per-node": "--gpus",
    "ntasks-per-node": "--tasks", "ntasks": "--tasks", "n": "--tasks", "cpus-per-task": "--cpus", "c": "--cpus",
    "time": "--time", "t": "--time", "mem": "--memory", "partition": "--partition", "p": "--partition",
    "account": "--account", "A": "--account", "qos": "--qos", "q": "--qos", "job-name": "--name", "J": "--name",
    "signal": "--grace", "array": "the script", "a": "the script", "output": "the script", "o": "the script",
}  # fmt: skip


class SlurmError(RuntimeError):
    """A job can't be sent as it was asked for, or the cluster does not answer."""


@dataclass(frozen=True)
class JobOptions:
    """What a job asks the cluster for.

    Attributes:
        num_nodes: Machines.
        num_gpus: GPUs of each; 0 runs on processors.
        gpu_type: As the cluster calls it, such as `("a100",)`; empty takes any.
        num_tasks: Processes on each; None is one a GPU, or one.
        num_cpus: Processors of each process; None is four.
        time_limit: As sbatch takes it, such as 4:00:00 or 1-12 (a day and twelve hours).
        memory: Of each node, such as 64G; None is the cluster's default, as for all that follow.
        partition: Queue.
        account: Whom it is charged to.
        qos: Quality of service.
        name: Shown by squeue; None is a name after what is run.
        grace_seconds: How long before the time limit the processes are told, so that they can save.
        sbatch: Further options of sbatch, such as `--constraint=a100`.
        setup: Shell lines that make the environment, such as `module load cuda`.
    """

    num_nodes: int = 1
    num_gpus: int = 1
    gpu_type: tuple[str, ...] = ()
    num_tasks: int | None = None
    num_cpus: int | None = None
    time_limit: str = "4:00:00"
    memory: str | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    name: str | None = None
    grace_seconds: int = 120
    sbatch: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.num_gpus and self.num_tasks not in (None, self.num_gpus):
            raise SlurmError(
                f"Expected a process for each GPU; got --gpus {self.num_gpus} and --tasks {self.num_tasks}. Leave "
                "--tasks out, or train on processors with --gpus 0."
            )
        limit_seconds(self.time_limit)
        for option in self.sbatch:
            own = _OWN_OPTIONS.get(re.split("[= ]", option.lstrip("-"), maxsplit=1)[0])
            if not option.startswith("-") or own is not None:
                advice = f"{own} sets it" if own else "write it as --sbatch=--constraint=a100"
                raise SlurmError(f"Expected a further option of sbatch; got --sbatch={option}: {advice}.")

    @property
    def tasks_per_node(self) -> int:
        """Processes on each node."""
        return self.num_tasks or self.num_gpus or 1

    @property
    def cpus_per_task(self) -> int:
        """Processors of each process."""
        return self.num_cpus or _DEFAULT_CPUS


@dataclass(frozen=True)
class JobScript:
    """A script for sbatch.

    Attributes:
        options: What it asks for.
        command: What each process runs.
        log: File of its output; `%j` is the job's id, `%A` an array's, `%a` its element's index.
        name: Shown by squeue, unless the options name it.
        is_told: Whether its processes get SIGUSR1 before the time limit.
        variables: Environment variables of its processes.
        array: Indices, such as `0-9%4`: ten elements, four at a time; None is no array.
        is_single: Whether one process has all GPUs of its node, and not one each.
    """

    options: JobOptions
    command: Sequence[str]
    log: Path
    name: str
    is_told: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    array: str | None = None
    is_single: bool = False

    def __post_init__(self) -> None:
        options = self.options
        if self.is_told and limit_seconds(options.time_limit) <= options.grace_seconds:
            raise SlurmError(
                f"Expected a time limit above the {options.grace_seconds} s that a job has to save; got --time "
                f"{options.time_limit}. Raise it (hours:minutes:seconds; a bare number is minutes), or lower --grace."
            )

    @property
    def text(self) -> str:
        """The script."""
        options = self.options
        asked = {
            "job-name": options.name or self.name,
            "array": self.array,
            "output": self.log,
            "open-mode": "append",  # a requeued job goes on in its log
            "nodes": options.num_nodes,
            "ntasks-per-node": 1 if self.is_single else options.tasks_per_node,
            "gres": ":".join(["gpu", *options.gpu_type, str(options.num_gpus)]) if options.num_gpus else None,
            "cpus-per-task": options.cpus_per_task,
            "mem": options.memory,
            "time": options.time_limit,
            "signal": f"USR1@{options.grace_seconds}" if self.is_told else None,
            "partition": options.partition,
            "account": options.account,
            "qos": options.qos,
        }
        header = [f"#SBATCH --{name}={_quoted(str(value))}" for name, value in asked.items() if value is not None]
        header += ["#SBATCH --requeue", *(f"#SBATCH {option}" for option in options.sbatch)]
        variables = [f"export {name}={shlex.quote(value)}" for name, value in self.variables.items()]
        lines = [
            "#!/usr/bin/env bash",
            *header,
            "",
            "set -eo pipefail",
            f"cd {shlex.quote(str(Path.cwd()))}",
            *options.setup,
            "export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK",
            "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK  # srun no longer takes it from sbatch",
            *variables,
            "# starts the processes; when one dies, the others don't wait for it for ever",
            f"srun --kill-on-bad-exit=1 {shlex.join(self.command)}",
        ]
        return "\n".join(lines) + "\n"


def limit_seconds(time_limit: str) -> int:
    """Return the seconds of a time limit as sbatch takes it.

    Raises:
        SlurmError: If it isn't one.
    """
    for pattern, factors in _TIMES:
        matched = pattern.fullmatch(time_limit)
        if matched:
            return sum(int(part) * factor for part, factor in zip(matched.groups(), factors, strict=True))
    raise SlurmError(
        f"Expected a time limit such as 30 (minutes), 4:00:00 or 1-12:00:00 (days-hours:minutes:seconds); got "
        f"{time_limit!r}."
    )


def check_sbatch() -> None:
    """Make sure that SLURM's programs can be called from here.

    Raises:
        SlurmError: If there is no sbatch.
    """
    if shutil.which("sbatch") is None:
        raise SlurmError(
            "Expected SLURM's sbatch, found none on the PATH. Run this on a login node of the cluster, where perhaps "
            "`module load slurm` comes first; --dry-run shows the script without sending it."
        )


def send(script: Path) -> str:
    """Send a script; return the job's id.

    Raises:
        SlurmError: If there is no sbatch, or it refuses the script.
    """
    check_sbatch()
    # A job around this process describes itself in variables, which the new one would take for its own options.
    inherited = {name: value for name, value in os.environ.items() if name == "SLURM_CONF" or not _is_of_a_job(name)}
    done = subprocess.run(
        ["sbatch", "--parsable", str(script)], env=inherited, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SlurmError(
            f"Expected sbatch to take {script}; it said: {done.stderr.strip()}. `sinfo` lists partitions and limits; "
            "mend the options and send it again."
        )
    return done.stdout.strip().partition(";")[0]  # a cluster's name may follow


def elements_in_queue(job_id: str) -> dict[int, str]:
    """Ask which elements of an array have not ended: by index, why one waits, or RUNNING.

    Raises:
        SlurmError: If the cluster does not answer.
    """
    check_sbatch()
    done = subprocess.run(
        ["squeue", "--noheader", "--array", f"--jobs={job_id}", "--format=%K|%T|%r"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        if "Invalid job id" in done.stderr:  # so long ended that it is forgotten
            return {}
        raise SlurmError(f"Expected squeue to tell of job {job_id}; it said: {done.stderr.strip()}.")
    rows = [line.split("|") for line in done.stdout.splitlines() if line]
    return {int(index): reason if state == "PENDING" else "RUNNING" for index, state, reason in rows}


def describe_queue(states: Iterable[str]) -> str:
    """Say how many elements run, and what the others wait for.

    Args:
        states: Values of `elements_in_queue`.
    """
    counts = Counter(states)
    running = counts.pop("RUNNING", 0)
    waiting = "".join(f", {count} waiting ({reason})" for reason, count in counts.most_common())
    return f"{running} running{waiting}"


def _quoted(value: str) -> str:
    """Write a value as a directive takes it."""
    return f'"{value}"' if re.search(r"\s", value) else value


def _is_of_a_job(variable: str) -> bool:
    return variable.startswith(("SLURM_", "SRUN_", "PMI")) or variable in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
