"""Compare many runs in one table, with plots and significance: python compare.py runs --baseline pq."""

import os
import sys
from collections.abc import Sequence

# faiss and torch bring an OpenMP pool each; spinning threads of one slow the other. Set before either is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from experiments.compare.command import compare


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, as given or as on the process's own command line; return its exit status."""
    return compare(arguments)


if __name__ == "__main__":
    sys.exit(main())
