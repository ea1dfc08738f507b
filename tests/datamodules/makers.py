"""Data modules that are set up, and what tests ask of them and of their tables."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from datamodules import ClipDataModule, EmbeddingDataModule
from datamodules.base import QueriesAndDatabase
from tests.datamodules.counting_front_end import embedded

DataT = TypeVar("DataT", bound=QueriesAndDatabase)
ClipsT = TypeVar("ClipsT", bound=ClipDataModule[Any])


def set_up(data: DataT, stage: str | None = None) -> DataT:
    data.prepare_data()
    data.setup(stage)  # type: ignore[arg-type]  # Lightning's own calls give one
    return data


def corpus_at(kind: Callable[..., ClipsT], root: Path | None, cache_dir: Path, **options: Any) -> ClipsT:
    """Make a corpus that a front end embeds, as yet unread."""
    return embedded(kind(root=str(root) if root else None, cache_dir=str(cache_dir), **options))


def columns(batches: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Join batches."""
    rows = list(batches)
    return {name: torch.cat([batch[name] for batch in rows]) for name in rows[0]}


def recordings(data: EmbeddingDataModule, positions: Iterable[int]) -> set[str]:
    return {data.items[position].recording for position in positions}


def label_counts(data: EmbeddingDataModule, positions: Iterable[int]) -> list[int]:
    counts = Counter(data.items[position].label for position in positions)
    return [counts[label] for label in range(data.num_classes)]


def own_paths(data: ClipDataModule[Any], *roles: np.ndarray) -> set[Path]:
    return {data.items[position].path for role in roles for position in role}


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def edit_field(path: Path, line: int, column: str | int, value: str) -> None:
    """Change one field of a table; lines count from 1, the header, which names columns."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    rows[line - 1][rows[0].index(column) if isinstance(column, str) else column] = value
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
