"""The figures of the thesis's study: accuracy, confusion, classes that AudioSet lacks, thresholds, training."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.papers.pedersen2024.clip_search import METRICS, PROTOCOLS, SearchKey
from experiments.papers.pedersen2024.linear_probe import ThresholdAccuracy
from experiments.papers.pedersen2024.representations import Corpus, Representation
from retrieval.metrics import NeighbourScores

# Quantities of a run's curves: title, then training and validation.
_CURVES = {
    "negative_elbo": "negative ELBO in nats a window",
    "divergence": "KL divergence in nats a window",
    "reconstruction": "reconstruction in nats a window",
}


def draw_accuracy(
    scores: Mapping[SearchKey, NeighbourScores], representations: Sequence[Representation], corpus: Corpus
) -> Figure:
    """Draw 1-NN accuracy by cosine: a bar a representation and protocol, a panel a label set."""
    label_sets = list(corpus.label_sets)
    figure = Figure(figsize=(6 * len(label_sets), 1.5 + 0.4 * len(representations)), layout="constrained")
    panels = figure.subplots(1, len(label_sets), sharey=True, squeeze=False)[0]
    rows = np.arange(len(representations))
    for axes, label_set in zip(panels, label_sets, strict=True):
        for position, protocol in enumerate(PROTOCOLS):
            values = [
                100 * scores[SearchKey(each.name, "cosine", protocol, label_set)].accuracy for each in representations
            ]
            bars = axes.barh(rows + 0.4 * (position - 0.5), values, 0.4, label=protocol.replace("_", "-"))
            axes.bar_label(bars, fmt="%.1f", fontsize=6, padding=2)
        num_classes = len(corpus.class_names[label_set])
        axes.axvline(100 / num_classes, color="grey", lw=0.8, ls="--")
        axes.set(xlabel=f"1-NN accuracy by cosine in %, {num_classes} {label_set}", xlim=(0, 105))
    panels[0].set_yticks(rows, [each.label for each in representations], fontsize=7)
    panels[0].invert_yaxis()
    panels[0].legend(fontsize=7)
    figure.suptitle(corpus.name, fontsize=9)
    return figure


def draw_confusions(
    scores: Mapping[SearchKey, NeighbourScores], representations: Sequence[Representation], corpus: Corpus
) -> Figure:
    """Draw the confusion of nearest neighbours by both distances, leave-one-out, as in figure 4.3."""
    label_set, names = next(iter(corpus.class_names.items()))
    figure = Figure(figsize=(14, 6.8 * len(representations)), layout="constrained")
    panels = figure.subplots(len(representations), len(METRICS), squeeze=False)
    for row, each in zip(panels, representations, strict=True):
        for axes, metric in zip(row, METRICS, strict=True):
            own = scores[SearchKey(each.name, metric, "leave_one_out", label_set)]
            counts = np.zeros((len(names), len(names)), np.int64)
            classes = own.classes.numpy()
            counts[np.ix_(classes, classes)] = own.confusion.numpy()
            image = axes.imshow(counts, cmap="viridis")
            figure.colorbar(image, ax=axes, shrink=0.7, label="clips")
            axes.set_xticks(range(len(names)), names, rotation=90, fontsize=5)
            axes.set_yticks(range(len(names)), names, fontsize=5)
            axes.set(xlabel="nearest clip's class", ylabel="query's class")
            axes.set_title(f"{each.label}, {metric}: {100 * own.accuracy:.1f} %", fontsize=9)
    figure.suptitle(f"{corpus.name}, leave-one-out", fontsize=9)
    return figure


def draw_missing_classes(
    accuracies: Mapping[str, Mapping[str, float]], missing: Sequence[str], beside: Sequence[str], corpus: Corpus
) -> Figure:
    """Draw the accuracy of classes that AudioSet lacks beside that of others, as in figure 4.4.

    Args:
        accuracies: By representation's label, then class.
        missing: Classes without one of AudioSet.
        beside: Classes that figure 4.4 shows for comparison.
        corpus: Where from.
    """
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.add_subplot()
    groups = [*missing, *beside, "all missing", "all others"]
    width = 0.8 / len(accuracies)
    for position, (label, by_class) in enumerate(accuracies.items()):
        others = [value for name, value in by_class.items() if name not in missing]
        means = [sum(by_class[name] for name in missing) / len(missing), sum(others) / len(others)]
        values = [100 * value for value in (*(by_class[name] for name in (*missing, *beside)), *means)]
        axes.bar(np.arange(len(groups)) + position * width - 0.4 + width / 2, values, width, label=label)
    axes.set_xticks(range(len(groups)), groups, rotation=30, ha="right", fontsize=8)
    axes.axvline(len(missing) - 0.5, color="grey", lw=0.8)
    axes.axvline(len(missing) + len(beside) - 0.5, color="grey", lw=0.8)
    axes.set(ylabel="1-NN accuracy by cosine in %, leave-one-out", title=f"{corpus.name}: left, not in AudioSet")
    axes.legend(fontsize=7)
    return figure


def draw_sweep(points: Sequence[ThresholdAccuracy], corpus: Corpus) -> Figure:
    """Draw accuracy of linear classifiers against the threshold on variance, as in figure 4.1."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    for label_set, classifier in dict.fromkeys((point.label_set, point.classifier) for point in points):
        own = [point for point in points if (point.label_set, point.classifier) == (label_set, classifier)]
        accuracies = [np.nan if point.accuracy is None else 100 * point.accuracy for point in own]
        axes.plot([point.threshold for point in own], accuracies, marker="o", ms=3, label=f"{label_set}, {classifier}")
    axes.set(xlabel="smallest variance of a feature", ylabel="accuracy in %", title=f"{corpus.name}, YAMNet, delta")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    return figure


def draw_training(curves: Mapping[str, Mapping[int, Mapping[str, Mapping[int, float]]]], corpus: Corpus) -> Figure:
    """Draw both parts of the bound over training: mean over folds, a band of one deviation, as in figure 4.5.

    Args:
        curves: By model's label, fold and quantity, its value by epoch.
        corpus: Where from.
    """
    figure = Figure(figsize=(15, 4.5 * len(curves)), layout="constrained")
    panels = figure.subplots(len(curves), len(_CURVES), squeeze=False)
    for row, (label, by_fold) in zip(panels, curves.items(), strict=True):  # their windows may differ in size
        for axes, (name, title) in zip(row, _CURVES.items(), strict=True):
            for stage, style in (("train", "-"), ("val", "--")):
                own = [fold[f"{stage}/{name}"] for fold in by_fold.values() if f"{stage}/{name}" in fold]
                if not own:
                    continue
                epochs = sorted(set.intersection(*(set(curve) for curve in own)))
                values = np.array([[curve[epoch] for epoch in epochs] for curve in own])
                mean, deviation = values.mean(axis=0), values.std(axis=0)
                axes.plot(epochs, mean, style, color="C0", label=f"{label}, {stage}")
                axes.fill_between(epochs, mean - deviation, mean + deviation, color="C0", alpha=0.2)
            axes.set(xlabel="epoch", title=title)
            axes.grid(alpha=0.3)
        row[0].legend(fontsize=7)
    figure.suptitle(f"{corpus.name}, {max(len(by_fold) for by_fold in curves.values())} folds", fontsize=9)
    return figure
