"""Mean of a score over training runs with several folds and seeds, and its interval by Student's t.

Runs that share a fold share their data, and runs that share a seed share their initial weights: fold times seed runs
are not so many independent ones, and an interval over all of them would be too narrow. Either folds or seeds are the
unit here; the other is averaged within it.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import scipy.stats
from jaxtyping import Float
from torch import Tensor

from retrieval.metrics.bootstrap import check_confidence

RunUnit = Literal["fold", "seed"]


@dataclass(frozen=True)
class RunMean:
    """A score averaged over runs.

    Attributes:
        mean: Mean over all runs; folds count alike, whatever their number of queries.
        low: Lower end of the t interval of the mean.
        high: Upper end.
        confidence: Coverage of the interval.
        std: Standard deviation over all runs, with their number minus one: the spread of a single run.
        unit: What the interval takes as independent.
        num_folds: Folds.
        num_seeds: Seeds a fold.
    """

    mean: float
    low: float
    high: float
    confidence: float
    std: float
    unit: RunUnit
    num_folds: int
    num_seeds: int


def mean_over_runs(scores: Float[Tensor, "fold seed"], confidence: float = 0.95, unit: RunUnit = "fold") -> RunMean:
    """Average a score over folds and seeds and bound the mean.

    With `fold`, seeds are averaged within each fold and the t interval is over folds: what other data of the same kind
    would give. Folds share most of their training data, so it is somewhat too narrow (Bengio and Grandvalet, No
    unbiased estimator of the variance of k-fold cross-validation, 2004). With `seed`, folds are averaged for each seed
    and the t interval is over seeds: what training anew on the same data would give; it says nothing of other data.
    Equal scores give an interval without width.

    Args:
        scores: One a run, such as mAP. Several seeds of one split are a single fold: `scores[None]`, `unit="seed"`.
        confidence: Coverage of the interval.
        unit: What is taken as independent.

    Raises:
        ValueError: If there are fewer than two units or no run in one, a score is not finite, or `confidence` or `unit`
            is not a valid choice.
    """
    check_confidence(confidence)
    if unit not in get_args(RunUnit):
        raise ValueError(f"unit must be one of {', '.join(get_args(RunUnit))}; got {unit!r}.")
    num_folds, num_seeds = scores.shape
    num_units, num_within = (num_folds, num_seeds) if unit == "fold" else (num_seeds, num_folds)
    if num_units < 2 or num_within < 1:
        raise ValueError(
            f"An interval over {unit}s needs at least two of them; got {num_folds} folds and {num_seeds} seeds. "
            "Run more, choose the other unit, or bound the mean over queries with bootstrap_mean."
        )
    num_bad = int((~scores.isfinite()).sum())
    if num_bad > 0:
        raise ValueError(
            f"Expected the finite score of each run; got NaN or infinity in {num_bad} of {scores.numel()}. "
            "Run those that are missing, or leave out their whole fold or seed."
        )
    unit_means = scores.double().mean(dim=1 if unit == "fold" else 0)
    mean = float(unit_means.mean())
    quantile = float(scipy.stats.t.ppf((1 + confidence) / 2, df=num_units - 1))
    half_width = quantile * float(unit_means.std()) / num_units**0.5
    return RunMean(
        mean=mean,
        low=mean - half_width,
        high=mean + half_width,
        confidence=confidence,
        std=float(scores.double().std()),
        unit=unit,
        num_folds=num_folds,
        num_seeds=num_seeds,
    )
