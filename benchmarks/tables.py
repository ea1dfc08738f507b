"""Measurements as a table on the terminal."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def print_measurements(console: Console, title: str, measurements: Sequence[Any]) -> None:
    """Print measurements, dataclasses of one kind, a row each."""
    names = [field.name for field in dataclasses.fields(measurements[0])]
    table = Table(title=title)
    for name in names:
        is_text = isinstance(getattr(measurements[0], name), str)
        table.add_column(name.replace("_", " "), justify="left" if is_text else "right")
    for measurement in measurements:
        table.add_row(*(_format(getattr(measurement, name)) for name in names))
    console.print(table)


def _format(cell: object) -> str:
    if isinstance(cell, tuple):
        return " / ".join(map(_format, cell))
    return f"{cell:,.4g}" if isinstance(cell, float) else str(cell)
