"""Index a folder of music or sounds and find clips in it: python search.py index FOLDER --index DIR."""

import os
import sys
from collections.abc import Sequence

# faiss and torch bring an OpenMP pool each; spinning threads of one slow the other. Set before either is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from experiments.command.messages import show_messages
from search_tool.command import search


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, as given or as on the process's own command line; return its exit status."""
    show_messages()
    return search(arguments)


if __name__ == "__main__":
    sys.exit(main())
