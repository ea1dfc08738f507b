"""A table of a study as text: Markdown, LaTeX, and CSV with numbers in full."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from experiments.papers.table_files import Style, lay_out


class Quantity(str):
    """A number as a table shows it; CSV files have it in full.

    Args:
        text: As shown.
        value: In full.
    """

    value: float
    __slots__ = ("value",)

    def __new__(cls, text: str, value: float) -> "Quantity":  # noqa: D102 - the class says it
        made = super().__new__(cls, text)
        made.value = value
        return made


@dataclass(frozen=True)
class StudyTable:
    """One table.

    Attributes:
        name: Of its files.
        title: Above it.
        headers: Of its columns.
        lines: Its cells as text; numbers are `Quantity`.
        notes: Below it.
    """

    name: str
    title: str
    headers: list[str]
    lines: list[list[str]]
    notes: list[str] = field(default_factory=list)

    def text(self, style: Style) -> str:
        """Lay it out as Markdown or LaTeX."""
        return lay_out(self.headers, self.lines, self.notes, style)

    def markdown(self) -> str:
        """Lay it out as a section of a Markdown page."""
        return f"## {self.title}\n\n{self.text('github')}"

    def csv(self) -> str:
        """Lay it out as CSV, numbers in full, without notes."""
        written = io.StringIO()
        writer = csv.writer(written)
        writer.writerow(self.headers)
        for line in self.lines:
            writer.writerow([repr(cell.value) if isinstance(cell, Quantity) else cell for cell in line])
        return written.getvalue()


def table_files(tables: Sequence[StudyTable], folder: Path) -> dict[Path, str]:
    """Return what to write: each table as Markdown, LaTeX and CSV, by path."""
    return {
        folder / f"{table.name}.{suffix}": text
        for table in tables
        for suffix, text in (
            ("md", table.markdown()), ("tex", table.text("latex_booktabs")),
            ("csv", table.csv()),
        )
    }  # fmt: skip


def percent(share: float | None) -> str:
    """Show a share in [0, 1] in percent; nothing for None."""
    return "" if share is None else Quantity(f"{100 * share:.1f}", round(100 * share, 10))


def shares(values: Sequence[float | None]) -> list[str]:
    """Show shares as they are; nothing for None."""
    return ["" if value is None else Quantity(f"{value:.3f}", value) for value in values]


def p_text(p_value: float) -> str:
    """Show a p-value."""
    return Quantity("< 0.001" if p_value < 0.001 else f"{p_value:.3f}", p_value)
