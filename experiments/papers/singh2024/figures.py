"""Figures of a FlowHash study: those of the paper, 2 to 5, and what a table finds for what it evaluates."""

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from experiments.papers.singh2024.analysis import CLOSE, Balance, Closeness, Marginals
from experiments.papers.singh2024.cells import TARGET_RECALL, Curve
from experiments.papers.singh2024.comparison import FlowStudyResult
from experiments.papers.singh2024.settings import HASHES, METHODS
from experiments.papers.singh2024.toy_densities import Toy

_COLOURS = {name: f"C{number}" for number, name in enumerate(HASHES)}


def make_figures(result: FlowStudyResult) -> dict[str, Figure]:
    """Return all figures of a study by the name of their file."""
    data, bits = result.data_name, result.study.bits[0]
    curves = [curve for curve in result.curves if curve.num_bits == bits and curve.encoder == result.main_encoder]
    figures = {}
    if curves:
        figures["efficiency"] = draw_efficiency(curves, data)
    if result.marginals:
        figures["fig2"] = draw_marginals(result.marginals, data)
    balances = [balance for balance in result.balances if balance.num_bits == bits]
    if balances:
        figures["fig3"] = draw_balance(balances, data)
    if result.closeness:
        figures["fig4"] = draw_closeness(result.closeness, data)
    return {**figures, "fig5": draw_toys(result.toys)}


def draw_efficiency(curves: Sequence[Curve], data_name: str) -> Figure:
    """Draw recall against the share of the database evaluated, one line a hash."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for curve in curves:
        shares = [100 * recall for recall in curve.recall]
        axes.plot(
            curve.evaluated_percent, shares, marker="o", ms=3, color=_COLOURS[curve.method], label=METHODS[curve.method]
        )
    axes.axhline(100 * TARGET_RECALL, color="grey", lw=0.8, ls="--")
    axes.set(
        xscale="log", xlabel="share of the database evaluated in %", ylabel="% of what exact search localises",
        title=f"{data_name}, {curves[0].num_bits} bits, 10 dB", ylim=(0, 102),
    )  # fmt: skip
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def draw_marginals(marginals: Sequence[Marginals], data_name: str) -> Figure:
    """Draw the density of every z_k, and the target's."""
    figure = Figure(figsize=(4.6 * len(marginals), 4), layout="constrained")
    for axes, own in zip(figure.subplots(1, len(marginals), squeeze=False)[0], marginals, strict=True):
        edges = np.array(own.edges)
        centres = (edges[1:] + edges[:-1]) / 2
        for number, density in enumerate(own.densities):
            axes.plot(centres, density, lw=0.8, color=mpl.colormaps["viridis"](number / own.num_bits))
        if own.method != "flowhash_contrast":  # which has no such target
            normal = [np.exp(-0.5 * (centres - mean) ** 2) / math.sqrt(2 * math.pi) for mean in (-2, 2)]
            axes.plot(centres, sum(normal) / 2, color="black", lw=1.5, ls="--", label="target, eq. (7)")
            axes.legend(fontsize=8)
        top = np.quantile(np.array(own.densities).max(axis=1), 0.9)
        axes.set(
            xlabel="z_k", ylabel="density", title=f"{METHODS[own.method]}, {own.num_bits} bits",
            ylim=(0, 1.15 * max(0.25, float(top))),
        )  # fmt: skip
        axes.axvline(0, color="grey", lw=0.8)
    figure.suptitle(f"Marginals of z, {data_name}")
    return figure


def draw_balance(balances: Sequence[Balance], data_name: str) -> Figure:
    """Draw how many buckets have which density rho_k = -log2 of their share, one panel a hash."""
    columns = min(4, len(balances))
    rows = math.ceil(len(balances) / columns)
    figure = Figure(figsize=(3.2 * columns, 2.6 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axes in panels[len(balances) :]:
        axes.set_axis_off()
    for axes, own in zip(panels, balances, strict=False):
        num_buckets = 2**own.num_bits
        heights = 100 * np.array(own.counts) / num_buckets
        axes.bar(own.edges[:-1], heights, np.diff(own.edges), align="edge", color=_COLOURS[own.method])
        axes.axvline(own.num_bits, color="black", lw=0.8, ls="--")
        axes.set_title(METHODS[own.method], fontsize=8)
        said = f"{100 * own.near_uniform:.0f} % within factor 2\n{100 * own.empty:.0f} % empty\n{own.entropy:.2f} bits"
        axes.text(0.03, 0.95, said, transform=axes.transAxes, va="top", fontsize=7)
        axes.set_xlim(own.num_bits - 6, own.num_bits + 6)
    figure.supxlabel("rho_k, bits; K where buckets are even", fontsize=9)
    figure.supylabel("buckets in %", fontsize=9)
    figure.suptitle(f"Balance, {data_name}, {balances[0].num_bits} bits", fontsize=10)
    return figure


def draw_closeness(closeness: Sequence[Closeness], data_name: str) -> Figure:
    """Draw the histogram of |z - z+|, one line a hash."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for own in closeness:
        label = (
            f"{METHODS[own.method]}: {100 * own.close:.0f} % below {CLOSE:g}, {100 * own.bit_agreement:.0f} % of bits "
            "equal"
        )
        axes.stairs(100 * np.array(own.shares), own.edges, color=_COLOURS[own.method], lw=1.5, label=label)
    axes.axvline(CLOSE, color="grey", lw=0.8, ls="--")
    axes.set(
        xlabel="|z_k - z_k+| (the last bin holds all beyond)", ylabel="pairs and dimensions in %",
        title=f"Queries and the fingerprints that they are of, {data_name}, {closeness[0].num_bits} bits",
    )  # fmt: skip
    axes.legend(fontsize=8)
    return figure


def draw_toys(toys: Mapping[Toy, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Draw points before the flow and after it, coloured by their code of two bits."""
    figure = Figure(figsize=(6, 3 * len(toys)), layout="constrained")
    for axes, (name, (points, becomes)) in zip(figure.subplots(len(toys), 2, squeeze=False), toys.items(), strict=True):
        bucket = (becomes > 0) @ np.array([1, 2])
        shares = np.bincount(bucket, minlength=4) / len(bucket)
        for panel, drawn in zip(axes, (points, becomes), strict=True):
            panel.scatter(*drawn.T, s=1.5, c=bucket, cmap="Set1", vmin=0, vmax=8, linewidths=0, rasterized=True)
            panel.set_aspect("equal")
        axes[1].set(xlim=(-6, 6), ylim=(-6, 6))
        axes[1].axhline(0, color="grey", lw=0.6)
        axes[1].axvline(0, color="grey", lw=0.6)
        axes[0].set_title(f"{name}: y", fontsize=9)
        axes[1].set_title("z: " + ", ".join(f"{100 * share:.0f} %" for share in shares), fontsize=9)
    return figure
