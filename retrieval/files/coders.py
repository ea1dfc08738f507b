"""What the safetensors file of a coder says of it."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

FORMAT_VERSION = 1
CODER_FILE = "coder.safetensors"  # of an index


class CoderFileError(ValueError):
    """A file does not hold a coder."""


def read_coder_description(path: Path) -> tuple[str, dict[str, Any]]:
    """Read the class of the coder that a file holds, and its constructor's arguments, but not its weights.

    Raises:
        FileNotFoundError: If there is no such file.
        CoderFileError: If it is damaged, of a later version, or holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected a coder in {path}, found no file there. Write one with save_coder.")
    try:
        with safe_open(path, "np") as file:
            found = json.loads((file.metadata() or {})["coder"])
        version, name, options = found["version"], str(found["coder"]), dict(found["options"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CoderFileError(f"{path}: expected a coder, found something else ({error!r}). Write it again.") from error
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CoderFileError(
            f"{path}: expected version {FORMAT_VERSION} or earlier, found {version!r}. Update this project."
        )
    return name, options
