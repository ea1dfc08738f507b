"""Report a test: the model beside its baselines on the terminal, as files, and in W&B."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytorch_lightning as pl
import wandb
from matplotlib.figure import Figure
from rich.table import Table

from callbacks.protocols import Corpus
from callbacks.reports.baselines import score_exact, score_product_quantization
from callbacks.reports.figures import draw_confusion, draw_embedding_map, draw_map_curves, nearest_confusion
from callbacks.reports.heard_clips import HeardClip, HeardQuery, lay_out_heard
from callbacks.reports.query_scores import write_query_scores
from callbacks.reports.report import Findings, Report
from callbacks.reports.spread import spread_over_classes
from lightning_modules.base import CodedRetrievalModule, RetrievalModule
from retrieval.codes import ProductQuantizer
from retrieval.metrics import RetrievalScores
from retrieval.outputs import RetrievalOutputs
from storage.atomic import write_json

_FLOAT_BITS = 32  # of an embedding that is searched as it is


class RetrievalReport(Report):
    """After a test, compare the model with search by its input features, unlearned.

    The baselines are exact cosine search and, beside a product quantizer, PQ of the features, plain and of unit length,
    with as many bits and codewords. Writes `results.csv`, `results.json`, the average precision of each query
    (`queries.csv`) and figures into `<run folder>/report`; with a W&B logger, logs the same table and figures, a table
    of queries with their nearest items to listen to, and the confusion of nearest neighbours.

    Args:
        num_heard_queries: Queries in the table to listen to, spread over the classes.
        num_heard_items: Nearest items of each.
        figures: Whether to draw figures; a map of the embeddings takes some seconds.
        product_quantization: Whether PQ is among the baselines.
    """

    model_class = RetrievalModule

    def __init__(
        self,
        num_heard_queries: int = 8,
        num_heard_items: int = 5,
        figures: bool = True,
        product_quantization: bool = True,
    ) -> None:
        self.num_heard_queries = num_heard_queries
        self.num_heard_items = num_heard_items
        self.figures = figures
        self.product_quantization = product_quantization
        self._scores: dict[str, RetrievalScores] = {}

    def find(self, trainer: pl.Trainer, pl_module: pl.LightningModule, folder: Path) -> Findings:
        """Score the baselines, lay the results out and draw them."""
        model = cast(RetrievalModule, pl_module)
        corpus = cast(Corpus, trainer.datamodule)  # type: ignore[attr-defined]
        outputs = _outputs_of(model)
        coder = model.coder if isinstance(model, CodedRetrievalModule) else None
        embedding_dim = outputs.items.embedding.shape[1]
        size = f"{embedding_dim} floats" if coder is None else f"{coder.num_bits} bits"
        scores = {f"{model.method_name}, {size}": outputs.scores}
        if self.product_quantization and isinstance(coder, ProductQuantizer):
            scores |= score_product_quantization(outputs, coder, model.scoring)
        scores |= score_exact(outputs, model.scoring)
        rows = result_rows(scores, corpus.data_name, coder.num_bits if coder else _FLOAT_BITS * embedding_dim)
        write_json(folder / "results.json", rows)
        queries = [corpus.items[int(index)].name for index in outputs.queries.item_index]
        write_query_scores(folder, queries, {"mAP": outputs.scores.average_precision})
        figures = _draw(outputs, scores, corpus) if self.figures else {}
        self._scores = scores
        return Findings(corpus.data_name, [results_table(scores, corpus.data_name)], {"results": rows}, figures)

    def media(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, object]:
        """Return curve and confusion as tables, and queries with their nearest items to listen to."""
        corpus = cast(Corpus, trainer.datamodule)  # type: ignore[attr-defined]
        outputs = _outputs_of(cast(RetrievalModule, pl_module))
        curve = wandb.Table(columns=["method", "R", "mAP"])
        for method, method_scores in self._scores.items():
            for cutoff, value in (method_scores.map_at | {method_scores.num_items: method_scores.mean_ap}).items():
                curve.add_data(method, cutoff, value)
        confusion = wandb.Table(columns=["query", *corpus.class_names])
        for name, row in zip(corpus.class_names, nearest_confusion(outputs, len(corpus.class_names)), strict=True):
            confusion.add_data(name, *row.tolist())
        tables = {"report/map_at_r_table": curve, "report/nearest_neighbour_confusion_table": confusion}
        return tables | lay_out_heard(self._heard(outputs, corpus))

    def _heard(self, outputs: RetrievalOutputs, corpus: Corpus) -> list[HeardQuery]:
        class_of = dict(zip(outputs.items.item_index.tolist(), outputs.items.label.tolist(), strict=True))
        heard = []
        for row in spread_over_classes(outputs.queries.label, self.num_heard_queries):
            item = corpus.items[int(outputs.queries.item_index[row])]
            name = corpus.class_names[int(outputs.queries.label[row])]
            precision = float(outputs.scores.average_precision[row])
            query = HeardClip(item.path, f"query: {name}", {"query": item.name, "class": name, "AP": precision})
            found = []
            for rank, index in enumerate(outputs.scores.nearest_ids[row, : self.num_heard_items].tolist(), start=1):
                found_name = corpus.class_names[class_of[index]]
                found.append(HeardClip(corpus.items[index].path, f"{rank}: {found_name}", {"class": found_name}))
            heard.append(HeardQuery(query, found))
        return heard


def results_table(scores: Mapping[str, RetrievalScores], data_name: str) -> Table:
    """Lay the scores out for a terminal, in %."""
    first = next(iter(scores.values()))
    table = Table(title=f"{data_name}: retrieval in %, 95 % interval over queries")
    table.add_column("method")
    for name in ("mAP", "interval", *(f"P@{k}" for k in first.precision_at)):
        table.add_column(name, justify="right")
    for method, row in scores.items():
        interval = f"{100 * row.map_interval.low:.1f}-{100 * row.map_interval.high:.1f}"
        values = [row.mean_ap, *row.precision_at.values()]
        percents = [f"{100 * value:.1f}" for value in values]
        table.add_row(method, percents[0], interval, *percents[1:])
    return table


def result_rows(scores: Mapping[str, RetrievalScores], data_name: str, num_bits: int) -> list[dict[str, object]]:
    """Return the scores as rows of a table, a row a method."""
    return [{"data": data_name, "num_bits": num_bits, "method": name, **row.summary()} for name, row in scores.items()]


def _outputs_of(model: RetrievalModule) -> RetrievalOutputs:
    if model.retrieval_outputs is None:
        raise RuntimeError("The model left no retrieval_outputs; its on_test_epoch_end has to.")
    return model.retrieval_outputs


def _draw(outputs: RetrievalOutputs, scores: Mapping[str, RetrievalScores], corpus: Corpus) -> dict[str, Figure]:
    return {
        "map_at_r": draw_map_curves(scores, corpus.data_name),
        "embeddings": draw_embedding_map(outputs, corpus.class_names),
        "nearest_neighbour_confusion": draw_confusion(outputs, corpus.class_names),
    }
