"""What each metric refuses, and what it says."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from retrieval.metrics import (
    ContingencyTable,
    LevelScores,
    LevelScoring,
    average_precision,
    bootstrap_mean,
    bucket_counts,
    bucket_density,
    bucket_entropy,
    compare_paired,
    compare_paired_folds,
    cutoff_scores,
    embedding_spread,
    evaluated_share,
    hits_by_condition,
    holm_adjust,
    holm_decisions,
    localisation_hits,
    mcnemar,
    mcnemar_of_table,
    mean_average_precision,
    mean_over_runs,
    presence_matrix,
    score_levels,
    share_near_uniform,
    sign_flip_p_value,
    wilson_interval,
)
from tests.draws import draw_double as draw
from tests.retrieval.metrics.makers import draw_uniform

NAN = math.nan
BITS, NO_ITEM, ONE = torch.zeros(3, 25, dtype=torch.bool), torch.zeros(8, dtype=torch.int64), torch.tensor([True])
TRACK, TIME = torch.tensor([0]), torch.zeros(1, dtype=torch.float64)


def ranked(distances: list[float], **options: object) -> object:
    relevance = torch.ones(1, len(distances), dtype=torch.bool)
    return average_precision(torch.tensor([distances]), relevance, **options)  # type: ignore[arg-type]


def levels(distances: list[float], **options: object) -> object:
    item_levels, label = torch.full((1, len(distances)), 8), torch.tensor([[1, 1, 0, 0, 0, 0, 0, 0]])
    return score_levels(torch.tensor([distances]), item_levels, label, LevelScoring(**options))  # type: ignore[arg-type]


def no_levels(*shape: int) -> object:
    return score_levels(torch.zeros(shape), torch.zeros(shape).long(), torch.zeros(shape[0], 8).long())


def of_subset(*label_count: int) -> LevelScores:
    values = torch.linspace(0.1, 0.2, len(label_count), dtype=torch.float64)
    return LevelScores({(8, 1): values}, torch.tensor(label_count), num_items=10)


def presence(bad: float, place: int) -> object:
    labels = torch.ones(2, 4, 3)
    labels[place, 2, 1] = bad
    return presence_matrix(labels[0], labels[1])


def correct(count: int) -> Tensor:
    return torch.ones(count, dtype=torch.bool)


def missing_run() -> object:
    scores = draw(3, 2)
    scores[1, 1] = NAN
    return mean_over_runs(scores)


REFUSED: list[tuple[Callable[[], object], str]] = [
    # rankings
    (lambda: ranked([0.0, 2.0, 1.0]), "must be in ranked order, smallest first"),
    (lambda: ranked([0.1, NAN]), "found NaN"),
    (lambda: ranked([0.0], cutoffs=[0]), "at least 1; got 0"),
    (lambda: ranked([0.0], cutoffs=[-1]), "at least 1; got -1"),
    (lambda: ranked([0.0], denominator="hits"), r"denominator must be one of all_relevant, .*; got 'hits'"),
    (lambda: ranked([0.0], ties="random"), "ties must be one of expected, order, best, worst; got 'random'"),
    (lambda: mean_average_precision(draw(1), draw(1), "skip"), "zero_hit must be one of zero, drop; got 'skip'"),  # type: ignore[arg-type]
    (lambda: cutoff_scores(torch.zeros(1, 3), torch.ones(1, 3).bool(), 0), "at least 1; got 0"),
    (lambda: cutoff_scores(torch.zeros(1, 3), torch.ones(1, 3).bool(), -2), "at least 1; got -2"),
    # buckets
    (lambda: bucket_counts(BITS), r"up to 24 bits; got 25\. Count those in use"),
    (lambda: share_near_uniform(torch.tensor([1, 1]), 0.5), r"at least 1; got .*Try 2"),
    (lambda: share_near_uniform(torch.tensor([1, 1]), NAN), r"at least 1; got .*Try 2"),
    (lambda: bucket_entropy(NO_ITEM), "at least one item; got empty buckets"),
    (lambda: share_near_uniform(NO_ITEM), "at least one item; got empty buckets"),
    (lambda: bucket_density(NO_ITEM), "at least one item; got empty buckets"),
    (lambda: evaluated_share(torch.tensor([-1, 2]), 10), "Expected 0 to 10 evaluated items; got -1 to 2"),
    (lambda: evaluated_share(torch.tensor([11, 2]), 10), "Expected 0 to 10 evaluated items; got 2 to 11"),
    (lambda: evaluated_share(torch.zeros(1, dtype=torch.int64), 0), "at least one item; got 0"),
    (lambda: embedding_spread(torch.zeros(0, 3)), "at least two embeddings; got 0"),
    (lambda: embedding_spread(torch.zeros(1, 3)), "at least two embeddings; got 1"),
    # intervals and tests
    (lambda: bootstrap_mean(torch.empty(0)), "at least one query; got none"),
    (lambda: bootstrap_mean(draw(5), 0.0), "confidence must lie between 0 and 1; got"),
    (lambda: bootstrap_mean(draw(5), 1.0), "confidence must lie between 0 and 1; got"),
    (lambda: bootstrap_mean(draw(5), 95.0), "confidence must lie between 0 and 1; got"),
    (lambda: holm_adjust(torch.tensor([0.5, NAN])), r"Expected p-values in \[0, 1\]; got .* at \[1\]"),
    (lambda: holm_adjust(torch.tensor([0.5, -0.1])), r"Expected p-values in \[0, 1\]; got .* at \[1\]"),
    (lambda: holm_adjust(torch.tensor([0.5, 1.5])), r"Expected p-values in \[0, 1\]; got .* at \[1\]"),
    (lambda: holm_adjust(torch.empty(0)), "at least one p-value; got none"),
    (lambda: holm_decisions({}), "at least one p-value; got none"),
    (lambda: holm_decisions({"pq": 0.1}, 0.0), "level must lie between 0 and 1; got"),
    (lambda: holm_decisions({"pq": 0.1}, 1.0), "level must lie between 0 and 1; got"),
    (lambda: holm_decisions({"pq": 0.1}, 5.0), "level must lie between 0 and 1; got"),
    (lambda: ContingencyTable(0, 0, 0, 0), "counts queries, at least one, none below zero; got"),
    (lambda: ContingencyTable(5, -1, 2, 3), "counts queries, at least one, none below zero; got"),
    (lambda: mcnemar(correct(0), correct(0)), r"at least one, none below zero; got \(0, 0, 0, 0\)"),
    (lambda: mcnemar(correct(3), correct(4)), "same queries for both methods; got 3 and 4"),
    (
        lambda: mcnemar_of_table(ContingencyTable(1, 2, 3, 4), "asymptotic"),  # type: ignore[arg-type]
        "method must be one of exact, corrected; got 'asymptotic'",
    ),
    (lambda: compare_paired(draw_uniform(0), draw_uniform(0)), "at least two queries; got 0"),
    (lambda: compare_paired(draw_uniform(1), draw_uniform(1)), "at least two queries; got 1"),
    (lambda: compare_paired(draw(3), torch.tensor([0.5, NAN, 0.5])), "NaN or infinity for 1 of 3 queries"),
    (lambda: compare_paired(draw(3), torch.tensor([0.5, math.inf, 0.5])), "NaN or infinity for 1 of 3 queries"),
    (lambda: compare_paired(draw(3), draw(4)), "same queries for both methods; got 3 and 4"),
    (lambda: compare_paired(draw(5), draw(5), 0.0, 10), "confidence must lie between 0 and 1; got"),
    (lambda: compare_paired(draw(5), draw(5), 1.0, 10), "confidence must lie between 0 and 1; got"),
    (lambda: compare_paired(draw(5), draw(5), 95.0, 10), "confidence must lie between 0 and 1; got"),
    (lambda: compare_paired(draw(5), draw(5), 0.95, 0), "num_resamples must be at least 1; got"),
    (
        # equal totals would hide it
        lambda: compare_paired_folds([draw(2, 4), draw(2, 6)], [draw(2, 5), draw(2, 5)]),
        r"same folds and queries .* got \[seed, query\] \[\(2, 4\), \(2, 6\)\] and",
    ),
    (lambda: compare_paired_folds([], []), "same folds and queries"),
    (
        lambda: compare_paired_folds([draw(0, 4)], [draw(1, 4)]),
        r"at least one seed a fold; got \[seed, query\] \[\(0, 4\)\]",
    ),
    (lambda: sign_flip_p_value(torch.tensor([])), "finite differences of .* one query; got 0 that are not finite of 0"),
    (lambda: sign_flip_p_value(torch.tensor([0.1, NAN])), "finite differences of .* one query; got 1 that are"),
    (lambda: sign_flip_p_value(draw(5), num_resamples=0), "num_resamples must be at least 1; got 0"),
    (lambda: mean_over_runs(draw(1, 1)), "over folds needs at least two of them; got 1 folds and 1 seeds"),
    (lambda: mean_over_runs(draw(1, 4)), "over folds needs at least two of them; got 1 folds and 4 seeds"),
    (lambda: mean_over_runs(draw(4, 1), unit="seed"), "over seeds needs at least two of them; got 4 folds and 1 seeds"),
    (lambda: mean_over_runs(draw(0, 3)), "over folds needs at least two of them; got 0 folds and 3 seeds"),
    (lambda: mean_over_runs(draw(3, 0)), "over folds needs at least two of them; got 3 folds and 0 seeds"),
    (missing_run, "NaN or infinity in 1 of 6"),
    (lambda: mean_over_runs(draw(3, 2), confidence=95), "confidence must lie between 0 and 1; got 95"),
    (lambda: mean_over_runs(draw(3, 2), unit="run"), "unit must be one of fold, seed; got 'run'"),  # type: ignore[arg-type]
    # levels and presence
    (lambda: of_subset(1, 1).interval(8, 1, "multi"), "at least one query; got none"),
    (lambda: no_levels(0, 4), "at least one query and one item; got 0 and 4"),
    (lambda: no_levels(4, 0), "at least one query and one item; got 4 and 0"),
    (lambda: levels([0.0], misses=[8]), "misses must be at least 0 and below the 8 categories"),
    (lambda: levels([0.0], misses=[0, 9]), "misses must be at least 0 and below the 8 categories"),
    (lambda: levels([0.0], misses=[-1]), "misses must be at least 0 and below the 8 categories"),
    (lambda: levels([0.0, NAN]), "found NaN"),
    (lambda: levels([0.0], cutoffs=[0]), "at least 1; got 0"),
    (lambda: levels([0.0], cutoffs=[-5]), "at least 1; got -5"),
    (lambda: of_subset(1).in_subset("many"), "subset must be one of all, single, multi; got 'many'"),
    *[
        (lambda bad=bad, place=place: presence(bad, place), r"labels from 0 to 1; got .*\. Give probabilities\.")
        for bad in (-1.0, 2.0, NAN, 1.001)
        for place in (0, 1)
    ],
    # localisation
    (lambda: localisation_hits(TRACK, TIME, TRACK, TIME, -0.01), r"at least 0; got .*The paper's is 0.05"),
    (lambda: localisation_hits(TRACK, TIME, TRACK, TIME, NAN), r"at least 0; got .*The paper's is 0.05"),
    (lambda: wilson_interval(0, 0), "at least one query; got 0 of 0"),
    (lambda: wilson_interval(-1, 5), "at least one query; got -1 of 5"),
    (lambda: wilson_interval(6, 5), "at least one query; got 6 of 5"),
    (lambda: wilson_interval(1, 2, 0.0), "confidence must lie between 0 and 1"),
    (lambda: wilson_interval(1, 2, 1.0), "confidence must lie between 0 and 1"),
    (lambda: wilson_interval(1, 2, 95.0), "confidence must lie between 0 and 1"),
    *[
        (
            lambda condition=condition: hits_by_condition(ONE, ONE, torch.tensor([condition]), ONE, ["a", "b"]),
            r"from 0 to 1, one a name; got .*Give the names of the data module",
        )
        for condition in (-1, 2)
    ],
]


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(("call", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_makes_no_number_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
