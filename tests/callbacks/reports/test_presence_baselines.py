"""What a model that compares pairs is measured against, from outputs made by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from callbacks.reports.presence_baselines import (
    COSINE_NAME,
    RANDOM_NAME,
    baseline_scores,
    commonest_situation_shares,
    cosine_distances,
    first_stage_scores,
    swapped_scores,
    true_levels,
)
from retrieval.metrics import LevelScoring, presence_matrix, score_levels
from retrieval.outputs import LabelledClips, PresenceOutputs

NUM_QUERIES, NUM_ITEMS, NUM_CATEGORIES = 7, 30, 4
SCORING = LevelScoring(cutoffs=[1, 3, 10])


def make_outputs(level: Tensor | None = None) -> PresenceOutputs:
    generator = torch.Generator().manual_seed(0)

    def role(count: int) -> LabelledClips:
        label = (torch.rand(count, NUM_CATEGORIES, generator=generator) < 0.3).long()
        return LabelledClips(torch.arange(count), label, torch.randn(count, 5, generator=generator))

    queries, items = role(NUM_QUERIES), role(NUM_ITEMS)
    pairs = (NUM_QUERIES, NUM_ITEMS)
    if level is None:
        level = NUM_CATEGORIES * torch.rand(pairs, generator=generator)
    swapped = NUM_CATEGORIES * torch.rand(pairs, generator=generator)
    similarity = 2 * torch.rand(pairs, generator=generator) - 1
    levels = (queries.label[:, None] == items.label[None]).sum(dim=2)
    scores = score_levels(-level.nan_to_num(nan=0.0), levels, queries.label, SCORING)
    accuracy = torch.rand(NUM_CATEGORIES, generator=generator)
    return PresenceOutputs(queries, items, level, swapped, -level, similarity, scores, accuracy, 1000.0)


def ranking(distances: Tensor, row: int) -> list[int]:
    ordered: list[int] = distances[row].argsort(stable=True).tolist()
    return ordered


def test_features_are_compared_by_their_angle() -> None:
    outputs = make_outputs()
    distances = cosine_distances(outputs)
    for query, item in ((0, 0), (3, 17), (6, 29)):
        one, two = outputs.queries.feature[query].numpy(), outputs.items.feature[item].numpy()
        cosine = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
        assert float(distances[query, item]) == pytest.approx(1 - cosine, abs=1e-6)
    expected = score_levels(distances, true_levels(outputs), outputs.queries.label, SCORING)
    assert baseline_scores(outputs, SCORING)[COSINE_NAME].mean_ap() == expected.mean_ap()


def test_random_order_is_the_mean_over_shuffled_databases() -> None:
    outputs = make_outputs()
    # how the model breaks ties changes nothing
    (expected,) = {
        tuple(baseline_scores(outputs, replace(SCORING, ties=ties))[RANDOM_NAME].mean_ap().items())
        for ties in ("expected", "order", "worst")
    }
    num_draws = 600
    drawn = score_levels(
        torch.rand(num_draws * NUM_QUERIES, NUM_ITEMS, generator=torch.Generator().manual_seed(1)),
        true_levels(outputs).repeat(num_draws, 1),
        outputs.queries.label.repeat(num_draws, 1),
        SCORING,
    ).average_precision
    for key, value in expected:
        means = drawn[key].unflatten(0, (num_draws, NUM_QUERIES)).mean(dim=1)
        assert abs(value - float(means.mean())) < 4 * float(means.std()) / math.sqrt(num_draws), key
    share = float((true_levels(outputs) == NUM_CATEGORIES).double().mean())
    assert dict(expected)[NUM_CATEGORIES, 1] == pytest.approx(share)


def test_a_first_stage_puts_what_it_chose_first() -> None:
    outputs = make_outputs()
    similarity, level = outputs.embedding_similarity, outputs.level
    (stage,) = first_stage_scores(outputs, SCORING, [0.25])
    assert stage.num_compared == 8
    distances = torch.zeros_like(level)
    for row in range(NUM_QUERIES):
        by_similarity = similarity[row].argsort(descending=True).tolist()
        by_level = sorted(by_similarity[:8], key=lambda item: -float(level[row, item]))
        distances[row, by_level + by_similarity[8:]] = torch.arange(level.shape[1]).to(distances)
    expected = score_levels(distances, true_levels(outputs), outputs.queries.label, SCORING)
    assert stage.scores.mean_ap() == pytest.approx(expected.mean_ap())


def test_a_first_stage_ranges_from_embeddings_alone_to_all_pairs() -> None:
    outputs = make_outputs()
    stages = first_stage_scores(outputs, SCORING, [0.0, 0.1, 0.25, 1.0])
    assert [stage.num_compared for stage in stages] == [0, 3, 8, 30]
    assert [stage.saved for stage in stages] == pytest.approx([1, 0.9, 1 - 8 / 30, 0])
    assert stages[-1].scores.mean_ap() == outputs.scores.mean_ap()
    alone = score_levels(-outputs.embedding_similarity, true_levels(outputs), outputs.queries.label, SCORING)
    assert stages[0].scores.mean_ap() == alone.mean_ap()


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_at_most_everything(share: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        first_stage_scores(make_outputs(), SCORING, [share])


def test_a_first_stage_is_not_judged_by_pairs_that_were_not_compared() -> None:
    level = torch.ones(NUM_QUERIES, NUM_ITEMS)
    level[0, 0] = torch.nan
    with pytest.raises(ValueError, match="Test the model without num_candidates"):
        first_stage_scores(make_outputs(level), SCORING)


def test_the_other_order_is_scored_by_its_own_level() -> None:
    outputs = make_outputs()
    assert outputs.swapped_level is not None
    expected = score_levels(-outputs.swapped_level, true_levels(outputs), outputs.queries.label, SCORING)
    assert swapped_scores(outputs, SCORING).mean_ap() == expected.mean_ap()


@pytest.mark.parametrize("compares_all", [True, False])
def test_the_commonest_situation_is_counted_over_compared_pairs(compares_all: bool) -> None:
    level = torch.ones(NUM_QUERIES, NUM_ITEMS)
    if not compares_all:
        level[:, ::3] = torch.nan
    outputs = make_outputs(level)
    query, item = outputs.queries.label[:, None].float(), outputs.items.label[None].float()
    matrices = presence_matrix(*torch.broadcast_tensors(query, item))[~level.isnan()]
    torch.testing.assert_close(commonest_situation_shares(outputs), matrices.mean(dim=0).amax(dim=1))
