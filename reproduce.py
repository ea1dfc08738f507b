"""Reproduce a paper's tables and figures, ours beside theirs: python reproduce.py table2 --preset quick."""

import os
import sys
from collections.abc import Sequence

# faiss and torch bring an OpenMP pool each; spinning threads of one slow the other. Set before either is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from experiments.papers.command import reproduce


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, as given or as on the process's own command line; return its exit status."""
    return reproduce(arguments)


if __name__ == "__main__":
    sys.exit(main())
