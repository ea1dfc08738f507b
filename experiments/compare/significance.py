"""Do two settings differ, given their runs? Over queries where these were kept, else over folds or seeds."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
import torch

from experiments.compare.run_records import RunRecord
from retrieval.metrics import compare_paired_folds, holm_adjust
from retrieval.metrics.permutation import sign_flip_p_value

Verdict = Literal["lower", "alike", "higher", "untested"]
Key = TypeVar("Key", bound=Hashable)
_Place = tuple[tuple[str, str], ...]
# Holm multiplies the least p by the number of tests; so many resamples keep it below a percent for a hundred.
_NUM_RESAMPLES = 20_000


@dataclass(frozen=True)
class RunTest:
    """The difference of two settings in one metric.

    Attributes:
        difference: Mean of the setting minus mean of the baseline, over what is paired.
        p_value: Two-sided, of the paired permutation test, corrected once `holm_tests` has; None if there is none.
        verdict: What follows at the level asked for.
        unit: What was paired: `queries`, `folds`, `seeds`.
        num_pairs: How many.
        num_seeds: Seeds that were meaned over for each query, of the setting and of the baseline.
        reason: Why there is no test, or none that could find anything.
    """

    difference: float
    p_value: float | None
    verdict: Verdict
    unit: str
    num_pairs: int
    num_seeds: tuple[int, int] = (1, 1)
    reason: str = ""


def compare_settings(runs: Sequence[RunRecord], baseline: Sequence[RunRecord], metric: str, level: float) -> RunTest:
    """Test two settings against each other.

    Where all runs kept the metric of each query, queries are paired: the folds in common, their seeds meaned first, and
    the test speaks of the choice of queries, the trained models taken as given. Otherwise the means of folds in common
    are paired, or of seeds in common where there is one fold. Few pairs can't be significant: of n pairs the least p
    is 2 / 2^n.

    Args:
        runs: Of the setting.
        baseline: Of the baseline.
        metric: What to compare.
        level: Significance level.
    """
    ours, theirs = _by_fold(runs), _by_fold(baseline)
    folds = [fold for fold in ours if fold in theirs]
    difference = _mean(runs, metric) - _mean(baseline, metric)
    if {run.data_name for run in runs} != {run.data_name for run in baseline}:
        return RunTest(difference, None, "untested", "queries", 0, reason="they were measured on different data")
    if not folds:
        return RunTest(difference, None, "untested", "folds", 0, reason="they share no fold")
    if all(metric in run.query_scores for run in (*runs, *baseline)):
        return _test_queries([ours[fold] for fold in folds], [theirs[fold] for fold in folds], metric, difference)
    if len(folds) > 1:
        pairs = [_mean(ours[fold], metric) - _mean(theirs[fold], metric) for fold in folds]
        return _test_pairs(pairs, "folds", level)
    own, other = (_by_seed(group[folds[0]], metric) for group in (ours, theirs))
    pairs = [_mean(own[seed], metric) - _mean(other[seed], metric) for seed in own if seed in other]
    return _test_pairs(pairs, "seeds", level, difference)


def holm_tests(tests: Mapping[Key, RunTest], level: float) -> dict[Key, RunTest]:
    """Correct the p-values of many tests for their number, and say what follows."""
    tested = [key for key, test in tests.items() if test.p_value is not None]
    if not tested:
        return dict(tests)
    p_values = torch.tensor([tests[key].p_value for key in tested], dtype=torch.float64)
    decided = dict(tests)
    for key, p_value in zip(tested, holm_adjust(p_values).tolist(), strict=True):
        verdict: Verdict = "alike"
        if p_value <= level:
            verdict = "higher" if tests[key].difference > 0 else "lower"
        decided[key] = replace(tests[key], p_value=p_value, verdict=verdict)
    return decided


def _test_queries(
    ours: Sequence[Sequence[RunRecord]], theirs: Sequence[Sequence[RunRecord]], metric: str, difference: float
) -> RunTest:
    """Pair queries by their names."""
    matrices: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    for own, other in zip(ours, theirs, strict=True):
        names = sorted(own[0].query_scores[metric])
        if any(sorted(run.query_scores[metric]) != names for run in (*own, *other)):
            return RunTest(difference, None, "untested", "queries", 0, reason="they were asked different queries")
        for runs, matrix in zip((own, other), matrices, strict=True):
            scores = [[run.query_scores[metric][name] for name in names] for run in runs]
            matrix.append(torch.tensor(scores, dtype=torch.float64))
    compared = compare_paired_folds(*matrices, num_resamples=_NUM_RESAMPLES)
    num_seeds = min(len(fold) for fold in matrices[0]), min(len(fold) for fold in matrices[1])
    return RunTest(compared.difference, compared.p_value, "alike", "queries", compared.num_queries, num_seeds)


def _test_pairs(pairs: Sequence[float], unit: str, level: float, difference: float = 0.0) -> RunTest:
    if len(pairs) < 2:
        return RunTest(
            float(np.mean(pairs)) if pairs else difference, None, "untested", unit, len(pairs),
            reason=f"{len(pairs) or 'no'} {unit} in common, and no scores of single queries",
        )  # fmt: skip
    p_value = sign_flip_p_value(torch.tensor(pairs, dtype=torch.float64))
    least = 2.0 / 2 ** len(pairs)
    reason = f"{len(pairs)} {unit} can't be significant: p is {least:.2g} at least" if least > level else ""
    return RunTest(float(np.mean(pairs)), p_value, "alike", unit, len(pairs), reason=reason)


def _by_fold(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    folds: dict[str, list[RunRecord]] = {}
    for run in runs:
        folds.setdefault(", ".join(value for _, value in run.fold), []).append(run)
    return folds


def _by_seed(runs: Sequence[RunRecord], metric: str) -> dict[str, list[RunRecord]]:
    """Group runs that have a metric by the seeds that different models have in common: all but those of the model."""
    seeds: dict[str, list[RunRecord]] = {}
    for run in runs:
        if metric in run.metrics:
            common = [value for name, value in run.seeds if name == "seed_everything" or name.startswith("data.")]
            seeds.setdefault(", ".join(common), []).append(run)
    return seeds


def _mean(runs: Sequence[RunRecord], metric: str) -> float:
    return float(np.mean([run.metrics[metric] for run in runs if metric in run.metrics]))
