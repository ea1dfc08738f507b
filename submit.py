"""Run a command of train.py, or reproduce.py, as a SLURM job: python submit.py fit --config dqn.yaml --gpus 4."""

import os
import sys
from collections.abc import Sequence

# faiss and torch bring an OpenMP pool each; spinning threads of one slow the other. Set before either is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from experiments.grids.submit_command import submit
from experiments.papers.command import read_target


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, as given or as on the process's own command line; return its exit status."""
    return submit(read_target, arguments)


if __name__ == "__main__":
    sys.exit(main())
