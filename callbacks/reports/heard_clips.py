"""Queries and what was found, to listen to in W&B."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import wandb


@dataclass(frozen=True)
class HeardClip:
    """A clip and what is said of it.

    Attributes:
        path: Audio file.
        caption: What its player is called.
        cells: What the table says, by column; the same columns for all queries, and for all that is found.
    """

    path: Path
    caption: str
    cells: Mapping[str, str | float]


@dataclass(frozen=True)
class HeardQuery:
    """A query and what was found.

    Attributes:
        query: The query.
        found: Items, the nearest first; as many for every query.
    """

    query: HeardClip
    found: Sequence[HeardClip]


def lay_out_heard(queries: Sequence[HeardQuery]) -> dict[str, object]:
    """Lay queries and what was found out as a table, and as audio to play without opening the table.

    Returns:
        `report/heard`, a line a query, and `report/audio`, for a run's `log`; nothing where there is no query.
    """
    if not queries:
        return {}
    first = queries[0]
    columns: list[str | int] = [*first.query.cells, "audio"]
    for rank, clip in enumerate(first.found, start=1):
        columns += [f"{name} {rank}" for name in (*clip.cells, "audio")]
    table = wandb.Table(columns=columns)
    players = []
    for query in queries:
        clips = (query.query, *query.found)
        cells: list[object] = []
        for clip in clips:
            cells += [*clip.cells.values(), wandb.Audio(str(clip.path))]
        table.add_data(*cells)
        players += [wandb.Audio(str(clip.path), caption=clip.caption) for clip in clips]
    return {"report/heard": table, "report/audio": players}
