"""From the cells of a grid to a table or figure of Jati and Emmanouilidou (2020), the paper's values beside ours."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from experiments.compare.study_report import LoggedRun, Report, write_report
from experiments.grids.cell import Cell, CellResult, GridResult
from experiments.grids.summary import Row, summarize
from experiments.papers.jati2020.figures import draw_bits, draw_fractions, draw_map_at
from experiments.papers.jati2020.grid import METHODS, Grid, Target
from experiments.papers.jati2020.published import read_published
from experiments.papers.jati2020.tables import TableText, bits_table, cutoffs_table, fractions_table

_REFERENCE = "dqn"
_SHOWN = {
    "table1": (bits_table, draw_bits), "table2": (bits_table, draw_bits), "fig2": (fractions_table, draw_fractions),
    "fig3": (cutoffs_table, draw_map_at),
}  # fmt: skip
# Of W&B's plots.
_AXES = {"table1": "num_bits", "table2": "num_bits", "fig2": "label_fraction", "fig3": "R"}


def report_grid(target: Target, grid: Grid, finished: GridResult, folder: Path) -> Report:
    """Write the table and the figure of a grid.

    Raises:
        ValueError: If cells that belong together were scored on different queries.
    """
    cells = grid.cells()
    results = {cell: finished.results[cell] for cell in cells if cell in finished.results}
    if not results:
        return Report(folder, "", failures=finished.told_failures)
    # a figure is held to the table of its corpus
    of_corpus = "table2" if grid.data_config == "data/esc50.yaml" else "table1"
    rows = summarize(_at_every_length(results, grid.bits), _REFERENCE)
    text = TableText(
        name=target,
        labels={method.name: method.label for method in METHODS},
        published_names={method.name: method.published for method in METHODS},
        published=read_published(target if target.startswith("table") else of_corpus),
        data_name=next(iter(results.values())).data_name,
        reference=_REFERENCE,
        num_missing=len(cells) - len(results),
    )
    lay_out, draw = _SHOWN[target]
    table = lay_out(rows, text)
    seconds = sum(result.seconds for result in results.values())
    return Report(
        folder,
        text.data_name,
        [table],
        write_report(folder, f"{target}, {text.data_name}", [table], {target: draw(rows, text)}),
        _logged_runs(target, rows),
        finished.told_failures,
        [f"{finished.num_run} cells run now, {len(results)} in all, {seconds:.0f} s of one process."],
    )


def _at_every_length(results: Mapping[Cell, CellResult], bits: Sequence[int]) -> dict[Cell, CellResult]:
    """Show a search without a code at every code length, so that each can be compared with it."""
    return {
        replace(cell, num_bits=num_bits): result
        for cell, result in results.items()
        for num_bits in (bits if cell.scores_exactly else [cell.num_bits])
    }


def _logged_runs(target: Target, rows: Sequence[Row]) -> list[LoggedRun]:
    """Return a run a method."""
    groups: dict[tuple[str, str], list[dict[str, object]]] = {}
    for row in rows:
        groups.setdefault((row.method, row.embedding), []).extend(_points(target, row))
    return [
        LoggedRun(
            f"{method}, {embedding}", method, {"method": method, "embedding": embedding}, _AXES[target], points
        )
        for (method, embedding), points in groups.items()
    ]  # fmt: skip


def _points(target: Target, row: Row) -> list[dict[str, object]]:
    if target == "fig3":
        share = "" if row.label_fraction is None else f", {100 * row.label_fraction:.0f} % labelled"
        return [{"R": cutoff, f"mAP@R{share}": value} for cutoff, value in row.map_at.items()]
    return [{
        "num_bits": row.num_bits, "label_fraction": row.label_fraction, "adjusted_p": row.p_value, "mAP": row.mean_ap,
        "mAP_std": row.std, "mAP_low": row.low, "mAP_high": row.high,
    }]  # fmt: skip
