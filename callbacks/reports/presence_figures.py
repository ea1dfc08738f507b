"""Figures of a test of a model that compares pairs: mAP_s@K, presence matrices, attention, levels."""

from collections.abc import Mapping, Sequence
from itertools import product
from textwrap import shorten

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from torch import Tensor

from callbacks.reports.clip_spectrogram import RANGE_DB, ClipSpectrogram
from callbacks.reports.presence_tables import LevelRow
from callbacks.reports.sample_pairs import SampleClip, SamplePair, name_labels
from retrieval.metrics import SITUATIONS, similarity_level

Colour = tuple[float, float, float, float]  # red, green, blue, opacity

# letters
_MAX_NAME = 60
_MAX_CLASS = 32
_MAX_LABELS = 90

_SUBSETS = {"all": "queries", "single": "queries of one label", "multi": "queries of several labels"}
_MAX_WRITTEN = 30  # categories up to which cells hold their value


def draw_level_curves(rows: Sequence[LevelRow]) -> Figure:
    """Draw mAP_s@K against K with its 95 % intervals, figure 3 of Fan et al. (2020); a panel for each subset and s."""
    subsets, thresholds, methods, cutoffs = (
        list(dict.fromkeys(getattr(row, name) for row in rows)) for name in ("subset", "s", "method", "k")
    )
    legend_lines = -(-len(methods) // len(subsets))
    size = (3.2 * len(subsets) + 0.8, 2.8 * len(thresholds) + 0.6 + 0.2 * legend_lines)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(thresholds), len(subsets), sharex=True, sharey=True, squeeze=False)
    for (line, threshold), (column, subset) in product(enumerate(thresholds), enumerate(subsets)):
        axes = panels[line, column]
        for method in methods:
            shown = [row for row in rows if (row.subset, row.s, row.method) == (subset, threshold, method)]
            values = 100 * np.array([(row.low, row.mean, row.high) for row in shown]).T
            axes.plot(cutoffs, values[1], marker="o", ms=3, label=method)
            axes.fill_between(cutoffs, values[0], values[2], alpha=0.15, linewidth=0)
        axes.set(xscale="log", ylim=(0, 100), title=f"s = {threshold}; {shown[0].num_queries} {_SUBSETS[subset]}")
        axes.title.set_fontsize(9)
        axes.set_xticks(cutoffs, [str(cutoff) for cutoff in cutoffs])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.supxlabel("items retrieved, K", fontsize=10)
    figure.supylabel("mAP_s@K in %; bands: 95 % over queries", fontsize=10)
    figure.legend(
        handles=panels[0, 0].lines, loc="outside upper center", ncols=len(subsets), title=rows[0].data_name, fontsize=9
    )
    return figure


def draw_presence_matrices(pairs: Sequence[SamplePair], class_names: Sequence[str]) -> Figure:
    """Draw true beside predicted presence matrices, two pairs a line."""
    num_lines = -(-len(pairs) // 2)
    height = 1.5 + 0.24 * len(class_names)
    figure = Figure(figsize=(14, height * num_lines), layout="constrained")
    places = figure.subfigures(num_lines, 2, squeeze=False, wspace=0.04, hspace=0.04)
    for pair, place in zip(pairs, places.flat, strict=False):
        left, right = place.subplots(1, 2, sharey=True)
        _show_matrix(left, pair.target, "true")
        image = _show_matrix(right, pair.prob, "predicted")
        left.set_yticks(range(len(class_names)), [_cut(name, _MAX_CLASS) for name in class_names], fontsize=8)
        bar = place.colorbar(image, ax=[left, right], pad=0.02)
        bar.set_label("probability", fontsize=8)
        bar.ax.tick_params(labelsize=7)
        place.suptitle(_title(pair), fontsize=9)
    return figure


def draw_attention(
    pairs: Sequence[SamplePair],
    spectrograms: Sequence[tuple[ClipSpectrogram, ClipSpectrogram]],
    class_names: Sequence[str],
) -> Figure:
    """Draw the spectrogram of both clips of a pair, and below what is attended to when; a pair a line.

    Attention is drawn for the categories that either clip contains, relative to all frames weighing the same; frames
    are spread evenly over a clip. A model that weighs frames of pairs, not of clips, has the same for both clips.
    """
    figure = Figure(figsize=(13, 3.6 * len(pairs) + 1), layout="constrained")
    heights = (1.0, *[3.6] * len(pairs))
    strip, *lines = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights, hspace=0.03)[:, 0]
    in_pairs = [(pair.query.label + pair.other.label).nonzero()[:, 0].tolist() for pair in pairs]
    colour_of = _colours(sorted(set().union(*in_pairs)))
    for pair, categories, line, shown in zip(pairs, in_pairs, lines, spectrograms, strict=True):
        panels = line.subplots(2, 2, sharex="col", height_ratios=(3, 2))
        for column, (clip, spectrogram) in enumerate(zip((pair.query, pair.other), shown, strict=True)):
            _show_clip(panels[:, column], clip, spectrogram, {each: colour_of[each] for each in categories})
            role = ("query", pair.choice)[column]
            labels = shorten(name_labels(clip.label, class_names), _MAX_LABELS, placeholder=" ...")
            panels[0, column].set_title(f"{role}: {_cut(clip.item.name, _MAX_NAME)}\n{labels}", fontsize=8)
        panels[0, 0].set_ylabel("frequency in Hz", fontsize=8)
        panels[1, 0].set_ylabel("attention\n(1: all alike)", fontsize=8)
        _share_attention_scale(panels[1])
    _add_legend(strip, colour_of, class_names)
    return figure


def draw_levels(predicted: Float[Tensor, " pair"], true: Int[Tensor, " pair"], num_categories: int) -> Figure:
    """Draw the distribution of the predicted level of similarity for each true one.

    Args:
        predicted: In [0, num_categories].
        true: Categories that agree.
        num_categories: All there are.
    """
    present = true.unique().tolist()
    groups = [predicted[true == level].double().cpu().numpy() for level in present]
    figure = Figure(figsize=(max(6.0, 0.7 * len(present) + 2), 5), layout="constrained")
    axes = figure.add_subplot()
    axes.boxplot(groups, positions=present, widths=0.6, whis=(5, 95), sym="", medianprops={"color": "tab:red"})
    ends = [min(present), num_categories]
    axes.plot(ends, ends, color="black", linestyle="--", linewidth=1)
    names = [f"{level}\n{len(group)}" for level, group in zip(present, groups, strict=True)]
    axes.set_xticks(present, names, fontsize=8)
    axes.set(
        xlim=(min(present) - 0.6, num_categories + 0.6),
        ylim=(min(0.95 * float(predicted.min()), min(present)), 1.02 * num_categories),
        xlabel=f"true level: categories of {num_categories} that agree; below, pairs",
        ylabel="predicted level",
        title=f"{len(predicted)} pairs: median, quartiles, 5 % and 95 %",
    )
    axes.grid(alpha=0.3, axis="y")
    axes.legend(handles=[Line2D([], [], color="black", linestyle="--", label="predicted = true")], loc="upper left")
    return figure


def _show_matrix(axes: Axes, matrix: Float[Tensor, "category situation"], title: str) -> AxesImage:
    image = axes.imshow(matrix.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(SITUATIONS)), SITUATIONS, fontsize=8)
    axes.set_title(f"{title}, level {float(similarity_level(matrix)):.3g} of {len(matrix)}", fontsize=8)
    if len(matrix) <= _MAX_WRITTEN:
        for (row, column), value in np.ndenumerate(matrix.numpy()):
            colour = "white" if value > 0.6 else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
    return image


def _title(pair: SamplePair) -> str:
    names = [_cut(clip.item.name, _MAX_NAME) for clip in (pair.query, pair.other)]
    return f"query: {names[0]}\n{pair.choice}: {names[1]}"


def _show_clip(
    panels: np.ndarray, clip: SampleClip, spectrogram: ClipSpectrogram, colour_of: Mapping[int, Colour]
) -> None:
    """Draw the spectrogram above, attention below; dashed where the clip lacks the category."""
    above, below = panels
    edges = spectrogram.time_edges, spectrogram.band_edges
    above.pcolormesh(*edges, spectrogram.level_db, cmap="magma", rasterized=True)
    above.set(yscale="log", xlim=(0, spectrogram.duration_seconds))
    low, high = above.get_ylim()
    ticks = [each for each in (100, 300, 1000, 3000, 10_000) if low <= each <= high]
    above.set_yticks(ticks, [str(tick) for tick in ticks])
    above.minorticks_off()
    num_frames = len(clip.attention)
    frame_edges = np.linspace(0, spectrogram.duration_seconds, num_frames + 1)
    for category, colour in colour_of.items():
        style = "-" if clip.label[category] else "--"
        relative = clip.attention[:, category].float().numpy() * num_frames
        below.stairs(relative, frame_edges, color=colour, linestyle=style, baseline=None, linewidth=1.3)
    below.set_xlabel("time in seconds", fontsize=8)
    below.grid(alpha=0.3)
    for axes in panels:
        axes.tick_params(labelsize=7)


def _share_attention_scale(panels: np.ndarray) -> None:
    top = max(1.2, *(axes.get_ylim()[1] for axes in panels))
    for axes in panels:
        axes.set_ylim(0, top)


def _add_legend(place: SubFigure, colour_of: Mapping[int, Colour], class_names: Sequence[str]) -> None:
    handles = [
        Line2D([], [], color=colour, label=_cut(class_names[category], _MAX_CLASS))
        for category, colour in colour_of.items()
    ]
    handles += [
        Line2D([], [], color="black", linestyle="-", label="the clip has it"),
        Line2D([], [], color="black", linestyle="--", label="only the other has it"),
    ]
    title = f"Attention of each frame; spectrograms reach {RANGE_DB:g} dB below their loudest"
    place.legend(handles=handles, loc="center", ncols=6, fontsize=8, title=title, title_fontsize=9)


def _colours(categories: Sequence[int]) -> dict[int, Colour]:
    """Return a colour for each category."""
    if len(categories) <= 10:
        colours = mpl.colormaps["tab10"](range(len(categories)))
    else:
        colours = mpl.colormaps["nipy_spectral"](np.linspace(0.03, 0.97, len(categories)))
    return {category: tuple(colour.tolist()) for category, colour in zip(categories, colours, strict=True)}


def _cut(name: str, length: int) -> str:
    """Shorten a name in its middle."""
    if len(name) <= length:
        return name
    head = (length - 3) // 2
    return f"{name[:head]}...{name[-(length - 3 - head) :]}"
