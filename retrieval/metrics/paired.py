"""Is one method better than another on the same queries? Size of the difference and its significance.

After Smucker, Allan and Carterette, A comparison of statistical significance tests for information retrieval
evaluation, 2007: the paired permutation test, and the paired bootstrap test with the distribution of means shifted to
zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
import torch
from jaxtyping import Float
from torch import Tensor

from retrieval.metrics.bootstrap import check_confidence
from retrieval.metrics.permutation import TIE_TOLERANCE, check_num_resamples, sign_flip_p_value

# A batch of resamples holds about this many values.
_BATCH_VALUES = 1_000_000


@dataclass(frozen=True)
class PairedComparison:
    """Scores of two methods compared over queries.

    Attributes:
        difference: Mean over queries of method a minus method b.
        low: Lower end of its interval by the percentile bootstrap over queries.
        high: Upper end.
        confidence: Share of resampled differences inside.
        p_value: Of the permutation test, two-sided: see `sign_flip_p_value`. The one to report.
        bootstrap_p_value: Share of resamples whose mean is at least as far from the observed mean as that is from zero;
            the observed one counts among them. Too small for a handful of queries.
        num_queries: Queries compared.
        num_resamples: Drawn for the interval and for each p-value that is not enumerated.
    """

    difference: float
    low: float
    high: float
    confidence: float
    p_value: float
    bootstrap_p_value: float
    num_queries: int
    num_resamples: int


def compare_paired(
    scores_a: Float[Tensor, " query"],
    scores_b: Float[Tensor, " query"],
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> PairedComparison:
    """Compare two methods by one score a query, such as average precision.

    It speaks of the choice of queries alone: the two trained models and the database are taken as given. If all scores
    are equal, the interval has no width and both p-values are 1. Swapping the methods turns the difference and its
    interval around and keeps the p-values. No p-value but an enumerated one is below 1 / (1 + num_resamples); draw more
    where many methods are to be corrected for.

    Args:
        scores_a: Score of each query with method a; larger is better.
        scores_b: The same with method b, the same queries in the same order.
        confidence: Share of resampled differences the interval holds.
        num_resamples: Resamples drawn.
        seed: Seed of the resampling.

    Raises:
        ValueError: If there are fewer than two queries, a score is not finite, the methods differ in the number of
            queries, or `confidence` or `num_resamples` is out of range.
    """
    check_confidence(confidence)
    check_num_resamples(num_resamples)
    if len(scores_a) != len(scores_b):
        raise ValueError(
            f"Expected the same queries for both methods; got {len(scores_a)} and {len(scores_b)}. "
            "Score both on one query set in one order."
        )
    if len(scores_a) < 2:
        raise ValueError(f"A comparison needs at least two queries; got {len(scores_a)}. Look at the query split.")
    differences = scores_a.double() - scores_b.double()
    num_bad = int((~differences.isfinite()).sum())
    if num_bad > 0:
        raise ValueError(
            f"Expected finite scores; got NaN or infinity for {num_bad} of {len(differences)} queries. "
            "Score such queries as 0, or leave them out for both methods."
        )
    means = _resample_means(differences.cpu().numpy(), num_resamples, seed)
    difference = float(differences.mean())
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    tolerance = TIE_TOLERANCE * float(differences.abs().mean())
    num_extreme = int((np.abs(means - difference) >= abs(difference) - tolerance).sum())
    return PairedComparison(
        difference=difference,
        low=float(low),
        high=float(high),
        confidence=confidence,
        p_value=sign_flip_p_value(differences, num_resamples, seed),
        bootstrap_p_value=(1 + num_extreme) / (1 + num_resamples),
        num_queries=len(differences),
        num_resamples=num_resamples,
    )


def compare_paired_folds(
    folds_a: Sequence[Float[Tensor, "_seed _query"]],
    folds_b: Sequence[Float[Tensor, "_seed _query"]],
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> PairedComparison:
    """Compare two methods that were run on several folds with several seeds.

    Runs of one query with several seeds are not independent, so their scores are averaged first; queries of different
    folds are different queries and are pooled, each with the same weight. Then as `compare_paired`.

    Args:
        folds_a: For each fold, the score of each of its queries with each seed, method a. Folds may differ in size.
        folds_b: The same with method b: the same folds and queries in the same order; seeds may differ in number.
        confidence: Share of resampled differences the interval holds.
        num_resamples: Resamples drawn.
        seed: Seed of the resampling.

    Raises:
        ValueError: If the methods differ in folds or in the queries of one, a fold has no seed, or as `compare_paired`.
    """
    shapes_a, shapes_b = ([tuple(fold.shape) for fold in folds] for folds in (folds_a, folds_b))
    if not shapes_a or [shape[1] for shape in shapes_a] != [shape[1] for shape in shapes_b]:
        raise ValueError(
            f"Expected the same folds and queries for both methods, at least one; got [seed, query] {shapes_a} and "
            f"{shapes_b}. Score both on one split."
        )
    if min(shape[0] for shape in shapes_a + shapes_b) == 0:
        raise ValueError(f"Expected at least one seed a fold; got [seed, query] {shapes_a} and {shapes_b}. Run it.")
    pooled_a, pooled_b = (torch.cat([fold.double().mean(dim=0) for fold in folds]) for folds in (folds_a, folds_b))
    return compare_paired(pooled_a, pooled_b, confidence, num_resamples, seed)


def _resample_means(values: np.ndarray, num_resamples: int, seed: int) -> np.ndarray:
    if bool((values == values[0]).all()):  # nothing to resample; scipy warns of a degenerate distribution
        return np.full(num_resamples, values[0])
    result = scipy.stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=num_resamples,
        method="percentile",
        batch=max(1, _BATCH_VALUES // len(values)),
        rng=np.random.default_rng(seed),
    )
    return np.asarray(result.bootstrap_distribution)
