"""Search of every clip among the others under several representations, and who is right where another is wrong."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from experiments.papers.pedersen2024.representations import Corpus, Representation
from retrieval.metrics import (
    McNemarTest,
    NeighbourMetric,
    NeighbourProtocol,
    NeighbourScores,
    excluded_pairs,
    holm_adjust,
    mcnemar,
    nearest_neighbours,
    neighbour_scores,
)

METRICS: tuple[NeighbourMetric, ...] = get_args(NeighbourMetric)
PROTOCOLS: tuple[NeighbourProtocol, ...] = get_args(NeighbourProtocol)
_NUM_NEIGHBOURS = 5


@dataclass(frozen=True)
class SearchKey:
    """How a search was done and scored.

    Attributes:
        representation: Name of the representation.
        metric: Distance.
        protocol: Who may answer.
        label_set: What counts as right, `subclasses` or `superclasses`.
    """

    representation: str
    metric: NeighbourMetric
    protocol: NeighbourProtocol
    label_set: str


@dataclass(frozen=True)
class PairTest:
    """McNemar's test of two representations, asked with the same clips.

    Attributes:
        first: Name of the one whose successes are `a` of the table.
        second: Name of the other.
        key: How was searched; its representation is the first.
        test: Continuity-corrected, as in the thesis, eq. (2.11).
        adjusted_p: p after Holm's correction over all pairs of the same search.
    """

    first: str
    second: str
    key: SearchKey
    test: McNemarTest
    adjusted_p: float


def search_clips(
    representations: Sequence[Representation], corpus: Corpus, test_folds: Sequence[int]
) -> dict[SearchKey, NeighbourScores]:
    """Ask with every clip of the test folds, by both distances and under both protocols.

    Queries of a fold are searched in the representation that has not seen the fold; the answers of all folds are scored
    together, in the order of folds.

    Args:
        representations: What to search in.
        corpus: Whose clips.
        test_folds: Folds whose clips ask.

    Returns:
        Scores of all label sets; lists are of five items, or of as many as every query has left.
    """
    folds = torch.from_numpy(corpus.folds)
    rows = {fold: torch.nonzero(folds == fold)[:, 0] for fold in test_folds}
    queries = torch.cat(list(rows.values()))
    found: dict[SearchKey, NeighbourScores] = {}
    console = Console(stderr=True)
    masks = {protocol: excluded_pairs(protocol, folds) for protocol in PROTOCOLS}
    depths = {
        protocol: min(_NUM_NEIGHBOURS, int((~mask[queries]).sum(dim=1).min())) for protocol, mask in masks.items()
    }
    for representation in track(representations, "searching", console=console, transient=True):
        for metric, protocol in itertools.product(METRICS, PROTOCOLS):
            excluded, depth = masks[protocol], depths[protocol]
            item_ids = []
            for fold, own in rows.items():
                items = torch.from_numpy(np.asarray(representation.by_fold[fold], dtype=np.float64))
                item_ids.append(nearest_neighbours(items[own], items, metric, excluded[own], depth).item_ids)
            for label_set, labels in corpus.label_sets.items():
                all_labels = torch.from_numpy(labels)
                found[SearchKey(representation.name, metric, protocol, label_set)] = neighbour_scores(
                    torch.cat(item_ids), all_labels[queries], all_labels, excluded[queries], range(2, depth + 1)
                )
    return found


def compare_all(scores: Mapping[SearchKey, NeighbourScores]) -> list[PairTest]:
    """Test every two representations on each kind of search."""
    tests: list[PairTest] = []
    kinds = dict.fromkeys((key.metric, key.protocol, key.label_set) for key in scores)
    for metric, protocol, label_set in kinds:
        own = {
            key.representation: (key, each.is_correct)
            for key, each in scores.items()
            if (key.metric, key.protocol, key.label_set) == (metric, protocol, label_set)
        }
        pairs = list(itertools.combinations(own, 2))
        results = [mcnemar(own[first][1], own[second][1], "corrected") for first, second in pairs]
        p_values = torch.tensor([result.p_value for result in results], dtype=torch.float64)
        adjusted = holm_adjust(p_values).tolist() if results else []
        tests += [
            PairTest(first, second, own[first][0], result, p_value)
            for (first, second), result, p_value in zip(pairs, results, adjusted, strict=True)
        ]
    return tests
