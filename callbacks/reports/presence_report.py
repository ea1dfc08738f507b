"""Report a test of a model that compares pairs: beside its baselines on the terminal, as files, and in W&B."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import pytorch_lightning as pl
import torch
import wandb
from matplotlib.figure import Figure
from pytorch_lightning.loggers import WandbLogger
from rich.console import Console

from callbacks.protocols import Corpus, HasQueriesAndItems, PairwiseModel
from callbacks.reports.clip_spectrogram import clip_spectrogram
from callbacks.reports.evaluation_mode import evaluating
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
from callbacks.reports.sample_pairs import SamplePair, compare_sample, name_labels
from callbacks.reports.spread import spread_over_labels
from retrieval.metrics import LevelScoring
from retrieval.outputs import PresenceOutputs
from storage.atomic_file import write_csv, write_file, write_text

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


class PresenceReport(pl.Callback):
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

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check the model.

        Raises:
            TypeError: If it doesn't compare pairs.
        """
        if not isinstance(pl_module, PairwiseModel):
            raise TypeError(
                "PresenceReport needs a model with presence_outputs, scoring, method_name and compare_clips, such as "
                f"lightning_modules.Siamese; got {type(pl_module).__name__}. Take PresenceReport out of "
                "trainer.callbacks."
            )

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score, draw and write, on one process."""
        if not trainer.is_global_zero:
            return
        model = cast(PairwiseModel, pl_module)
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        corpus = cast(Corpus, datamodule)
        outputs = model.presence_outputs
        if outputs is None:
            raise RuntimeError("The model left no presence_outputs; its on_test_epoch_end has to.")
        results = _measure(model, outputs, corpus)
        folder = Path(trainer.default_root_dir) / "report"
        _write_results(folder, results)
        queries = [corpus.items[int(index)].name for index in outputs.queries.item_index]
        by_metric = {f"mAP_{s}@{k}": values for (s, k), values in outputs.scores.average_precision.items()}
        write_query_scores(folder, queries, by_metric)
        with evaluating(pl_module):
            pairs = compare_sample(model, outputs, cast(HasQueriesAndItems, datamodule), self.num_pairs)
        pictures = []
        for name, figure in self._draw(outputs, results, pairs, corpus.class_names).items():
            pictures.append(folder / f"{name}.png")
            write_file(pictures[-1], partial(figure.savefig, format="png", dpi=120))
        loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        for logger in loggers:
            heard = lay_out_heard(self._heard(outputs, corpus))
            _log_to_wandb(logger, results, pictures, heard, outputs.pairs_per_second, corpus.data_name)
        _print(results, folder, outputs.queries.label.shape[1], loggers)
        _tell_speed_and_swap(outputs, model.scoring)

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


def _measure(model: PairwiseModel, outputs: PresenceOutputs, corpus: Corpus) -> _Results:
    scores = {model.method_name: outputs.scores} | baseline_scores(outputs, model.scoring)
    stages: list[FirstStageScores] = []
    if not bool(outputs.level.isnan().any()):
        stages = first_stage_scores(outputs, replace(model.scoring, cutoffs=_STAGE_CUTOFFS), _STAGE_SHARES)
    return _Results(level_rows(scores, corpus.data_name), accuracy_rows(outputs, corpus.class_names), stages)


def _write_results(folder: Path, results: _Results) -> None:
    rows = to_dicts(results.levels)
    write_text(folder / "results.json", json.dumps(rows, indent=1))
    write_csv(folder / "results.csv", rows)
    write_csv(folder / "presence_accuracy.csv", to_dicts(results.accuracies))
    if results.stages:
        write_csv(folder / "first_stage.csv", first_stage_rows(results.stages))


def _print(results: _Results, folder: Path, num_categories: int, loggers: Sequence[WandbLogger]) -> None:
    console = Console()
    for threshold in dict.fromkeys(row.s for row in results.levels):
        console.print(level_table(results.levels, threshold, num_categories))
    console.print(accuracy_table(results.accuracies))
    if results.stages:
        console.print(first_stage_table(results.stages))
    console.print(f"Tables and figures: {folder}", soft_wrap=True)
    for logger in loggers:
        run = logger.experiment
        console.print(f"W&B run: {Path(run.dir).parent if run.offline else run.url}", soft_wrap=True)


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


def _log_to_wandb(
    logger: WandbLogger,
    results: _Results,
    pictures: Sequence[Path],
    heard: Mapping[str, object],
    pairs_per_second: float,
    data_name: str,
) -> None:
    run = logger.experiment
    run.config.update({"data_name": data_name}, allow_val_change=True)
    tables: dict[str, Sequence[Mapping[str, object]]] = {
        "results": to_dicts(results.levels),
        "presence_accuracy": to_dicts(results.accuracies),
    }
    if results.stages:
        tables["first_stage"] = first_stage_rows(results.stages)
    logged: dict[str, object] = {
        f"report/{name}": wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])
        for name, rows in tables.items()
    }
    logged |= {f"report/{path.stem}": wandb.Image(str(path)) for path in pictures}
    run.log({**logged, **heard, "report/pairs_per_second": pairs_per_second})
