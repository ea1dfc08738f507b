"""Figures of a grid: mAP against bits, labelled share and length of the list."""

from collections.abc import Callable, Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.grids.summary import Row
from experiments.papers.jati2020.tables import EMBEDDING_LABELS, TableText


def draw_bits(rows: Sequence[Row], text: TableText) -> Figure:
    """Draw mAP against code length: ours solid, the paper's dashed."""
    figure, axes = _new("bits", "mAP in %", f"{text.data_name}; the paper's dashed")
    for position, (name, group) in enumerate(_group(rows, text.labels).items()):
        colour = mpl.colormaps["tab20"](position % 20)
        _errorbars(axes, group, lambda row: row.num_bits, name, colour)
    for embedding, methods in text.published.mean_ap_percent.items():
        for position, (method, values) in enumerate(methods.items()):
            points = [
                (bits, value) for bits, value in zip(text.published.bits, values, strict=True) if value is not None
            ]
            style = "--" if position % 2 else "-."
            axes.plot(*zip(*points, strict=True), ls=style, lw=0.8, color="grey", alpha=0.7)
            axes.annotate(f"{method}, {EMBEDDING_LABELS[embedding]}", points[-1], fontsize=5, color="grey")
    axes.set_xticks(sorted({row.num_bits for row in rows}))
    _finish(figure)
    return figure


def draw_fractions(rows: Sequence[Row], text: TableText) -> Figure:
    """Draw mAP against the labelled share of the database; the paper's value at a tenth as a cross."""
    figure, axes = _new("labelled share of the database in %", "mAP in %", text.data_name)
    for position, (name, group) in enumerate(_group(rows, text.labels).items()):
        _errorbars(axes, group, lambda row: 100 * (row.label_fraction or 0), name, f"C{position}")
    for embedding in text.published.mean_ap_percent:
        value = text.published.value(embedding, "dqn", rows[0].num_bits)
        if value is not None:
            axes.plot(10, value, "x", color="grey")
            axes.annotate(f"the paper's, {EMBEDDING_LABELS[embedding]}", (10, value), fontsize=6, color="grey")
    _finish(figure)
    return figure


def draw_map_at(rows: Sequence[Row], text: TableText) -> Figure:
    """Draw mAP@R against R; the last point is the whole list."""
    figure, axes = _new("items retrieved, R", "mAP@R in %", f"{text.data_name}, {rows[-1].num_bits} bits")
    for row in rows:
        share = "" if row.label_fraction is None else f", {100 * row.label_fraction:.0f} % labelled"
        points = sorted(row.map_at.items())
        name = f"{text.labels[row.method]}, {EMBEDDING_LABELS[row.embedding]}{share}"
        axes.plot([at for at, _ in points], [100 * value for _, value in points], marker="o", ms=3, label=name)
    axes.set_xscale("log")
    _finish(figure)
    return figure


def _new(x_label: str, y_label: str, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=x_label, ylabel=y_label, title=title)
    axes.grid(alpha=0.3)
    return figure, axes


def _finish(figure: Figure) -> None:
    figure.axes[0].set_ylim(bottom=0)
    figure.legend(loc="outside right upper", fontsize=7)


def _group(rows: Sequence[Row], labels: Mapping[str, str]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(f"{labels[row.method]}, {EMBEDDING_LABELS[row.embedding]}", []).append(row)
    return groups


def _errorbars(axes: Axes, rows: Sequence[Row], x: Callable[[Row], float], name: str, colour: object) -> None:
    axes.errorbar(
        [x(row) for row in rows],
        [100 * row.mean_ap for row in rows],
        yerr=[100 * row.std for row in rows],
        marker="o", ms=3, capsize=2, lw=1.2, color=colour, label=name,
    )  # fmt: skip
