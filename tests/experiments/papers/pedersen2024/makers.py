"""Made-up corpora, representations that are the same for all folds, and scores to fill tables with."""

from dataclasses import replace

import numpy as np
import torch

from experiments.compare.study_table import StudyTable
from experiments.papers.pedersen2024.clip_search import METRICS, PROTOCOLS, PairTest, SearchKey
from experiments.papers.pedersen2024.linear_probe import CLASSIFIERS
from experiments.papers.pedersen2024.representations import Corpus, Representation
from experiments.papers.pedersen2024.tables import LinearResult
from retrieval.metrics import ContingencyTable, NeighbourScores, mcnemar_of_table

NAMES = ["dog", "cow", "rain", "siren"]


def make_corpus(labels: np.ndarray, folds: np.ndarray, name: str = "made up") -> Corpus:
    """Make a corpus of four subclasses, two to a superclass."""
    sets = {"subclasses": labels, "superclasses": labels // 2}
    return Corpus(name, folds, sets, {"subclasses": NAMES, "superclasses": ["animals", "exterior"]})


def without_superclasses(corpus: Corpus) -> Corpus:
    """Return the corpus with one level of classes."""
    return replace(
        corpus, label_sets={"subclasses": corpus.label_sets["subclasses"]}, class_names={"subclasses": NAMES}
    )


def represent(
    name: str, label: str, vectors: np.ndarray, published: str | None = None, linear: str | None = None
) -> Representation:
    """Make a representation of three folds."""
    return Representation(name, label, dict.fromkeys((1, 2, 3), vectors), published, linear)


FOLDS = np.array([1, 2] * 6)
LABELS = np.repeat(np.arange(4), 3)
CORPUS = make_corpus(LABELS, FOLDS, "a copy_of ESC-50, 10 % of it")
NO_SUPERCLASSES = without_superclasses(CORPUS)


def represented(
    name: str, label: str, published: str | None = None, dim: int = 3, linear: str | None = None
) -> Representation:
    return represent(name, label, np.zeros((12, dim)), published, linear)


DELTA = represented("yamnet_delta", "YAMNet, delta", "yamnet_delta", 1024, "yamnet_delta")
VAE = represented("vae_small", "VAE, mean", linear="vae_128")
VAE_64 = represented("vae_64", "VAE of 64", "vae_64", 64)
VAE_128 = represented("vae_128", "VAE of 128", "vae_128", 128, "vae_128")


def scored(accuracy: float, cutoffs: tuple[int, ...] = (2, 3, 4, 5)) -> NeighbourScores:
    """Return scores that differ from each other, so that none can stand for another."""
    return NeighbourScores(
        accuracy=accuracy,
        macro_precision=accuracy + 0.01,
        macro_recall=accuracy + 0.02,
        macro_f1=accuracy + 0.03,
        accuracy_at={cutoff: accuracy + 0.1 + cutoff / 1000 for cutoff in cutoffs},
        map_over_hits_at={cutoff: accuracy + 0.2 + cutoff / 1000 for cutoff in cutoffs},
        precision_at={cutoff: accuracy + 0.3 + cutoff / 1000 for cutoff in cutoffs},
        map_at={cutoff: accuracy + 0.4 + cutoff / 1000 for cutoff in cutoffs},
        is_correct=torch.zeros(12, dtype=torch.bool),
        predicted_labels=torch.zeros(12, dtype=torch.int64),
        classes=torch.arange(4),
        confusion=torch.eye(4, dtype=torch.int64),
    )


def all_scored(representations: list[Representation], corpus: Corpus) -> dict[SearchKey, NeighbourScores]:
    """Score each search with an accuracy of its own: 0.101, 0.102 and so on."""
    keys = [
        SearchKey(each.name, metric, protocol, label_set)
        for each in representations
        for metric in METRICS
        for protocol in PROTOCOLS
        for label_set in corpus.label_sets
    ]
    return {key: scored(0.1 + position / 1000) for position, key in enumerate(keys, start=1)}


def by_header(table: StudyTable) -> list[dict[str, str]]:
    return [dict(zip(table.headers, line, strict=True)) for line in table.lines]


def pair(
    first: str, second: str, metric: str = "cosine", counts: tuple[int, int, int, int] = (5, 20, 3, 7)
) -> PairTest:
    key = SearchKey(first, "cosine" if metric == "cosine" else "euclidean", "leave_one_out", "subclasses")
    return PairTest(first, second, key, mcnemar_of_table(ContingencyTable(*counts), "corrected"), 0.04)


def linear_results(representations: list[Representation], corpus: Corpus) -> list[LinearResult]:
    return [
        LinearResult(each.name, label_set, classifier, {fold: 0.4 + fold / 10 + position / 10 for fold in (1, 2)})
        for each in representations
        for label_set in corpus.label_sets
        for position, classifier in enumerate(CLASSIFIERS)
    ]
