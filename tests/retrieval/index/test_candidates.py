"""Candidates are the most similar items, and come first."""

import pytest
import torch

from retrieval.index import nearest_candidates, rank_candidates_first
from tests.draws import draw


@pytest.mark.parametrize("num_candidates", [1, 3, 6, 10])
def test_candidates_are_the_most_similar_items(num_candidates: int) -> None:
    similarity = draw(4, 6)
    chosen = nearest_candidates(similarity, num_candidates)
    for row, flags in zip(similarity.tolist(), chosen.tolist(), strict=True):
        best = sorted(range(6), key=lambda item, row=row: -row[item])[:num_candidates]  # type: ignore[misc]
        assert [item for item, flag in enumerate(flags) if flag] == sorted(best)


def test_ties_of_similarity_leave_the_number_of_candidates() -> None:
    assert nearest_candidates(torch.zeros(3, 5), 2).sum(dim=1).tolist() == [2, 2, 2]


def test_compared_items_come_first_whatever_their_level() -> None:
    # levels of 8 categories against the most and the least similar of the rest
    level = torch.tensor([[0.0, torch.nan, 8.0, torch.nan, 0.5]])
    similarity = torch.tensor([[-1.0, 1.0, -0.5, -1.0, 0.9]])
    distances = rank_candidates_first(level, similarity)
    assert distances.argsort(dim=1).tolist() == [[2, 4, 0, 1, 3]]
    assert bool(torch.isfinite(distances).all())


def test_where_all_are_compared_similarity_is_irrelevant() -> None:
    level = 8 * draw(3, 5).sigmoid()
    assert torch.equal(rank_candidates_first(level, draw(3, 5, seed=1)), -level)
