"""What indexes of cells measure and visit: brute force, and raw faiss."""

from typing import Any

import numpy as np
import pytest
import torch

from retrieval.index import InvertedIndex, InvertedMultiIndex
from tests.draws import draw
from tests.retrieval.index.makers import DIM, filled, inverted, multi, shuffled, squared_distances

both = pytest.mark.parametrize("make", [inverted, multi])


@both
@pytest.mark.parametrize("num_probes", [1, 2, 4])
def test_cells_not_visited_are_infinitely_far(make: Any, num_probes: int) -> None:
    vectors, queries, item_ids = draw(60, DIM), draw(20, DIM, seed=1), shuffled(60)
    index, whole = filled(lambda: make(num_probes), vectors, item_ids), filled(make, vectors, item_ids)
    distances = index.distances(queries)
    reached = distances.isfinite()
    assert 0 < int(reached.sum()) < reached.numel()
    assert torch.equal(distances[reached], whole.distances(queries)[reached])
    ranking = index.search(queries)
    assert torch.equal((ranking.item_ids >= 0).sum(dim=1), reached.sum(dim=1))
    assert bool((ranking.distances.isinf() == (ranking.item_ids == -1)).all())
    order = distances.sort(dim=1, stable=True)
    expected = torch.where(order.values.isfinite(), index.item_ids[order.indices], -1)
    assert torch.equal(ranking.item_ids, expected)
    assert torch.equal(ranking.distances, order.values)


@both
def test_more_probes_reach_more_items(make: Any) -> None:
    index, queries = filled(make, draw(200, DIM)), draw(20, DIM, seed=1)
    reached = []
    for index.num_probes in (1, 2, 5):  # type: ignore[attr-defined]
        reached.append(int(index.distances(queries).isfinite().sum()))
    assert reached[0] < reached[1] < reached[2]


@both
@pytest.mark.parametrize("num_items", [1, 3, 10, 59])
def test_ties_across_cells_are_cut_by_id(make: Any, num_items: int) -> None:
    """Items mirrored about a query that lies between cells are equally far, and faiss meets them cell by cell."""
    index = make()
    index.fit(torch.cat([draw(100, DIM, seed=9), -draw(100, DIM, seed=9)]))
    index.add(draw(30, DIM).repeat(2, 1), shuffled(60))
    queries = draw(20, DIM, seed=1)
    ranking, distances = index.search(queries, num_items), index.distances(queries)
    order = distances.sort(dim=1, stable=True)
    assert torch.equal(ranking.item_ids, index.item_ids[order.indices[:, :num_items]])
    assert torch.equal(ranking.distances, order.values[:, :num_items])


@both
def test_search_of_cells_is_that_of_faiss(make: Any) -> None:
    index, queries = filled(lambda: make(2), draw(200, DIM), shuffled(200)), draw(30, DIM, seed=1)
    rows = np.pad(queries.numpy(), ((0, 0), (0, index.faiss_index.d - DIM)))
    distances, item_ids = index.faiss_index.search(rows, 6)
    # short codes tie; where they don't, the items are faiss's
    clear = (np.diff(distances, axis=1) > 0).all(axis=1)
    assert clear.any()
    distances, item_ids, ranking = distances[:, :5], item_ids[:, :5], index.search(queries, 5)
    np.testing.assert_array_equal(ranking.distances.numpy()[item_ids >= 0], distances[item_ids >= 0])
    np.testing.assert_array_equal(ranking.item_ids.numpy()[clear], item_ids[clear])


@both
def test_residual_codes_come_nearer_than_their_cells(make: Any) -> None:
    """Distances are to what codes decode to: near the true ones, and nearer with longer codes."""
    vectors, queries = draw(300, DIM), draw(20, DIM, seed=1)
    true = squared_distances(queries, vectors)
    errors: list[float] = []
    for num_bits in (4, 12, 24):
        index = (
            InvertedIndex(DIM, 5, 5, num_bits, 16) if make is inverted else InvertedMultiIndex(DIM, 4, 16, num_bits, 16)
        )
        assert not index.is_fitted
        index.fit(vectors)
        assert index.is_fitted
        index.add(vectors, torch.arange(300))
        errors.append(float((index.distances(queries).double() - true).abs().mean()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.2 * float(true.mean())


@both
def test_cells_are_the_same_for_the_same_seed(make: Any) -> None:
    vectors, queries = draw(60, DIM), draw(5, DIM, seed=1)
    first, second = filled(make, vectors), filled(make, vectors)
    assert torch.equal(first.distances(queries), second.distances(queries))
    first.merge(filled(make, vectors, torch.arange(60, 120)))
    assert len(first) == 120


def test_cells_need_a_fit_before_items_and_none_after() -> None:
    index = InvertedIndex(DIM, 4, 2, 8, 16)
    with pytest.raises(RuntimeError, match="not fitted; call fit"):
        index.add(draw(3, DIM), torch.arange(3))
    with pytest.raises(ValueError, match="at least 16 vectors to fit; got 15"):
        index.fit(draw(15, DIM))
    index.fit(draw(40, DIM))
    index.fit(draw(50, DIM))
    index.add(draw(3, DIM), torch.arange(3))
    with pytest.raises(RuntimeError, match="holds 3 items of an earlier fit"):
        index.fit(draw(40, DIM))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((0, 4, 2, 8, 16), "at least one dimension"),
        ((6, 4, 5, 8, 16), "a probe a cell; got .* 5 probes"),
        ((6, 4, 0, 8, 16), "0 probes"),
        ((6, 4, 2, 8, 15), "power of two"),
        ((6, 4, 2, 6, 16), "multiple of its logarithm; got 16 and 6"),
        ((6, 4, 2, 28, 16), "got 7 books for 6 dimensions"),
    ],
)
def test_impossible_cells_are_refused(options: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InvertedIndex(*options)
    with pytest.raises(ValueError, match="num_codewords_per_half must be a power of two; got 3"):
        InvertedMultiIndex(6, 3, 2, 8, 16)
