"""mAP_s@K: mean average precision where an item is a hit if it agrees with the query in at least s categories.

Fan et al. (2020), section 5.4, eqs. (2)-(4). Average precision is divided by the hits among the first K, eq. (3), and a
query without any counts 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retrieval.metrics.average_precision import Ties, average_precision
from retrieval.metrics.bootstrap import ConfidenceInterval, bootstrap_mean

# Queries by the number of their labels; one without any is in the first alone.
QUERY_SUBSETS = ("all", "single", "multi")


@dataclass(frozen=True)
class LevelScoring:
    """What is scored, and by which definition.

    Attributes:
        misses: Categories that may differ in a hit; 0 and 1 of eight categories are the paper's s = 8 and 7.
        cutoffs: Values of K; one beyond the list is the whole list.
        ties: Order of items at equal distance.
    """

    misses: list[int] = field(default_factory=lambda: [0, 1])
    cutoffs: list[int] = field(default_factory=lambda: [1, 5, 10, 30, 50, 100])
    ties: Ties = "expected"


@dataclass(frozen=True)
class LevelScores:
    """Scores of the rankings of some queries.

    Attributes:
        average_precision: AP_s@K of each query by s and K, eq. (3).
        label_count: Labels of each query.
        num_items: Items ranked.
    """

    average_precision: Mapping[tuple[int, int], Float[Tensor, " query"]]
    label_count: Int[Tensor, " query"]
    num_items: int

    def in_subset(self, subset: str) -> Bool[Tensor, " query"]:
        """Tell which queries are in one of `QUERY_SUBSETS`.

        Raises:
            ValueError: If there is no such subset.
        """
        if subset not in QUERY_SUBSETS:
            raise ValueError(f"subset must be one of {', '.join(QUERY_SUBSETS)}; got {subset!r}.")
        if subset == "all":
            return torch.ones_like(self.label_count, dtype=torch.bool)
        return self.label_count == 1 if subset == "single" else self.label_count > 1

    def mean_ap(self, subset: str = "all") -> dict[tuple[int, int], float]:
        """Return mAP_s@K by s and K, eq. (4), over the queries of a subset; NaN where it has none."""
        chosen = self.in_subset(subset)
        return {key: float(values[chosen].mean()) for key, values in self.average_precision.items()}

    def interval(self, threshold: int, cutoff: int, subset: str = "all") -> ConfidenceInterval:
        """Bound mAP_s@K by the bootstrap over the queries of a subset.

        Raises:
            ValueError: If the subset has no query.
        """
        return bootstrap_mean(self.average_precision[threshold, cutoff][self.in_subset(subset)])


def score_levels(
    distances: Float[Tensor, "query item"],
    levels: Int[Tensor, "query item"],
    query_labels: Int[Tensor, "query category"],
    options: LevelScoring | None = None,
) -> LevelScores:
    """Rank items by distance and score each query's list.

    Args:
        distances: Smaller is closer; in no order.
        levels: r of eq. (2): categories in which query and item agree, see `label_levels`.
        query_labels: 0 or 1, for the number of labels of each query and the number of categories.
        options: Definitions; the default is the paper's.

    Raises:
        ValueError: If there is no query or no item, a threshold asks for no category, or distances are NaN.
    """
    options = options or LevelScoring()
    num_categories = query_labels.shape[1]
    if levels.numel() == 0:
        raise ValueError(f"Expected at least one query and one item; got {levels.shape[0]} and {levels.shape[1]}.")
    if not all(0 <= misses < num_categories for misses in options.misses):
        raise ValueError(
            f"misses must be at least 0 and below the {num_categories} categories, or every item is a hit; got "
            f"{options.misses}."
        )
    ordered, order = distances.double().sort(dim=1, stable=True)
    ranked = levels.gather(1, order)
    scores: dict[tuple[int, int], Tensor] = {}
    for misses in options.misses:
        threshold = num_categories - misses
        by_cutoff, _ = average_precision(
            ordered, ranked >= threshold, options.cutoffs, denominator="hits_at_r", ties=options.ties
        )
        scores |= {(threshold, cutoff): by_cutoff[:, place] for place, cutoff in enumerate(options.cutoffs)}
    return LevelScores(scores, query_labels.sum(dim=1), levels.shape[1])
