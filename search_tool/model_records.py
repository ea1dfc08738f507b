"""Which models an index was built with: remembered by place and checksum, found again without being read.

Needs no torch, since `search.py info` asks for no more.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from storage.manifest import hash_file, hash_json

POOLED = "pooled"
_POOLED_CONFIG = Path(__file__).resolve().parents[1] / "configs" / "fingerprinter_pooled.yaml"


class SearchError(RuntimeError):
    """An index, or what it needs, can't be used as it is."""


@dataclass(frozen=True)
class ModelRecord:
    """Which model an index was built with.

    Attributes:
        name: Path of its checkpoint, or the name of one that needs none.
        sha256: Of the checkpoint; of the config where there is no checkpoint.
    """

    name: str
    sha256: str


def record_of(name: str) -> ModelRecord:
    """Look at a fingerprinter or another checkpoint.

    Args:
        name: Path of a checkpoint, or `pooled`.

    Raises:
        SearchError: If there is no such file.
    """
    if name == POOLED:
        return ModelRecord(POOLED, hash_json(pooled_section()))
    path = Path(name)
    if not path.is_file():
        raise SearchError(
            f"Expected a checkpoint at {name}, found no file there. Name the .ckpt file that `python train.py fit` "
            "printed; if it was moved, name its new place."
        )
    return ModelRecord(str(path.resolve()), hash_file(path))


def find_model(record: ModelRecord, new_place: str | None, option: str) -> ModelRecord:
    """Find the model that an index was built with, where it was or where it is said to be now.

    Args:
        record: What the index remembers.
        new_place: Given by the user; None for the remembered place.
        option: Option by which it is given.

    Raises:
        SearchError: If it is not there, or is another one.
    """
    place = new_place or record.name
    if place != POOLED and not Path(place).is_file():
        raise SearchError(
            f"Expected the checkpoint that the index was built with at {place}, found no file there. If it was moved, "
            f"name its new place with {option} PATH."
        )
    found = record_of(place)
    if found.sha256 != record.sha256:
        raise SearchError(
            f"Expected the model that the index was built with (SHA-256 {record.sha256[:12]}...), found another at "
            f"{place} ({found.sha256[:12]}...). Name the original with {option} PATH, or index the tracks again in "
            "another folder."
        )
    return found


def pooled_section() -> dict[str, Any]:
    """Return the config of the fingerprinter that needs no checkpoint."""
    section: dict[str, Any] = yaml.safe_load(_POOLED_CONFIG.read_text(encoding="utf-8"))["model"]
    return section
