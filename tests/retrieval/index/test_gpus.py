"""A search on GPUs is that on the host, and falls back to it."""

import pytest
import torch

from retrieval.index import CellIndex, InvertedIndex
from tests.draws import draw
from tests.retrieval.index.makers import (
    DIM,
    GpuStandIn,
    MakeIndex,
    assert_same_search,
    contract,
    filled,
    inverted,
    shuffled,
)


@contract
def test_without_a_gpu_there_is_no_search_on_one(make: MakeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faiss.get_num_gpus", lambda: 0)
    index = filled(make, draw(5, DIM))
    with pytest.raises(RuntimeError, match=r"Expected a faiss that sees a GPU; found faiss .* with none"):
        index.to_gpus()
    monkeypatch.delattr("faiss.get_num_gpus")
    with pytest.raises(RuntimeError, match="Install the gpu extra"):
        index.to_gpus()
    assert_same_search(index, filled(make, draw(5, DIM)), draw(2, DIM, seed=1))


@contract
@pytest.mark.parametrize("num_items", [1, 2, 7, 20, None])
def test_a_search_on_gpus_is_the_one_on_the_host(
    make: MakeIndex, num_items: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = GpuStandIn(monkeypatch)
    vectors, queries, item_ids = draw(40, DIM).repeat(2, 1), draw(9, DIM, seed=5), shuffled(80, seed=2)  # ties
    index = filled(make, vectors, item_ids)
    expected = index.search(queries, num_items)
    index.to_gpus()
    ranking = index.search(queries, num_items)
    assert torch.equal(ranking.item_ids, expected.item_ids)
    torch.testing.assert_close(ranking.distances, expected.distances)
    assert gpus.asked
    # a change of the items ends it
    index.remove(item_ids[:3])
    gpus.asked.clear()
    assert_same_search(index, filled(make, vectors[3:], item_ids[3:]), queries)
    assert not gpus.asked


@contract
def test_more_items_than_gpus_can_find_are_found_on_the_host(make: MakeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus, queries = GpuStandIn(monkeypatch), draw(3, DIM, seed=5)
    index = filled(make, draw(2100, DIM))
    wanted = (2047, 2048, 2099, None)  # one item more is asked for
    on_host = [index.search(queries, num_items) for num_items in wanted]
    index.to_gpus()
    for num_items, expected in zip(wanted, on_host, strict=True):
        ranking = index.search(queries, num_items)
        torch.testing.assert_close(ranking.distances, expected.distances)  # faiss's rotation rounds as memory lies
        torch.testing.assert_close(index.distances(queries).gather(1, ranking.item_ids), ranking.distances)
        assert all(len(found.unique()) == len(found) for found in ranking.item_ids)
    assert gpus.asked[0] == max(gpus.asked) == 2048


@contract
def test_ties_that_gpus_cannot_settle_are_settled_on_the_host(make: MakeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = GpuStandIn(monkeypatch)
    vectors = torch.cat([draw(1, DIM).repeat(2500, 1), draw(20, DIM, seed=1)])
    index = filled(make, vectors)
    expected = index.search(draw(1, DIM), 3)
    index.to_gpus()
    ranking = index.search(draw(1, DIM), 3)
    assert torch.equal(ranking.item_ids, expected.item_ids)
    torch.testing.assert_close(ranking.distances, expected.distances)
    assert gpus.asked == [4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048]


@pytest.mark.parametrize("before", [1, 5])
def test_probes_changed_on_gpus_count(before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus, queries = GpuStandIn(monkeypatch), draw(9, DIM, seed=5)
    on_host, on_gpus = (filled(lambda: inverted(before), draw(40, DIM)) for _ in range(2))
    on_gpus.to_gpus()
    for num_probes in (5, 2, 1):
        for index in (on_host, on_gpus):
            assert isinstance(index, CellIndex)
            index.num_probes = num_probes
        for num_items in (3, None):
            assert torch.equal(on_gpus.search(queries, num_items).item_ids, on_host.search(queries, num_items).item_ids)
    assert len(gpus.asked) >= 6


def test_more_probes_than_gpus_can_visit_are_visited_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus, queries = GpuStandIn(monkeypatch), draw(2, DIM, seed=5)
    index = InvertedIndex(DIM, 2100, 1, 4, num_codewords=2)
    index.fit(draw(2100, DIM))
    index.add(draw(2100, DIM), torch.arange(2100))
    index.to_gpus()
    index.num_probes = 2049
    ranking = index.search(queries, 3)
    assert not gpus.asked
    index.num_probes = 2048
    index.search(queries, 3)
    assert gpus.asked
    assert bool((ranking.item_ids >= 0).all())
