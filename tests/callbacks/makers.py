"""A clip of a made-up corpus, as reports and exports see it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Clip:
    name: str
    path: Path = Path()
