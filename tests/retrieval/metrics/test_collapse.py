"""Signs of collapse on embeddings whose spread is known."""

import pytest
import torch

from retrieval.metrics import embedding_spread
from tests.draws import draw_double as draw


def test_spread_agrees_with_loops_and_singular_values() -> None:
    embeddings = draw(12, 4) + 0.5
    spread = embedding_spread(embeddings)
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    cosines = [float(unit[i] @ unit[j]) for i in range(12) for j in range(12) if i != j]
    share = torch.linalg.svdvals(embeddings - embeddings.mean(dim=0))
    share = share / share.sum()
    assert spread.mean_cosine == pytest.approx(sum(cosines) / len(cosines), abs=1e-12)
    assert spread.effective_rank == pytest.approx(float((-share * share.log()).sum().exp()), rel=1e-9)
    assert spread.mean_std == pytest.approx(sum(float(column.std()) for column in embeddings.T) / 4, rel=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_effective_rank_counts_even_directions(rank: int) -> None:
    # +-1 along `rank` axes of eight, turned
    corners = torch.cat([torch.eye(8), -torch.eye(8)]).double()[[*range(rank), *range(8, 8 + rank)]]
    rotation = torch.linalg.qr(draw(8, 8)).Q
    spread = embedding_spread(corners @ rotation + 3)
    assert spread.effective_rank == pytest.approx(rank, rel=1e-5)


def test_a_point_has_no_spread() -> None:
    spread = embedding_spread(torch.tensor([[0.25, -0.5, 2.0]]).expand(7, 3))
    assert spread.mean_cosine == pytest.approx(1, abs=1e-12)
    assert spread.mean_std == 0
    assert spread.effective_rank == 0


def test_opposite_embeddings_have_cosine_minus_one() -> None:
    assert embedding_spread(torch.tensor([[1.0, 2.0], [-2.0, -4.0]])).mean_cosine == pytest.approx(-1, abs=1e-12)


def test_scale_moves_only_the_deviation() -> None:
    embeddings = draw(30, 5)
    plain, scaled = embedding_spread(embeddings), embedding_spread(embeddings * 4)
    assert scaled.mean_cosine == pytest.approx(plain.mean_cosine, abs=1e-12)
    assert scaled.effective_rank == pytest.approx(plain.effective_rank, rel=1e-9)
    assert scaled.mean_std == pytest.approx(4 * plain.mean_std, rel=1e-12)


def test_more_dimensions_than_items() -> None:
    spread = embedding_spread(draw(4, 50))
    # three directions are left once the mean is off
    assert 2 < spread.effective_rank <= 3 + 1e-4
