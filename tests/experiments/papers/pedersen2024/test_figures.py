"""The study's figures: what they draw is what was counted."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.compare.study_report import save_figure
from experiments.papers.pedersen2024.clip_search import METRICS, PROTOCOLS, SearchKey, search_clips
from experiments.papers.pedersen2024.figures import (
    draw_accuracy,
    draw_confusions,
    draw_missing_classes,
    draw_sweep,
    draw_training,
)
from experiments.papers.pedersen2024.linear_probe import ThresholdAccuracy
from experiments.papers.pedersen2024.published import read_published
from experiments.papers.pedersen2024.representations import Corpus, Representation
from experiments.papers.pedersen2024.tables import class_accuracies
from retrieval.metrics import NeighbourScores, neighbour_scores

# Eight clips in two folds; none is of the class `siren`.
LABELS = np.array([0, 0, 0, 0, 1, 1, 2, 2])
CORPUS = Corpus(
    "made up",
    np.array([1, 2, 1, 2, 1, 2, 1, 2]),
    {"subclasses": LABELS, "superclasses": LABELS // 2},
    {"subclasses": ["dog", "cow", "rain", "siren"], "superclasses": ["animals", "other"]},
)
ONE_LEVEL = replace(
    CORPUS, label_sets={"subclasses": LABELS}, class_names={"subclasses": ["dog", "cow", "rain", "siren"]}
)


def predicted(labels: list[int]) -> NeighbourScores:
    """Score queries 0 to 7 whose nearest item has the given label."""
    first_of = {0: 0, 1: 4, 2: 6}
    # the second of a list, of another class, is not to matter
    item_ids = torch.tensor([[first_of[label], first_of[(label + 1) % 3]] for label in labels])
    truth = torch.from_numpy(LABELS)
    return neighbour_scores(item_ids, truth, truth, torch.zeros(8, 8, dtype=torch.bool), (2,))


def represented(name: str, label: str, seed: int) -> Representation:
    vectors = np.random.default_rng(seed).standard_normal((8, 5))
    return Representation(name, label, {1: vectors, 2: vectors})


def bars_of(figure: Figure, panel: int = 0) -> list[list[Rectangle]]:
    """Return the bars of a panel, group by group."""
    containers = [each for each in figure.axes[panel].containers if isinstance(each, BarContainer)]
    return [list(container.patches) for container in containers]


# Classes.


def test_class_accuracies_by_hand() -> None:
    # dog: 3 of 4; cow: none of 2, once for dog; rain: one of 2
    scores = predicted([0, 0, 0, 1, 0, 2, 2, 0])
    assert class_accuracies(scores, CORPUS.class_names["subclasses"]) == {"dog": 0.75, "cow": 0.0, "rain": 0.5}


def test_class_accuracies_of_superclasses() -> None:
    truth = torch.from_numpy(CORPUS.label_sets["superclasses"])
    item_ids = torch.tensor([0, 0, 0, 6, 0, 0, 6, 0])[:, None]
    scores = neighbour_scores(item_ids, truth, truth, torch.zeros(8, 8, dtype=torch.bool), (1,))
    assert class_accuracies(scores, CORPUS.class_names["superclasses"]) == pytest.approx(
        {"animals": 5 / 6, "other": 0.5}
    )


def test_the_mean_of_class_accuracies_is_macro_recall() -> None:
    scores = predicted([0, 1, 2, 0, 1, 2, 2, 0])
    shares = class_accuracies(scores, CORPUS.class_names["subclasses"]).values()
    assert sum(shares) / len(shares) == pytest.approx(scores.macro_recall)


# Confusion.


def test_confusion_counts_classes_that_are_never_predicted_too() -> None:
    guesses = {"cosine": [0, 0, 0, 0, 0, 0, 2, 0], "euclidean": [0, 0, 0, 1, 1, 2, 2, 2]}
    one, two = represented("vae_small", "VAE", 0), represented("log_mel", "statistics", 1)
    scores = {
        SearchKey(each.name, metric, "leave_one_out", "subclasses"): predicted(guesses[metric])
        for each in (one, two)
        for metric in METRICS
    }
    figure = draw_confusions(scores, (one, two), CORPUS)
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in panels] == [
        "VAE, cosine: 62.5 %", "VAE, euclidean: 75.0 %", "statistics, cosine: 62.5 %", "statistics, euclidean: 75.0 %",
    ]  # fmt: skip
    for axes, metric in zip(panels, [*METRICS, *METRICS], strict=True):
        counts = np.zeros((4, 4), np.int64)
        for label, guess in zip(LABELS, guesses[metric], strict=True):
            counts[label, guess] += 1
        assert np.array_equal(np.asarray(axes.images[0].get_array()), counts)
        assert counts.sum() == 8
        for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
            assert [tick.get_text() for tick in ticks] == ["dog", "cow", "rain", "siren"]
        assert axes.get_ylabel() == "query's class"


# Accuracy.


@pytest.mark.parametrize("corpus", [CORPUS, ONE_LEVEL])
def test_accuracy_has_a_bar_a_representation_and_protocol(corpus: Corpus, tmp_path: Path) -> None:
    made = [represented("one", "One", 0), represented("two", "Two", 1), represented("three", "Three", 2)]
    scores = search_clips(made, corpus, (1, 2))
    figure = draw_accuracy(scores, made, corpus)
    assert len(figure.axes) == len(corpus.label_sets)
    for panel, label_set in enumerate(corpus.label_sets):
        for protocol, bars in zip(PROTOCOLS, bars_of(figure, panel), strict=True):
            widths = [bar.get_width() for bar in bars]
            keys = [SearchKey(each.name, "cosine", protocol, label_set) for each in made]
            assert widths == pytest.approx([100 * scores[key].accuracy for key in keys])
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["One", "Two", "Three"]
    chance = figure.axes[0].lines[0].get_xdata()
    assert list(np.asarray(chance)) == [25.0, 25.0]
    picture = save_figure(figure, tmp_path, "accuracy")
    assert all(picture.with_suffix(suffix).stat().st_size > 1000 for suffix in (".png", ".svg"))


# Classes that AudioSet lacks.


def test_missing_classes_stand_left_and_means_right() -> None:
    thesis = read_published()
    missing, beside = thesis.missing_in_audioset, thesis.shown_beside
    names = [*missing, *beside, "rain", "siren"]
    accuracies = {
        "VAE": {name: position / 100 for position, name in enumerate(names)},
        "YAMNet": {name: 1 - position / 100 for position, name in enumerate(names)},
    }
    figure = draw_missing_classes(accuracies, missing, beside, CORPUS)
    vae, yamnet = bars_of(figure)
    # 0 to 4 are missing; all others are 5 to 11, two of them not shown
    expected = [*range(10), 2.0, 8.0]
    assert [bar.get_height() for bar in vae] == pytest.approx(expected)
    assert [bar.get_height() for bar in yamnet] == pytest.approx([100 - value for value in expected])
    ticks = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert ticks == [*missing, *beside, "all missing", "all others"]
    for position, (first, second) in enumerate(zip(vae, yamnet, strict=True)):
        assert first.get_x() + first.get_width() == pytest.approx(second.get_x())
        assert first.get_x() + first.get_width() == pytest.approx(position)  # the pair is centred on its tick


# Thresholds.


def test_the_sweep_has_a_gap_where_no_feature_is_left() -> None:
    points = [
        ThresholdAccuracy(threshold, 3, label_set, "svm", accuracies)
        for threshold, accuracies in ((0.0, {1: 0.5, 2: 0.7}), (0.001, {1: 0.4, 2: 0.4}), (0.002, {}))
        for label_set in ("subclasses", "superclasses")
    ]
    figure = draw_sweep(points, CORPUS)
    lines = figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["subclasses, svm", "superclasses, svm"]
    for line in lines:
        assert list(np.asarray(line.get_xdata())) == [0.0, 0.001, 0.002]
        drawn = np.asarray(line.get_ydata(), dtype=np.float64)
        assert drawn[:2] == pytest.approx([60, 40])
        assert np.isnan(drawn[2])


# Training.


def curves_of(values: dict[int, float], val_values: dict[int, float]) -> dict[str, dict[int, float]]:
    names = ("negative_elbo", "divergence", "reconstruction")
    return {f"train/{name}": values for name in names} | {f"val/{name}": val_values for name in names}


def test_training_is_drawn_over_the_epochs_that_all_folds_have() -> None:
    by_fold = {
        1: curves_of({0: 10.0, 1: 8.0, 2: 6.0, 3: 5.0}, {1: 9.0, 3: 7.0}),
        2: curves_of({0: 14.0, 1: 10.0, 2: 6.0}, {1: 11.0}),  # went on for less long
    }
    figure = draw_training({"VAE": by_fold}, CORPUS)
    assert len(figure.axes) == 3
    for axes in figure.axes:
        train, val = axes.lines
        assert [line.get_label() for line in (train, val)] == ["VAE, train", "VAE, val"]
        assert list(np.asarray(train.get_xdata())) == [0, 1, 2]
        assert np.asarray(train.get_ydata()) == pytest.approx([12, 9, 6])
        assert list(np.asarray(val.get_xdata())) == [1]
        assert np.asarray(val.get_ydata()) == pytest.approx([10])
        assert (train.get_linestyle(), val.get_linestyle()) == ("-", "--")
        band = axes.collections[0].get_paths()[0].vertices
        assert cast(np.ndarray, band)[:, 1].max() == pytest.approx(14)  # 12 and a deviation of 2
        assert cast(np.ndarray, band)[:, 1].min() == pytest.approx(6)


def test_models_have_a_row_each_and_may_lack_a_curve() -> None:
    first, second = curves_of({0: 1.0}, {}), curves_of({0: 2.0, 1: 3.0}, {1: 4.0})
    del first["val/negative_elbo"]
    figure = draw_training({"one": {1: first}, "two": {1: second, 2: {}}}, CORPUS)
    rows = [[line.get_label() for line in figure.axes[position].lines] for position in (0, 3)]
    assert rows == [["one, train"], ["two, train", "two, val"]]
