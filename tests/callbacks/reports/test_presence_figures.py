"""What is drawn of pairs: attention over the clips, presence matrices, curves and levels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from callbacks.reports.clip_spectrogram import ClipSpectrogram
from callbacks.reports.presence_figures import draw_attention, draw_level_curves, draw_levels, draw_presence_matrices
from callbacks.reports.presence_tables import LevelRow
from callbacks.reports.sample_pairs import NEAREST, SampleClip, SamplePair
from tests.callbacks.makers import Clip

CATEGORIES = ("engine", "music", "human-voice", "dog")
CUTOFFS = [1, 5, 10]


def make_pair(num_frames: int = 4) -> SamplePair:
    """A query with the second category, an item with the second and the third."""
    attention = torch.zeros(num_frames, 4)
    attention[-1, 1] = 1
    clips = [
        SampleClip(Clip(f"{name}.wav", Path()), torch.tensor(label), attention)
        for name, label in (("query", [0, 1, 0, 0]), ("item", [0, 1, 1, 0]))
    ]
    target = torch.eye(3)[[1, 0, 2, 1]]
    return SamplePair(clips[0], clips[1], NEAREST, target * 0.7 + 0.1, target)


def make_spectrogram(seconds: float) -> ClipSpectrogram:
    return ClipSpectrogram(np.zeros((3, 5)), np.linspace(0, seconds, 6), np.array([50.0, 100.0, 200.0, 400.0]))


def test_attention_is_drawn_over_the_length_of_the_clip() -> None:
    figure = draw_attention([make_pair()], [(make_spectrogram(10.0), make_spectrogram(2.0))], CATEGORIES)
    above, other_above, below, other_below = figure.subfigs[1].axes
    for axes, end in ((above, 10.0), (below, 10.0), (other_above, 2.0), (other_below, 2.0)):
        assert axes.get_xlim() == (0, end)
    steps: Any = below.patches
    assert len(steps) == len(other_below.patches) == 2  # what either clip has
    np.testing.assert_allclose(steps[0].get_data().edges, [0, 2.5, 5, 7.5, 10])
    np.testing.assert_allclose(steps[0].get_data().values, [0, 0, 0, 4])  # four times its share
    assert [step.get_linestyle() for step in steps] == ["-", "--"]  # the query lacks the third category
    assert [step.get_linestyle() for step in other_below.patches] == ["-", "-"]
    assert below.get_ylim() == other_below.get_ylim()
    (legend,) = figure.subfigs[0].legends
    named = ["music", "human-voice", "the clip has it", "only the other has it"]
    assert [text.get_text() for text in legend.get_texts()] == named
    assert above.get_title() == "query: query.wav\nmusic"
    assert other_above.get_title() == f"{NEAREST}: item.wav\nmusic, human-voice"


@pytest.mark.parametrize("num_pairs", [1, 2, 3])
def test_true_matrices_are_beside_predicted_ones(num_pairs: int) -> None:
    figure = draw_presence_matrices([make_pair()] * num_pairs, CATEGORIES)
    drawn = [place for place in figure.subfigs if place.axes]
    assert len(drawn) == num_pairs
    left, right = drawn[0].axes[:2]
    assert left.get_title() == "true, level 3 of 4"
    assert right.get_title() == "predicted, level 2.9 of 4"
    assert [text.get_text() for text in left.get_yticklabels()] == list(CATEGORIES)
    assert [text.get_text() for text in right.get_xticklabels()] == ["both", "neither", "one"]
    shown = np.asarray(right.images[0].get_array())
    assert shown.shape == (4, 3)
    assert right.texts[0].get_text() == f"{shown[0, 0]:.2f}"


def test_curves_have_a_panel_for_each_subset_and_threshold() -> None:
    rows = [
        LevelRow("made up", method, subset, s, k, 0.5, 0.4, 0.6, 7)
        for subset in ("all", "multi")
        for method in ("one", "two")
        for s in (8, 7)
        for k in CUTOFFS
    ]
    figure = draw_level_curves(rows)
    assert [axes.get_title() for axes in figure.axes] == [
        f"s = {s}; 7 {queries}" for s in (8, 7) for queries in ("queries", "queries of several labels")
    ]
    for axes in figure.axes:
        assert [line.get_label() for line in axes.lines] == ["one", "two"]
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), CUTOFFS)
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), [50.0] * 3)


def test_levels_are_drawn_for_each_true_level() -> None:
    true = torch.tensor([2, 2, 2, 4, 4])
    figure = draw_levels(torch.tensor([1.0, 2.0, 3.0, 3.5, 4.0]), true, 4)
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["2\n3", "4\n2"]
    medians = [np.asarray(line.get_ydata()) for line in figure.axes[0].lines if line.get_color() == "tab:red"]
    assert [float(each.mean()) for each in medians] == [2.0, 3.75]
