"""Write text files that are there complete or not at all."""

import os
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a file, and its folder if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
