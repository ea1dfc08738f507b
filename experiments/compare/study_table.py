"""A table of a study as text: Markdown, LaTeX, and CSV with numbers in full."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tabulate import tabulate

Style = Literal["github", "latex_booktabs"]


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
        records: Rows of its CSV file, where that has other columns than the table shows.
    """

    name: str
    title: str
    headers: list[str]
    lines: list[list[str]]
    notes: list[str] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)

    def text(self, style: Style) -> str:
        """Lay it out as Markdown or LaTeX, with its notes below it."""
        table = tabulate(self.lines, self.headers, tablefmt=style, disable_numparse=True)
        notes = self.notes
        if style == "github":
            # a mark at the start of a line is not to become a bullet
            notes = [f"`{note[0]}`{note[1:]}" if note[0] in "*+!" else note for note in notes]
        else:
            for character in "%_&#":
                notes = [note.replace(character, f"\\{character}") for note in notes]
            notes = [note.replace("±", "$\\pm$") for note in notes]
        return "\n\n".join([table, *notes]) + "\n"

    def markdown(self) -> str:
        """Lay it out as a section of a Markdown page."""
        return f"## {self.title}\n\n{self.text('github')}"

    def csv(self) -> str:
        """Lay it out as CSV, numbers in full, without notes."""
        written = io.StringIO()
        writer = csv.writer(written)
        if self.records:
            writer.writerow(self.records[0])
            writer.writerows(record.values() for record in self.records)
            return written.getvalue()
        writer.writerow(self.headers)
        for line in self.lines:
            writer.writerow([repr(cell.value) if isinstance(cell, Quantity) else cell for cell in line])
        return written.getvalue()


def measurement_table(name: str, title: str, measurements: Sequence[Any], headings: Mapping[str, str]) -> StudyTable:
    """Lay measurements out, a line each; the CSV file has them in full, by the names of their fields.

    Args:
        name: Of its files.
        title: Above it.
        measurements: Dataclasses of one kind, at least one.
        headings: Of fields whose name does not say it.
    """
    names = [each.name for each in dataclasses.fields(measurements[0])]
    lines = [[_rounded(getattr(measurement, each)) for each in names] for measurement in measurements]
    records = [dataclasses.asdict(measurement) for measurement in measurements]
    return StudyTable(name, title, [headings.get(each, each) for each in names], lines, [], records)


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


def number(value: float, digits: int) -> str:
    """Show a number with so many digits after the point."""
    return Quantity(f"{value:.{digits}f}", value)


def p_text(p_value: float) -> str:
    """Show a p-value."""
    return Quantity("< 0.001" if p_value < 0.001 else f"{p_value:.3f}", p_value)


def _rounded(value: str | int | float | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}" if abs(value) >= 1e9 else f"{value:.4g}"
