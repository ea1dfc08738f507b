"""Train, validate, test and apply models: python train.py fit --config dqn.yaml."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

# faiss and torch bring an OpenMP pool each; spinning threads of one slow the other. Set before either is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# SLURM's signal ends a process that does not handle it yet; blocked, it waits until run_command listens.
if "SLURM_JOB_ID" in os.environ:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

from experiments.command.answers import answer
from experiments.command.errors import one_line_errors

if TYPE_CHECKING:
    from experiments.command.cli import EarmarkCli


def main(arguments: Sequence[str] | None = None) -> "EarmarkCli":
    """Run one command, as given or as on the process's own command line."""
    answer(sys.argv[1:] if arguments is None else arguments)
    from experiments.command.cli import run_command  # torch and Lightning, once there is something to run

    return run_command(arguments)


if __name__ == "__main__":
    with one_line_errors():
        main()
