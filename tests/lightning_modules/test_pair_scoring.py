"""Scores of all pairs against comparing each pair by itself; candidates come first."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_modules.networks import PairTerms
from lightning_modules.pair_scoring import PairScores, score_pairs
from retrieval.metrics import presence_matrix
from tests.lightning_modules.makers import NUM_CATEGORIES, make_clips, make_network, prepare, seeded

QUERY_FRAMES, ITEM_FRAMES, TIME = [5, 3, 1], [5, 2, 5, 4, 1, 3, 5], 5
NUM_QUERIES, NUM_ITEMS = len(QUERY_FRAMES), len(ITEM_FRAMES)
NAMES = ["concatenated", "symmetric", "sub-models", "pooled", "independent"]


def draw_labels(num_clips: int, seed: int) -> Tensor:
    return torch.randint(0, 2, (num_clips, NUM_CATEGORIES), generator=seeded(seed))


def make_terms(name: str) -> tuple[PairTerms, PairTerms]:
    network = make_network(name)
    with torch.no_grad():
        return (
            prepare(network, *make_clips(QUERY_FRAMES, TIME)),
            prepare(network, *make_clips(ITEM_FRAMES, TIME, seed=1)),
        )


def score(name: str, **options: Any) -> PairScores:
    return score_pairs(
        make_network(name), *make_terms(name), draw_labels(NUM_QUERIES, 0), draw_labels(NUM_ITEMS, 1), **options
    )


@torch.no_grad()
def probabilities(name: str, swapped: bool) -> Tensor:
    """Compare each pair by itself: [query, item, category, situation]."""
    network, (queries, items) = make_network(name), make_terms(name)
    rows = []
    for query in range(NUM_QUERIES):
        row = []
        for item in range(NUM_ITEMS):
            mask = queries.mask[query] & items.mask[item]
            terms = (
                (items.first[item], queries.second[query]) if swapped else (queries.first[query], items.second[item])
            )
            row.append(network.compare(terms[0][None], terms[1][None], mask[None]).prob[0])
        rows.append(torch.stack(row))
    return torch.stack(rows)


def situation_of(label: int, other_label: int) -> int:
    return {2: 0, 0: 1, 1: 2}[label + other_label]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("swapped", [False, True])
def test_scores_are_those_of_each_pair_alone(name: str, swapped: bool) -> None:
    found, prob = score(name, swapped=swapped), probabilities(name, swapped)
    queries, items = draw_labels(NUM_QUERIES, 0).tolist(), draw_labels(NUM_ITEMS, 1).tolist()
    cross_entropy, correct = 0.0, [0] * NUM_CATEGORIES
    for query in range(NUM_QUERIES):
        for item in range(NUM_ITEMS):
            matrix = prob[query, item]
            assert float(found.level[query, item]) == pytest.approx(float(matrix[:, :2].sum()), abs=1e-5)
            for category in range(NUM_CATEGORIES):
                situation = situation_of(queries[query][category], items[item][category])
                cross_entropy -= float(matrix[category, situation].log())
                correct[category] += int(matrix[category].argmax()) == situation
    num_pairs = NUM_QUERIES * NUM_ITEMS
    assert found.cross_entropy == pytest.approx(cross_entropy / num_pairs, rel=1e-5)
    assert found.situation_accuracy.tolist() == pytest.approx([each / num_pairs for each in correct], abs=1e-6)
    assert found.pairs_per_second > 0


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("pairs_per_batch", [1, 2, 3, 7, 8])
def test_size_of_batches_is_irrelevant(pairs_per_batch: int, swapped: bool) -> None:
    whole = score("concatenated", swapped=swapped)
    parts = score("concatenated", swapped=swapped, pairs_per_batch=pairs_per_batch)
    torch.testing.assert_close(parts.level, whole.level)
    assert parts.cross_entropy == pytest.approx(whole.cross_entropy, rel=1e-6)
    assert torch.equal(parts.situation_accuracy, whole.situation_accuracy)


def some_pairs() -> Tensor:
    """Choose one item of the first query, four of the second, all of the third."""
    compared = torch.zeros(NUM_QUERIES, NUM_ITEMS, dtype=torch.bool)
    compared[0, 6] = compared[1, [0, 2, 3, 5]] = compared[2] = True
    return compared


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("pairs_per_batch", [1, 3, 4096])
def test_pairs_that_are_not_compared_have_no_level(pairs_per_batch: int, swapped: bool) -> None:
    compared = some_pairs()
    whole = score("concatenated", swapped=swapped)
    found = score("concatenated", swapped=swapped, compared=compared, pairs_per_batch=pairs_per_batch)
    assert torch.equal(found.level.isnan(), ~compared)
    torch.testing.assert_close(found.level[compared], whole.level[compared])
    # means are over what was compared
    prob = probabilities("concatenated", swapped)[compared]
    labels = draw_labels(NUM_QUERIES, 0)[:, None].expand(-1, NUM_ITEMS, -1), draw_labels(NUM_ITEMS, 1)
    target = presence_matrix(labels[0].float(), labels[1].expand(NUM_QUERIES, -1, -1).float())[compared]
    assert found.cross_entropy == pytest.approx(float(-(target * prob.log()).sum(dim=(1, 2)).mean()), rel=1e-5)
    is_right = prob.argmax(dim=2) == target.argmax(dim=2)
    torch.testing.assert_close(found.situation_accuracy, is_right.float().mean(dim=0))


def test_no_gradient_is_kept() -> None:
    network = make_network("pooled")
    terms = prepare(network, *make_clips(QUERY_FRAMES, TIME))
    labels = draw_labels(NUM_QUERIES, 0)
    assert not score_pairs(network, terms, terms, labels, labels).level.requires_grad


def test_progress_is_shown_where_asked_for_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    score("pooled")
    assert capsys.readouterr().err == ""
    score("pooled", shows_progress=True)
    shown = capsys.readouterr()
    assert "comparing pairs" in shown.err
    assert shown.out == ""
