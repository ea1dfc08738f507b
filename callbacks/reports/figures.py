"""Figures of a test: mAP@R curves, a map of the embeddings, confusion of nearest neighbours."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from retrieval.metrics import RetrievalScores
from retrieval.outputs import RetrievalOutputs

_MAX_MAPPED = 2000


def draw_map_curves(scores: Mapping[str, RetrievalScores], data_name: str) -> Figure:
    """Draw mAP@R against R, one line a method; the last point is the whole list."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, method in scores.items():
        cutoffs = [*method.map_at, method.num_items]
        axes.plot(
            cutoffs, [100 * value for value in (*method.map_at.values(), method.mean_ap)], marker="o", ms=3, label=name
        )
    axes.set(xscale="log", xlabel="items retrieved, R", ylabel="mAP@R in %", title=data_name, ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def draw_embedding_map(outputs: RetrievalOutputs, class_names: Sequence[str]) -> Figure:
    """Draw the embeddings of database (dots) and queries (rings) in the plane by t-SNE, coloured by class."""
    embeddings = torch.cat([outputs.items.embedding, outputs.queries.embedding]).double().cpu().numpy()
    labels = torch.cat([outputs.items.label, outputs.queries.label]).cpu().numpy()
    is_query = np.arange(len(labels)) >= len(outputs.items.label)
    kept = np.linspace(0, len(labels) - 1, min(len(labels), _MAX_MAPPED)).astype(int)
    plane = _to_plane(embeddings[kept])
    colours = mpl.colormaps["nipy_spectral"](np.linspace(0.03, 0.97, len(class_names)))
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.add_subplot()
    for label, name in enumerate(class_names):
        for queried, size, filled in ((False, 10, True), (True, 22, False)):
            rows = (labels[kept] == label) & (is_query[kept] == queried)
            axes.scatter(
                plane[rows, 0],
                plane[rows, 1],
                s=size,
                facecolors=[colours[label]] if filled else "none",
                edgecolors=[colours[label]],
                linewidths=0.7,
                label=None if queried else name,
            )
    axes.set(xticks=[], yticks=[], title="embeddings: database (dots), queries (rings)")
    figure.legend(loc="outside right upper", ncols=1 + len(class_names) // 26, fontsize=6, markerscale=1.5)
    return figure


def draw_confusion(outputs: RetrievalOutputs, class_names: Sequence[str]) -> Figure:
    """Draw how often the nearest item of a query of one class (row) is of another (column), in % of the row."""
    counts = nearest_confusion(outputs, len(class_names))
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 3 + 0.16 * len(class_names)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="magma_r", vmin=0, vmax=100)
    ticks = range(len(class_names))
    axes.set_xticks(ticks, class_names, rotation=90, fontsize=6)
    axes.set_yticks(ticks, class_names, fontsize=6)
    axes.set(xlabel="class of the nearest item", ylabel="class of the query")
    figure.colorbar(image, ax=axes, label="%", shrink=0.7)
    return figure


def nearest_confusion(outputs: RetrievalOutputs, num_classes: int) -> np.ndarray:
    """Count queries by their class (row) and the class of their nearest item (column)."""
    label_of = torch.full((int(outputs.items.item_index.max()) + 1,), -1, device=outputs.items.label.device)
    label_of[outputs.items.item_index] = outputs.items.label
    nearest = label_of[outputs.scores.nearest_ids[:, 0]]
    cells = outputs.queries.label * num_classes + nearest
    return torch.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes).cpu().numpy()


def _to_plane(embeddings: np.ndarray) -> np.ndarray:
    if min(embeddings.shape) < 2:
        return np.zeros((len(embeddings), 2))
    plane = np.asarray(PCA(2).fit_transform(embeddings))
    spread = float(plane[:, 0].std())
    if len(embeddings) < 10 or spread < 1e-6 * float(np.abs(embeddings).max()):
        # Too few for neighbourhoods to mean anything, or collapsed onto a point, where t-SNE divides by zero.
        return plane
    perplexity = min(30.0, (len(embeddings) - 1) / 3)
    return np.asarray(TSNE(perplexity=perplexity, init=plane / spread * 1e-4, random_state=0).fit_transform(embeddings))
