"""The thesis's whole comparison, `reproduce.py llar`: train, embed, search, classify, test, and report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from experiments.compare.study_report import LoggedRun, Report, write_report
from experiments.grids.cell import GridRunner
from experiments.grids.cell_run import read_curves, read_window_embeddings
from experiments.grids.grid import run_grid
from experiments.papers.pedersen2024.clip_search import PairTest, SearchKey, compare_all, search_clips
from experiments.papers.pedersen2024.figures import (
    draw_accuracy,
    draw_confusions,
    draw_missing_classes,
    draw_sweep,
    draw_training,
)
from experiments.papers.pedersen2024.linear_probe import (
    CLASSIFIERS,
    ThresholdAccuracy,
    linear_accuracy,
    threshold_sweep,
)
from experiments.papers.pedersen2024.published import read_published
from experiments.papers.pedersen2024.representations import (
    Corpus,
    Representation,
    given_representations,
    learned_representations,
    read_corpus,
)
from experiments.papers.pedersen2024.runs import GIVEN, VAE_OF, ClipStudy
from experiments.papers.pedersen2024.tables import (
    THESIS_RIVAL,
    LinearResult,
    class_accuracies,
    class_table,
    full_table,
    linear_table,
    mcnemar_table,
    overview_table,
    pairs_table,
    sweep_table,
)
from retrieval.metrics import NeighbourScores

# by model, test fold and quantity, its value by epoch
Curves = dict[str, dict[int, dict[str, dict[int, float]]]]


@dataclass(frozen=True)
class StudyResult:
    """What a study found.

    Attributes:
        corpus: Whose clips.
        representations: In the order of tables.
        scores: Of every search.
        tests: McNemar's test of every two representations.
        linear: Linear classification.
        sweep: Linear classification by threshold on the features' variance; none without YAMNet.
        curves: Of training, by model, test fold and quantity.
        failures: Runs that failed, each with its command; their models are left out.
    """

    corpus: Corpus
    representations: list[Representation]
    scores: dict[SearchKey, NeighbourScores]
    tests: list[PairTest]
    linear: list[LinearResult]
    sweep: list[ThresholdAccuracy]
    curves: Curves
    failures: list[str]


def run_study(study: ClipStudy, folder: Path, run_cells: GridRunner = run_grid) -> StudyResult:
    """Run a study; what was trained before is read back, and a model that could not be trained is left out.

    Args:
        study: What to compare.
        folder: Where runs are kept.
        run_cells: Runs them; the default on this machine, one a GPU or one a core at a time.

    Raises:
        ValueError: If the corpus has no folds, or not those asked for.
        DatasetError: If the corpus is missing or damaged.
        WeightsError: If a pretrained network is missing.
    """
    cells = study.cells()
    corpus = read_corpus(study.data_config, study.arguments)
    unknown = sorted(set(study.folds) - set(corpus.folds.tolist()))
    if unknown:
        raise ValueError(f"Expected folds of {sorted(set(corpus.folds.tolist()))}; got {unknown}. Correct --folds.")
    # first, so that missing weights are found out before anything is trained
    made = {
        method: given_representations(method, corpus, study.folds, study.data_config, study.arguments)
        for method in study.methods
        if method in GIVEN
    }
    finished = run_cells(list(cells.values()), folder)
    runs = {name: folder / "runs" / cell.key for name, cell in cells.items() if cell in finished.results}
    for method in study.methods:
        if method in VAE_OF and all((method, fold) in runs for fold in study.folds):
            windows = {fold: read_window_embeddings(runs[method, fold]) for fold in study.folds}
            made[method] = learned_representations(VAE_OF[method], windows, corpus)
    representations = [each for method in study.methods for each in made.get(method, [])]
    scores = search_clips(representations, corpus, study.folds)
    curves: Curves = {}
    for (method, fold), run in runs.items():
        curves.setdefault(VAE_OF[method].label, {})[fold] = read_curves(run)
    return StudyResult(
        corpus,
        representations,
        scores,
        compare_all(scores),
        _classify(representations, corpus, study),
        _sweep(representations, corpus, study),
        curves,
        finished.told_failures,
    )


def report_study(result: StudyResult, folder: Path) -> Report:
    """Write every table and figure, and a page with all of them."""
    corpus, representations = result.corpus, result.representations
    if not representations:
        return Report(folder, corpus.name, failures=result.failures)
    tables = [overview_table(result.scores, representations, corpus)]
    compared = _compared(representations)
    if compared is not None:
        tables.append(mcnemar_table(*compared, result.tests, corpus))
    if result.linear:
        tables.append(linear_table(result.linear, representations, corpus))
    if result.sweep:
        tables.append(sweep_table(result.sweep, corpus))
    further = [
        full_table(result.scores, representations, corpus),
        class_table(result.scores, representations, corpus),
        pairs_table(result.tests, representations, corpus),
    ]
    title = f"Learned and given representations of clips, {corpus.name}"
    pictures = write_report(folder, title, [*tables, *further], _figures(result), num_files_only=len(further))
    runs = _logged_runs(result.curves)
    return Report(folder, corpus.name, [*tables, *further], pictures, runs, result.failures)


def _logged_runs(curves: Curves) -> list[LoggedRun]:
    """Return a run a training, with its curves."""
    runs = []
    for model, by_fold in curves.items():
        for fold, own in by_fold.items():
            points = [
                {"epoch": epoch, **{name: curve[epoch] for name, curve in own.items() if epoch in curve}}
                for epoch in sorted({epoch for curve in own.values() for epoch in curve})
            ]
            config = {"method": model, "fold": str(fold)}
            runs.append(LoggedRun(f"{model}, fold {fold}", "train", config, "epoch", points))
    return runs


def _classify(representations: Sequence[Representation], corpus: Corpus, study: ClipStudy) -> list[LinearResult]:
    """Fit linear classifiers to what is learned, and to what the thesis fits them to."""
    chosen = [each for each in representations if each.published == THESIS_RIVAL or _is_learned(each)]
    return [
        LinearResult(
            each.name,
            label_set,
            classifier,
            linear_accuracy(each.by_fold.__getitem__, labels, corpus.folds, classifier, test_folds=study.folds),
        )
        for each in track(chosen, "classifying", console=Console(stderr=True), transient=True)
        for label_set, labels in corpus.label_sets.items()
        for classifier in CLASSIFIERS
    ]


def _sweep(representations: Sequence[Representation], corpus: Corpus, study: ClipStudy) -> list[ThresholdAccuracy]:
    for each in representations:
        if each.published == THESIS_RIVAL:  # the same for all folds
            features = np.asarray(next(iter(each.by_fold.values())))
            return threshold_sweep(features, corpus.label_sets, corpus.folds, study.thresholds)
    return []


def _figures(result: StudyResult) -> dict[str, Figure]:
    corpus, scores = result.corpus, result.scores
    figures = {"accuracy": draw_accuracy(scores, result.representations, corpus)}
    if any(result.curves.values()):
        figures["training"] = draw_training(result.curves, corpus)
    compared = _compared(result.representations)
    if compared is not None:
        figures["confusion"] = draw_confusions(scores, compared, corpus)
        thesis = read_published()
        shown = {*thesis.missing_in_audioset, *thesis.shown_beside}
        if shown <= set(corpus.class_names.get("subclasses", [])):
            accuracies = {
                each.label: class_accuracies(
                    scores[SearchKey(each.name, "cosine", "leave_one_out", "subclasses")],
                    corpus.class_names["subclasses"],
                )
                for each in compared
            }
            figures["missing_classes"] = draw_missing_classes(
                accuracies, thesis.missing_in_audioset, thesis.shown_beside, corpus
            )
    if result.sweep:
        figures["sweep"] = draw_sweep(result.sweep, corpus)
    return figures


def _compared(representations: Sequence[Representation]) -> tuple[Representation, Representation] | None:
    """Return the first learned representation and its rival: what the thesis has, or else the last given one."""
    given = [each for each in representations if not _is_learned(each)]
    learned = [each for each in representations if _is_learned(each)]
    if not given or not learned:
        return None
    rival = next((each for each in given if each.published == THESIS_RIVAL), given[-1])
    return learned[0], rival


def _is_learned(representation: Representation) -> bool:
    return representation.name.startswith("vae_")
