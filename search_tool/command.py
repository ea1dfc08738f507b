"""The command behind search.py: what it says, and its exit status. Parsing and `info` need nothing heavy."""

import sys
from collections.abc import Sequence

from search_tool.info import show_info
from search_tool.model_records import SearchError
from search_tool.options import ALL_MATCHED, FAILED, search_parser
from storage.errors import StorageError


def search(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: As after `search.py`; None takes the process's own.

    Returns:
        0; 1 where something failed; 3 where a clip has no match.

    Raises:
        SystemExit: If the command line is not understood, or asks for help.
    """
    options = search_parser().parse_args(arguments)
    try:
        if options.command == "info":
            show_info(options)
            return ALL_MATCHED
        from search_tool.actions import act  # brings torch

        return act(options)
    except (SearchError, StorageError, OSError) as error:
        sys.stderr.write(f"\nerror: {error}\n")
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. What was finished is kept; the same command goes on from there.\n")
        return FAILED
