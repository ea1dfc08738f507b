"""What a study hands back, and its tables and figures as files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.compare.study_table import StudyTable, table_files
from storage.atomic import Drawing, write_figure, write_text


@dataclass(frozen=True)
class LoggedRun:
    """A run that W&B gets beside that of the tables.

    Attributes:
        name: Shown.
        job_type: What it is one of.
        config: What it was.
        axis: Quantity that the others are drawn against.
        points: Quantities by name, the axis among them.
    """

    name: str
    job_type: str
    config: Mapping[str, str]
    axis: str
    points: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Report:
    """What a study has written.

    Attributes:
        folder: Where.
        data_name: What its numbers are to be called.
        tables: The one to show first; none if nothing could be compared.
        pictures: Figures, PNG files.
        runs: For W&B.
        failures: Runs that failed, each with its command.
        remarks: Said below the table.
    """

    folder: Path
    data_name: str
    tables: Sequence[StudyTable] = ()
    pictures: Sequence[Path] = ()
    runs: Sequence[LoggedRun] = ()
    failures: Sequence[str] = ()
    remarks: Sequence[str] = ()


def write_report(
    folder: Path,
    title: str,
    tables: Sequence[StudyTable],
    figures: Mapping[str, Drawing],
    num_files_only: int = 0,
    ending: str = "",
) -> list[Path]:
    """Write each table as Markdown, LaTeX and CSV, each figure as PNG and SVG, and `report.md` with all of them.

    Args:
        folder: Made if it is not there.
        title: Of the page.
        tables: In the order of the page.
        figures: By the name of their files.
        num_files_only: Tables at the end that are too long for the page.
        ending: Of the page.

    Returns:
        The PNG files.
    """
    for path, text in table_files(tables, folder).items():
        write_text(path, text)
    pictures = [save_figure(figure, folder, name) for name, figure in figures.items()]
    shown = "\n\n".join(table.markdown() for table in tables[: len(tables) - num_files_only])
    links = "\n\n".join(f"![{path.stem}]({path.name})" for path in pictures)
    write_text(folder / "report.md", f"# {title}\n\n{shown}\n{links}\n{ending}")
    return pictures


def save_figure(figure: Drawing, folder: Path, name: str) -> Path:
    """Write a figure as PNG and SVG, each whole or not at all; return the PNG."""
    for suffix in ("svg", "png"):
        path = folder / f"{name}.{suffix}"
        write_figure(path, figure, dpi=150)
    return path
