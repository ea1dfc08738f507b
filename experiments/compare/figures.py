"""Figures of a comparison: a metric against each number that was varied, and over training."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.command.run_options import short_names
from experiments.compare.comparison import ComparedRow, Comparison
from experiments.compare.run_records import CurvePoint

# What a legend holds.
_MAX_LINES = 12
_MAX_OPTIONS = 6


def draw_comparison(comparison: Comparison) -> dict[str, Figure]:
    """Draw the first metric against every column of numbers, and the curve of training that is nearest to it.

    Returns:
        Figures by name: `against_<option>`, `curves`; none where there is nothing to draw.
    """
    figures = {}
    for position, option in enumerate(comparison.columns):
        if len({row.values[position] for row in comparison.rows if _number(row.values[position]) is not None}) > 1:
            figures[f"against_{option}"] = _draw_against(comparison, position)
        if len(figures) == _MAX_OPTIONS:
            break
    quantity = _curve_to_draw(comparison)
    if quantity:
        figures["curves"] = _draw_curves(comparison, quantity)
    return figures


def row_label(comparison: Comparison, row: ComparedRow, without: int | None = None) -> str:
    """Say which row it is: its values, with the names of numbers."""
    names = short_names(comparison.columns)
    parts = [
        value if _number(value) is None and value not in ("true", "false") else f"{name} {value}"
        for position, (name, value) in enumerate(zip(names, row.values, strict=True))
        if position != without and value
    ]
    return ", ".join(parts) or ("all" if without is not None else "runs")


def _draw_against(comparison: Comparison, position: int) -> Figure:
    """Draw a line for each setting of the other columns, with deviations over runs."""
    metric, option = comparison.metrics[0], comparison.columns[position]
    lines: dict[str, list[tuple[float, ComparedRow]]] = {}
    for row in comparison.rows:
        at = _number(row.values[position])
        if at is not None and metric in row.metrics:
            lines.setdefault(row_label(comparison, row, position), []).append((at, row))
    best = sorted(lines, key=lambda name: -max(row.metrics[metric].mean for _, row in lines[name]))[:_MAX_LINES]
    figure, (axes,) = _new(1, metric, len(lines), comparison)
    for index, name in enumerate(name for name in lines if name in best):
        points = sorted(lines[name], key=lambda point: point[0])
        spreads = [row.metrics[metric] for _, row in points]
        axes.errorbar(
            [at for at, _ in points], [spread.mean for spread in spreads], [spread.std or 0.0 for spread in spreads],
            marker="o", ms=4, capsize=3, lw=1.4, color=f"C{index % 10}", ls=_style(index), label=name,
        )  # fmt: skip
    values = sorted({at for points in lines.values() for at, _ in points})
    axes.set_xlabel(option)
    if values[0] > 0 and values[-1] >= 100 * values[0]:
        axes.set_xscale("log")
    elif len(values) <= 10:
        axes.set_xticks(values, [f"{value:g}" for value in values])
    _finish(figure, len(best))
    return figure


def _curve_to_draw(comparison: Comparison) -> str:
    """Return the validation of the first metric, else a loss, else what most runs have; empty if none has a curve."""
    wanted = f"val/{comparison.metrics[0].partition('/')[2]}"
    known: dict[str, int] = {}
    for row in comparison.rows:
        for run in row.runs:
            for name, curve in run.curves.items():
                known[name] = known.get(name, 0) + (len(curve) > 1)
    known = {name: count for name, count in known.items() if count}
    for name in (wanted, "val/loss", "train/loss"):
        if name in known:
            return name
    return max(known, key=lambda name: known[name], default="")


def _draw_curves(comparison: Comparison, quantity: str) -> Figure:
    """Draw a quantity against epochs and, where the logger kept it, time: means over runs, deviations shaded."""
    rows = [row for row in comparison.rows if any(quantity in run.curves for run in row.runs)]
    shown = rows[:_MAX_LINES]
    has_time = all(point.seconds is not None for row in shown for point in _points(row, quantity))
    figure, panels = _new(2 if has_time else 1, quantity, len(rows), comparison)
    for index, row in enumerate(shown):
        epochs, seconds, means, deviations = _mean_curve(row, quantity)
        for axes, x in zip(panels, (epochs, seconds), strict=False):
            style = {"color": f"C{index % 10}", "ls": _style(index)}
            axes.plot(x, means, lw=1.4, label=row_label(comparison, row), **style)  # type: ignore[arg-type]
            axes.fill_between(x, means - deviations, means + deviations, color=f"C{index % 10}", alpha=0.15, lw=0)
    for axes, label in zip(panels, ("epoch", "seconds since the run began"), strict=False):
        axes.set_xlabel(label)
    if has_time:
        panels[-1].set_xlim(left=0)
    _finish(figure, len(shown))
    return figure


def _points(row: ComparedRow, quantity: str) -> Iterator[CurvePoint]:
    for run in row.runs:
        yield from run.curves.get(quantity, [])


def _mean_curve(row: ComparedRow, quantity: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return epochs, seconds, means and deviations, [epoch]; an epoch counts if all runs of the row have it."""
    at: dict[float, list[CurvePoint]] = {}
    for point in _points(row, quantity):
        at.setdefault(point.epoch, []).append(point)
    most = max(map(len, at.values()))
    kept: Mapping[float, list[CurvePoint]] = {epoch: at[epoch] for epoch in sorted(at) if len(at[epoch]) == most}
    values = np.array([[point.value for point in points] for points in kept.values()])
    seconds = np.array([[point.seconds or 0.0 for point in points] for points in kept.values()])
    deviations = values.std(axis=1, ddof=1) if most > 1 else np.zeros(len(values))
    return np.array(list(kept)), seconds.mean(axis=1), values.mean(axis=1), deviations


def _new(num_panels: int, metric: str, num_lines: int, comparison: Comparison) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(7.5 if num_panels == 1 else 11, 4.6), layout="constrained")
    panels = figure.subplots(1, num_panels, squeeze=False, sharey=True)[0]
    for axes in panels:
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(metric)
    data = "; ".join(sorted({run.data_name for row in comparison.rows for run in row.runs if run.data_name}))
    few = f"{_MAX_LINES} of {num_lines} settings" if num_lines > _MAX_LINES else ""
    spread = "mean, deviation over runs"
    figure.suptitle(": ".join(part for part in (data, ", ".join(filter(None, (few, spread)))) if part), fontsize=10)
    return figure, list(panels)


def _finish(figure: Figure, num_lines: int) -> None:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if num_lines > 1 or labels != ["all"]:
        figure.legend(handles, labels, loc="outside lower center", fontsize=8, ncols=2 if num_lines > 3 else 1)


def _style(index: int) -> str:
    return "-" if index < 10 else "--"


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
