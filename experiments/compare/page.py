"""One HTML page with tables and pictures inside: nothing is fetched when it is read."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from experiments.compare.study_table import Quantity, StudyTable

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1d1d1f; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 0.8rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.7rem; border-bottom: 1px solid #ddd; text-align: left; }
th { border-bottom: 2px solid #888; cursor: pointer; white-space: nowrap; }
td.number { text-align: right; white-space: nowrap; }
tbody tr:hover { background: #f3f6fb; }
tr.higher td.test { color: #11702f; } tr.lower td.test { color: #a3261e; } tr.baseline td { font-weight: 600; }
p.note { color: #555; margin: 0.25rem 0; } img { max-width: 100%; height: auto; display: block; margin: 1rem 0; }
"""
# A click on a header sorts by it: numbers by value, then words.
_SCRIPT = """
document.querySelectorAll("th").forEach(head => head.addEventListener("click", () => {
  const body = head.closest("table").tBodies[0], column = head.cellIndex, up = head.dataset.up !== "1";
  const key = row => { const cell = row.cells[column], value = parseFloat(cell.dataset.value ?? cell.textContent);
    return [isNaN(value), isNaN(value) ? cell.textContent : value]; };
  head.dataset.up = up ? "1" : "0";
  [...body.rows].sort((a, b) => { const [x, y] = [key(a), key(b)];
    return x[0] - y[0] || (x[1] > y[1] ? 1 : x[1] < y[1] ? -1 : 0) * (up ? 1 : -1); }).forEach(r => body.append(r));
}));
"""


def html_page(tables: Sequence[StudyTable], pictures: Sequence[Path]) -> str:
    """Lay out a page: the first table, the pictures, the other tables.

    Args:
        tables: At least one.
        pictures: PNG files.
    """
    drawn = "\n".join(_picture(path) for path in pictures)
    first, *others = (_table(table) for table in tables)
    body = "\n".join([first, drawn, *others])
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(tables[0].title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _table(table: StudyTable) -> str:
    heads = "".join(f"<th>{escape(header)}</th>" for header in table.headers)
    rows = "\n".join(f"<tr{_row_class(line)}>{''.join(map(_cell, line))}</tr>" for line in table.lines)
    notes = "\n".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    return (
        f'<h2>{escape(table.title)}</h2>\n<div class="wide"><table>\n<thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>\n{notes}"
    )


def _row_class(line: Sequence[str]) -> str:
    """Name a row after its last cell: the mark of a test."""
    for mark, name in (("↑", "higher"), ("↓", "lower")):
        if line[-1].endswith(mark):
            return f' class="{name}"'
    return ' class="baseline"' if "baseline" in line[-2:] else ""


def _cell(cell: str) -> str:
    if isinstance(cell, Quantity):
        kind = "number test" if cell.endswith(("↑", "↓")) else "number"
        return f'<td class="{kind}" data-value="{cell.value!r}">{escape(cell)}</td>'
    return f"<td>{escape(cell)}</td>"


def _picture(path: Path) -> str:
    encoded = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<img alt="{escape(path.stem, quote=True)}" src="data:image/png;base64,{encoded}">'
