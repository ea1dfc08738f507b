"""Report a test of a model that compares pairs: beside its baselines on the terminal, as files, and in W&B."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from rich.table import Table

from callbacks.protocols import Corpus, HasRoles
from callbacks.reports.clip_spectrogram import clip_spectrogram
from callbacks.reports.heard_clips import HeardClip, HeardQuery, lay_out_heard
from callbacks.reports.presence_baselines import (
    FirstStageScores,
    baseline_scores,
    first_stage_scores,
    swapped_scores,
    true_levels,
)
from callbacks.reports.presence_figures import draw_attention, draw_level_curves, draw_levels, draw_presence_matrices
from callbacks.reports.presence_tables import (
    AccuracyRow,
    LevelRow,
    accuracy_rows,
    accuracy_table,
    choose_cutoff,
    first_stage_rows,
    first_stage_table,
    level_rows,
    level_table,
    to_dicts,
)
from callbacks.reports.query_scores import write_query_scores
from callbacks.reports.report import Findings, Report, Rows
from callbacks.reports.sample_pairs import SamplePair, compare_sample, name_labels
from callbacks.reports.spread import spread_over_labels
from lightning_modules.siamese import Siamese
from retrieval.metrics import LevelScoring
from retrieval.outputs import PresenceOutputs
from storage.atomic import write_json

_logger = logging.getLogger(__name__)

_STAGE_SHARES = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)
_STAGE_CUTOFFS = [10, 100]
_MAX_DRAWN_PAIRS = 20_000


@dataclass(frozen=True)
class _Results:
    """The numbers of a report.

    Attributes:
        levels: mAP_s@K of every method.
        accuracies: How often situations are told right.
        stages: What a first stage costs; none where the model itself had one.
    """

    levels: list[LevelRow]
    accuracies: list[AccuracyRow]
    stages: list[FirstStageScores]


class PresenceReport(Report):
    """After a test, compare a model that compares pairs with search by its features and with chance.

    Prints tables, writes into `<run folder>/report`, and logs the same to W&B where that is a logger, with a table of
    queries and what they retrieved to listen to:

        results.csv, .json       mAP_s@K with 95 % intervals over queries, a row for each method, subset, s and K
        queries.csv              AP_s@K of each query
        presence_accuracy.csv    how often the situation (both, neither, one) is told right, and how often it would be
                                 by the same answer for all pairs
        first_stage.csv          mAP_s@K where only items of nearest embedding are compared; not where the model
                                 itself ran with `num_candidates`
        map_curves.png           mAP_s@K against K, figure 3 of Fan et al. (2020)
        level.png                predicted against true level of similarity, of at most 20,000 pairs
        presence_matrices.png    true beside predicted matrices of sample pairs: queries of as many kinds as can be,
                                 each with the first item retrieved and one of the lowest level
        attention.png            spectrograms of the same pairs, and which frames weigh how much

    Args:
        num_pairs: Sample pairs, two a query.
        num_retrieved: Retrieved clips that are heard a query.
        num_queries_shown: Queries that are heard; may be 0.
        seed: Of the choice of pairs whose level is drawn.

    Raises:
        ValueError: If there is nothing to show.
    """

    model_class = Siamese

    def __init__(self, num_pairs: int = 6, num_retrieved: int = 5, num_queries_shown: int = 8, seed: int = 0) -> None:
        if min(num_pairs, num_retrieved) < 1 or num_queries_shown < 0:
            raise ValueError(
                "Expected num_pairs and num_retrieved of at least 1 and num_queries_shown of at least 0; got "
                f"{num_pairs}, {num_retrieved} and {num_queries_shown}. Leave them out for the defaults."
            )
        self.num_pairs = num_pairs
        self.num_retrieved = num_retrieved
        self.num_queries_shown = num_queries_shown
        self.seed = seed

    def find(self, trainer: pl.Trainer, pl_module: pl.LightningModule, folder: Path) -> Findings:
        """Score, lay out and draw."""
        model = cast(Siamese, pl_module)
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        corpus = cast(Corpus, datamodule)
        outputs = _outputs_of(model)
        results = _measure(model, outputs, corpus)
        rows = _to_rows(results)
        write_json(folder / "results.json", rows["results"])
        queries = [corpus.items[int(index)].name for index in outputs.queries.item_index]
        by_metric = {f"mAP_{s}@{k}": values for (s, k), values in outputs.scores.average_precision.items()}
        write_query_scores(folder, queries, by_metric)
        pairs = compare_sample(model, outputs, cast(HasRoles, datamodule), self.num_pairs)
        figures = self._draw(outputs, results, pairs, corpus.class_names)
        _tell_speed_and_swap(outputs, model.scoring)
        return Findings(corpus.data_name, _tables(results, outputs.queries.label.shape[1]), rows, figures)

    def media(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, object]:
        """Return the speed, and queries with what they retrieved to listen to."""
        outputs = _outputs_of(cast(Siamese, pl_module))
        corpus = cast(Corpus, trainer.datamodule)  # type: ignore[attr-defined]
        return {"report/pairs_per_second": outputs.pairs_per_second} | lay_out_heard(self._heard(outputs, corpus))

    def _draw(
        self, outputs: PresenceOutputs, results: _Results, pairs: Sequence[SamplePair], class_names: Sequence[str]
    ) -> dict[str, Figure]:
        compared = (~outputs.level.isnan()).flatten().nonzero()[:, 0].cpu()
        order = torch.randperm(len(compared), generator=torch.Generator().manual_seed(self.seed))
        drawn = compared[order[:_MAX_DRAWN_PAIRS]]
        predicted, true = (each.flatten().cpu()[drawn] for each in (outputs.level, true_levels(outputs)))
        figures = {
            "map_curves": draw_level_curves(results.levels),
            "level": draw_levels(predicted, true, len(class_names)),
            "presence_matrices": draw_presence_matrices(pairs, class_names),
        }
        paths = [(pair.query.item.path, pair.other.item.path) for pair in pairs]
        if not _are_there([path for both in paths for path in both], "attention.png"):
            return figures
        spectrograms = [(clip_spectrogram(first), clip_spectrogram(second)) for first, second in paths]
        return figures | {"attention": draw_attention(pairs, spectrograms, class_names)}

    def _heard(self, outputs: PresenceOutputs, corpus: Corpus) -> list[HeardQuery]:
        """Return queries of all kinds with the first items they retrieved."""
        levels = true_levels(outputs)
        heard = []
        for row in spread_over_labels(outputs.queries.label, self.num_queries_shown):
            item = corpus.items[int(outputs.queries.item_index[row])]
            labels = name_labels(outputs.queries.label[row], corpus.class_names)
            query = HeardClip(item.path, f"query: {labels}", {"query": item.name, "labels": labels})
            found = []
            nearest = outputs.distances[row].argsort(stable=True)[: self.num_retrieved].tolist()
            for rank, column in enumerate(nearest, start=1):
                names = name_labels(outputs.items.label[column], corpus.class_names)
                cells: dict[str, str | float] = {
                    "labels": names,
                    "true level": int(levels[row, column]),
                    "predicted level": float(outputs.level[row, column]),
                }
                path = corpus.items[int(outputs.items.item_index[column])].path
                found.append(HeardClip(path, f"{rank}: {names}", cells))
            heard.append(HeardQuery(query, found))
        paths = [clip.path for each in heard for clip in (each.query, *each.found)]
        return heard if _are_there(paths, "clips to listen to") else []


def _are_there(paths: Sequence[Path], what: str) -> bool:
    """Tell whether there is audio, which models of precomputed features do without; say so if there is none."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        _logger.warning("No %s: there is no file %s.", what, missing[0])
    return not missing


def _measure(model: Siamese, outputs: PresenceOutputs, corpus: Corpus) -> _Results:
    scores = {model.method_name: outputs.scores} | baseline_scores(outputs, model.scoring)
    stages: list[FirstStageScores] = []
    if not bool(outputs.level.isnan().any()):
        stages = first_stage_scores(outputs, replace(model.scoring, cutoffs=_STAGE_CUTOFFS), _STAGE_SHARES)
    return _Results(level_rows(scores, corpus.data_name), accuracy_rows(outputs, corpus.class_names), stages)


def _outputs_of(model: Siamese) -> PresenceOutputs:
    if model.presence_outputs is None:
        raise RuntimeError("The model left no presence_outputs; its on_test_epoch_end has to.")
    return model.presence_outputs


def _to_rows(results: _Results) -> dict[str, Rows]:
    rows: dict[str, Rows] = {
        "results": to_dicts(results.levels),
        "presence_accuracy": to_dicts(results.accuracies),
    }
    return rows | ({"first_stage": first_stage_rows(results.stages)} if results.stages else {})


def _tables(results: _Results, num_categories: int) -> list[Table]:
    thresholds = dict.fromkeys(row.s for row in results.levels)
    tables = [level_table(results.levels, threshold, num_categories) for threshold in thresholds]
    tables.append(accuracy_table(results.accuracies))
    return [*tables, first_stage_table(results.stages)] if results.stages else tables


def _tell_speed_and_swap(outputs: PresenceOutputs, scoring: LevelScoring) -> None:
    _logger.info("Compared %.0f pairs/s.", outputs.pairs_per_second)
    if outputs.swapped_level is None:  # the model did not compare in the other order
        return
    change = float((outputs.level - outputs.swapped_level).abs().nanmean())
    swapped, given = swapped_scores(outputs, scoring).mean_ap(), outputs.scores.mean_ap()
    cutoff = choose_cutoff(scoring.cutoffs)
    shown = ", ".join(
        f"mAP_{s}@{k} {100 * swapped[s, k]:.1f} % for {100 * given[s, k]:.1f} %" for s, k in given if k == cutoff
    )
    _logger.info("Swapping the clips of a pair changes its level by %.3g on average: %s.", change, shown)
