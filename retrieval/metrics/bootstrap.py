"""Confidence intervals of a mean over queries, by resampling the queries."""

from dataclasses import dataclass

import numpy as np
import scipy.stats
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class ConfidenceInterval:
    """A mean and the interval that resampling gives it.

    Attributes:
        mean: Mean of the values.
        low: Lower end.
        high: Upper end.
        confidence: Share of resamples inside, such as 0.95.
    """

    mean: float
    low: float
    high: float
    confidence: float


def bootstrap_mean(
    values: Float[Tensor, " query"], confidence: float = 0.95, num_resamples: int = 1000, seed: int = 0
) -> ConfidenceInterval:
    """Bound the mean over queries by the percentile bootstrap.

    The interval speaks of the choice of queries alone, not of seeds or folds.

    Args:
        values: One score a query.
        confidence: Share of resampled means the interval holds.
        num_resamples: Resamples drawn.
        seed: Seed of the resampling.

    Raises:
        ValueError: If there is no value, or `confidence` is not in (0, 1).
    """
    check_confidence(confidence)
    if len(values) == 0:
        raise ValueError("A mean needs at least one query; got none. Look at the query split.")
    array = values.double().cpu().numpy()
    mean = float(array.mean())
    if bool((array == array[0]).all()):  # nothing to resample; scipy warns of a degenerate distribution
        return ConfidenceInterval(mean, mean, mean, confidence)
    result = scipy.stats.bootstrap(
        (array,),
        np.mean,
        confidence_level=confidence,
        n_resamples=num_resamples,
        method="percentile",
        batch=max(1, 2_000_000 // len(array)),
        rng=np.random.default_rng(seed),
    )
    interval = result.confidence_interval
    return ConfidenceInterval(mean, float(interval.low), float(interval.high), confidence)


def check_confidence(confidence: float) -> None:
    """Refuse a confidence that is no share.

    Raises:
        ValueError: If it is not in (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1; got {confidence}. Try 0.95.")
