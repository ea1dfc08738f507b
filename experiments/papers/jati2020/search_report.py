"""Search measurements as a table on the terminal, Markdown and CSV, and as a plot.

Of searches, it shows recall against throughput; of complexity, time against items.
"""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from rich.table import Table

from benchmarks.search_measures import SearchMeasurement
from experiments.papers.curves import save_figure
from experiments.papers.jati2020.search_complexity import ComplexityMeasurement
from storage.atomic import write_text

_HEADINGS = {
    "num_items": "items",
    "num_probes": "probes",
    "num_bits": "bits",
    "recall_at_1": "recall @1",
    "recall_at_10": "recall @10",
    "single_per_second": "queries/s",
    "batch_per_second": "queries/s by 100",
    "single_ratio": "time / faiss",
    "batch_ratio": "time / faiss by 100",
    "build_seconds": "build s",
    "bytes_per_item": "bytes an item",
    "effective_codewords": "codewords",
    "codebook_bytes": "codebook bytes",
    "item_bytes": "bytes an item",
    "query_milliseconds": "ms a query",
    "derived_operations": "operations derived",
}

Measurements = Sequence[SearchMeasurement] | Sequence[ComplexityMeasurement]


def to_table(measurements: Measurements, title: str) -> Table:
    """Lay measurements out for the terminal, one row each."""
    header, *rows = _cells(measurements)
    table = Table(title=title)
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left", min_width=0 if number else 12)
    for row in rows:
        table.add_row(*row)
    return table


def write_report(measurements: Measurements, folder: Path, name: str) -> list[Path]:
    """Write `name`.csv in full precision, `name`.md rounded, and a plot as `name`.png and .svg.

    A file appears, or replaces an earlier one, only when complete.

    Args:
        measurements: At least one, all of one kind.
        folder: Made if it is not there.
        name: Of the files.

    Returns:
        What was written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(measurements[0])])
    writer.writeheader()
    writer.writerows(dataclasses.asdict(measurement) for measurement in measurements)
    header, *rows = _cells(measurements)
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    written = [folder / f"{name}.csv", folder / f"{name}.md"]
    write_text(written[0], text.getvalue())
    write_text(written[1], "".join(f"| {' | '.join(line)} |\n" for line in lines))
    searches = [measurement for measurement in measurements if isinstance(measurement, SearchMeasurement)]
    costs = [measurement for measurement in measurements if isinstance(measurement, ComplexityMeasurement)]
    return [*written, *save_figure(draw_recall(searches) if searches else draw_complexity(costs), folder, name)]


def draw_recall(measurements: Sequence[SearchMeasurement]) -> Figure:
    """Draw recall@10 against queries a second in batches, a panel a size, a line a method; right and up is better."""
    sizes = sorted({measurement.num_items for measurement in measurements})
    methods = list(dict.fromkeys(measurement.method for measurement in measurements))
    figure = Figure(figsize=(4.5 * len(sizes), 4.5), layout="constrained")
    panels = figure.subplots(1, len(sizes), squeeze=False, sharey=True)[0]
    for axes, size in zip(panels, sizes, strict=True):
        for method in methods:
            points = [point for point in measurements if (point.num_items, point.method) == (size, method)]
            axes.plot(
                [point.batch_per_second for point in points],
                [100 * point.recall_at_10 for point in points],
                marker="o",
                label=method,
            )
        axes.set(xscale="log", xlabel="queries a second, 100 at a time", title=f"{size:,} items", ylim=(0, 102))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("recall@10 in %")
    panels[-1].legend(fontsize=8)
    return figure


def draw_complexity(measurements: Sequence[ComplexityMeasurement]) -> Figure:
    """Draw milliseconds a query against items, a colour a method, a dash a dimension; low and flat is better."""
    methods = list(dict.fromkeys(measurement.method for measurement in measurements))
    dims = sorted({measurement.dim for measurement in measurements})
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for method in methods:
        for dim in dims:
            points = [point for point in measurements if (point.method, point.dim) == (method, dim)]
            points.sort(key=lambda point: point.num_items)
            axes.plot(
                [point.num_items for point in points],
                [point.query_milliseconds for point in points],
                marker="o",
                color=f"C{methods.index(method)}",
                linestyle=("-", "--", ":", "-.")[dims.index(dim) % 4],
                label=f"{method}, {dim} dimensions",
            )
    axes.set(xscale="log", yscale="log", xlabel="items", ylabel="milliseconds a query")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def _cells(measurements: Measurements) -> list[list[str]]:
    names = [field.name for field in dataclasses.fields(measurements[0])]
    rows = [[_format(getattr(measurement, name)) for name in names] for measurement in measurements]
    return [[_HEADINGS.get(name, name) for name in names], *rows]


def _format(value: str | int | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}" if abs(value) >= 1e9 else f"{value:.4g}"
