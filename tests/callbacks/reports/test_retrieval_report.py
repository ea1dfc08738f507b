"""Tables and figures of a report, from outputs made by hand."""

from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from callbacks.reports.baselines import score_exact, score_product_quantization
from callbacks.reports.figures import draw_confusion, draw_embedding_map, draw_map_curves, nearest_confusion
from callbacks.reports.retrieval_report import result_rows, results_table
from retrieval.codes import ProductQuantizer
from retrieval.index import ExactIndex
from retrieval.metrics import ScoringOptions, evaluate_retrieval
from retrieval.outputs import EmbeddedItems, RetrievalOutputs


def make_outputs(num_items: int = 40, num_queries: int = 12, *, collapsed: bool = False) -> RetrievalOutputs:
    """Items in two classes, told apart by their first dimension; ids start at 100."""
    generator = torch.Generator().manual_seed(0)

    def role(count: int, first_id: int) -> EmbeddedItems:
        label = torch.arange(count) % 2
        feature = torch.randn(count, 6, generator=generator) * 0.1
        feature[:, 0] += 2.0 * label - 1
        embedding = torch.ones(count, 4) if collapsed else feature[:, :4]
        return EmbeddedItems(torch.arange(count) + first_id, label, feature, embedding)

    items, queries = role(num_items, 100), role(num_queries, 500)
    index = ExactIndex()
    index.add(items.embedding, items.item_index)
    scores = evaluate_retrieval(index, queries.embedding, queries.label, items.label)
    return RetrievalOutputs(queries, items, index, scores)


def test_baselines_are_scored_on_features_at_the_same_bits() -> None:
    outputs = make_outputs()
    scores = score_product_quantization(outputs, ProductQuantizer(4, 4, 4), ScoringOptions())
    assert list(scores) == ["PQ", "PQ, L2-normalised"]
    scores |= score_exact(outputs, ScoringOptions())
    assert list(scores)[-1] == "exact cosine"
    assert all(row.mean_ap > 0.99 for row in scores.values())  # the classes lie far apart


def test_product_quantization_is_left_out_of_a_database_too_small_for_it() -> None:
    assert not score_product_quantization(make_outputs(num_items=10), ProductQuantizer(4, 8, 16), ScoringOptions())


def test_confusion_counts_nearest_items_by_class() -> None:
    outputs = make_outputs()
    np.testing.assert_array_equal(nearest_confusion(outputs, 3), [[6, 0, 0], [0, 6, 0], [0, 0, 0]])


def test_figures_show_every_method_and_class(tmp_path: Path) -> None:
    outputs = make_outputs()
    scores = {"one": outputs.scores, "two": outputs.scores}
    curves = draw_map_curves(scores, "made up").axes[0]
    assert [line.get_label() for line in curves.lines] == ["one", "two"]
    assert curves.lines[0].get_xdata()[-1] == 40  # type: ignore[index]
    embedding_map = draw_embedding_map(outputs, ["a", "b"])
    assert [text.get_text() for text in embedding_map.legends[0].get_texts()] == ["a", "b"]
    offsets = np.concatenate([np.asarray(points.get_offsets()) for points in embedding_map.axes[0].collections])
    assert len(offsets) == 52
    confusion = draw_confusion(outputs, ["a", "b"])
    confusion.savefig(tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 1000


def test_a_collapsed_embedding_is_drawn_as_a_point() -> None:
    figure = draw_embedding_map(make_outputs(collapsed=True), ["a", "b"])
    offsets = np.concatenate([points.get_offsets() for points in figure.axes[0].collections])
    assert float(np.ptp(offsets, axis=0).max()) < 1e-6


def test_results_are_laid_out_for_people_and_programs() -> None:
    outputs = make_outputs()
    (row,) = result_rows({"mine": outputs.scores}, "made up", 8)
    assert (row["data"], row["num_bits"], row["method"]) == ("made up", 8, "mine")
    assert row["mAP"] == outputs.scores.mean_ap
    console = Console(width=120, record=True)
    console.print(results_table({"mine": outputs.scores}, "made up"))
    text = console.export_text()
    assert "made up" in text
    assert "100.0" in text
