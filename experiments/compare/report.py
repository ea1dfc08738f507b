"""Show a comparison on the terminal, and write it as Markdown, CSV, pictures and one HTML page."""

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from experiments.compare.comparison import Comparison
from experiments.compare.figures import draw_comparison
from experiments.compare.page import html_page
from experiments.compare.study_table import StudyTable
from experiments.compare.tables import comparison_table, csv_rows, implied_table, left_out_table
from storage.atomic import write_csv, write_figure, write_text

_FEWEST_COLUMNS = 100  # of a terminal that is none
_MAX_LEFT_OUT = 10  # listed on the terminal


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write `comparison.md`, `.csv` and `.html`, and a PNG a figure; a file appears only when complete.

    Returns:
        The page: one file, with the pictures inside.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = _tables(comparison)
    pictures = []
    for name, figure in draw_comparison(comparison).items():
        pictures.append(folder / f"{name}.png")
        write_figure(pictures[-1], figure, dpi=130)
    shown = [f"![{path.stem}]({path.name})" for path in pictures]
    sections = [tables[0].markdown(), *shown, *(table.markdown() for table in tables[1:])]
    write_text(folder / "comparison.md", "\n".join(f"{section}\n" for section in sections))
    write_csv(folder / "comparison.csv", csv_rows(comparison))
    write_text(folder / "comparison.html", html_page(tables, pictures))
    return folder / "comparison.html"


def show_comparison(comparison: Comparison) -> None:
    """Print the table, as many metrics as the terminal is wide, its notes and what was left out."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, _FEWEST_COLUMNS))
    laid_out = comparison_table(comparison)
    first = len(comparison.columns)
    hidden = 0
    table = _terminal_table(comparison, laid_out, range(0))
    while console.measure(table, options=console.options.update(max_width=10_000)).maximum > console.width:
        hidden += 1
        if hidden >= len(comparison.metrics):
            break
        last = first + len(comparison.metrics)
        table = _terminal_table(comparison, laid_out, range(last - hidden, last))
    console.print(table)
    if hidden:
        console.print(f"{hidden} more metrics are in the report: the terminal is too narrow.", highlight=False)
    for note in laid_out.notes:
        console.print(note, highlight=False, markup=False)
    for each in comparison.left_out[:_MAX_LEFT_OUT]:
        console.print(f"left out: {each.name}: {each.reason}", highlight=False, markup=False, soft_wrap=True)
    if len(comparison.left_out) > _MAX_LEFT_OUT:
        console.print(f"{len(comparison.left_out) - _MAX_LEFT_OUT} more are left out: the report lists them.")


def _terminal_table(comparison: Comparison, laid_out: StudyTable, hidden: range) -> Table:
    """Lay the table out without the columns at the hidden positions."""
    table = Table(box=SIMPLE_HEAD)
    for position, header in enumerate(laid_out.headers):
        if position not in hidden:
            is_text = position < len(comparison.columns)
            table.add_column(header, justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text)
    for row, line in zip(comparison.rows, laid_out.lines, strict=True):
        style = {"higher": "green", "lower": "red"}.get(row.test.verdict if row.test else "", "")
        cells = [str(cell) for position, cell in enumerate(line) if position not in hidden]
        table.add_row(*cells, style="bold" if row.is_baseline else style)
    return table


def _tables(comparison: Comparison) -> list[StudyTable]:
    further = (implied_table(comparison), left_out_table(comparison))
    return [comparison_table(comparison), *(table for table in further if table is not None)]
