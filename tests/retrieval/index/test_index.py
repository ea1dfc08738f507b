"""One contract over all indexes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from retrieval.index import AsymmetricIndex, CellIndex, HammingIndex, exhaustive_index
from tests.draws import draw
from tests.retrieval.index.makers import (
    DIM,
    MakeIndex,
    assert_same_search,
    bit_hash,
    contract,
    filled,
    product_quantizer,
    shuffled,
)


@contract
def test_distances_of_a_ranking_never_fall(make: MakeIndex) -> None:
    ranking = filled(make, draw(50, DIM)).search(draw(7, DIM, seed=2))
    assert bool((ranking.distances[:, 1:] >= ranking.distances[:, :-1]).all())
    assert bool((ranking.item_ids.sort(dim=1).values == torch.arange(50)).all())


@contract
@pytest.mark.parametrize("num_queries", [1, 25, 150])
def test_ranking_agrees_with_distances_by_id(make: MakeIndex, num_queries: int) -> None:
    item_ids = shuffled(50, seed=1) * 3
    index = filled(make, draw(50, DIM), item_ids)
    queries = draw(num_queries, DIM, seed=2)
    ranking, distances = index.search(queries), index.distances(queries)
    assert torch.equal(index.item_ids, item_ids.sort().values)
    position = torch.searchsorted(index.item_ids, ranking.item_ids)
    torch.testing.assert_close(distances.gather(1, position), ranking.distances, rtol=1e-5, atol=1e-5)


@contract
def test_order_of_adding_changes_nothing(make: MakeIndex) -> None:
    vectors, queries, order = draw(40, DIM), draw(5, DIM, seed=3), shuffled(40)
    vectors[20:] = vectors[:20]  # ties everywhere
    assert_same_search(filled(make, vectors[order], order), filled(make, vectors), queries)


@contract
def test_relabelled_items_keep_their_distances(make: MakeIndex) -> None:
    vectors, queries = draw(40, DIM), draw(5, DIM, seed=3)
    plain, relabelled = filled(make, vectors), filled(make, vectors, 1000 - torch.arange(40))
    assert torch.equal(plain.search(queries).distances, relabelled.search(queries).distances)
    assert torch.equal(plain.distances(queries), relabelled.distances(queries).flip(1))


@contract
@pytest.mark.parametrize("num_items", [1, 2, 3, 4, 5, 29, None])
def test_equally_distant_items_are_ordered_by_id(make: MakeIndex, num_items: int | None) -> None:
    near, far = torch.eye(DIM)[:1], -torch.eye(DIM)[:1]
    item_ids = shuffled(30) + 7
    is_near = shuffled(30, seed=1) % 3 == 0
    ranking = filled(make, torch.where(is_near[:, None], near, far), item_ids).search(near, num_items)
    expected = torch.cat([item_ids[is_near].sort().values, item_ids[~is_near].sort().values])
    assert ranking.item_ids.tolist() == [expected[:num_items].tolist()]
    assert len(filled(make, torch.cat([near, far])).search(near).distances.unique()) == 2


@contract
def test_adding_in_parts_equals_adding_at_once(make: MakeIndex) -> None:
    vectors, queries, item_ids = draw(30, DIM), draw(4, DIM, seed=5), shuffled(30, seed=2)
    for ids in (item_ids, torch.arange(30)):
        parts = make()
        for start, stop in [(0, 11), (11, 12), (12, 12), (12, 30)]:
            parts.add(vectors[start:stop], ids[start:stop])
            parts.search(queries)  # what a search keeps must not outlive the next change
            parts.distances(queries)
        assert_same_search(parts, filled(make, vectors, ids), queries)


@contract
def test_ids_that_are_there_twice_are_refused_and_change_nothing(make: MakeIndex) -> None:
    index, queries = filled(make, draw(5, DIM)), draw(2, DIM, seed=1)
    with pytest.raises(ValueError, match="id 3 is there twice"):
        index.add(draw(2, DIM), torch.tensor([8, 3]))
    with pytest.raises(ValueError, match="id 8 is there twice"):
        index.add(draw(2, DIM), torch.tensor([8, 8]))
    with pytest.raises(ValueError, match=r"can't be negative.*got -4"):
        index.add(draw(2, DIM), torch.tensor([8, -4]))
    assert_same_search(index, filled(make, draw(5, DIM)), queries)


@contract
@pytest.mark.usefixtures("unchecked_types")
def test_ids_that_differ_in_number_from_vectors_are_refused(make: MakeIndex) -> None:
    index = filled(make, draw(5, DIM))
    with pytest.raises(ValueError, match="one id an item; got 3 ids for 2 items"):
        index.add(draw(2, DIM), torch.tensor([7, 8, 9]))
    assert len(index) == 5


@contract
def test_vectors_that_do_not_fit_are_refused_and_change_nothing(make: MakeIndex) -> None:
    index, queries = filled(make, draw(5, DIM)), draw(2, DIM, seed=1)
    broken = draw(2, DIM)
    broken[1, 2] = torch.nan
    for wrong, message in [(draw(2, DIM + 1), f"of {DIM} dimensions; got {DIM + 1}"), (broken, "row 1 has NaN")]:
        with pytest.raises(ValueError, match=message):
            index.add(wrong, torch.tensor([7, 8]))
        with pytest.raises(ValueError, match=message):
            index.search(wrong)
    assert_same_search(index, filled(make, draw(5, DIM)), queries)


@contract
@pytest.mark.parametrize(("num_items", "returned"), [(None, 6), (1, 1), (4, 4), (6, 6), (7, 6), (1000, 6)])
def test_as_many_items_come_back_as_asked_for_and_there_are(
    make: MakeIndex, num_items: int | None, returned: int
) -> None:
    index, queries = filled(make, draw(6, DIM)), draw(3, DIM, seed=1)
    ranking, whole = index.search(queries, num_items), index.search(queries)
    assert ranking.item_ids.shape == ranking.distances.shape == (3, returned)
    assert torch.equal(ranking.item_ids, whole.item_ids[:, :returned])
    assert torch.equal(ranking.distances, whole.distances[:, :returned])
    assert (ranking.item_ids.dtype, ranking.distances.dtype) == (torch.int64, torch.float32)


@contract
def test_one_item_is_found_by_every_query(make: MakeIndex) -> None:
    ranking = filled(make, draw(1, DIM), torch.tensor([77])).search(draw(3, DIM, seed=1), 5)
    assert ranking.item_ids.tolist() == [[77]] * 3


@contract
def test_each_query_is_searched_on_its_own(make: MakeIndex) -> None:
    index, queries = filled(make, draw(20, DIM)), draw(30, DIM, seed=4)
    together = index.search(queries)
    alone = [index.search(query[None]) for query in queries]
    assert torch.equal(together.item_ids, torch.cat([ranking.item_ids for ranking in alone]))
    assert torch.equal(index.search(queries[:0], 4).item_ids, torch.empty(0, 4, dtype=torch.int64))


@contract
@pytest.mark.parametrize("num_items", [0, -1])
def test_a_search_for_nothing_is_refused(make: MakeIndex, num_items: int) -> None:
    with pytest.raises(ValueError, match="at least one item"):
        filled(make, draw(3, DIM)).search(draw(1, DIM), num_items)


@contract
def test_an_empty_index_is_not_searched(make: MakeIndex) -> None:
    emptied = filled(make, draw(3, DIM))
    emptied.remove(torch.arange(3))
    for index in (make(), emptied):
        assert len(index) == len(index.item_ids) == 0
        with pytest.raises(RuntimeError, match="The index is empty; add items"):
            index.search(draw(1, DIM))
        with pytest.raises(RuntimeError, match="The index is empty; add items"):
            index.distances(draw(1, DIM))
    emptied.add(draw(5, DIM), torch.arange(5))
    assert_same_search(emptied, filled(make, draw(5, DIM)), draw(2, DIM, seed=1))


@contract
def test_removing_items_equals_never_adding_them(make: MakeIndex) -> None:
    vectors, queries, item_ids = draw(40, DIM), draw(4, DIM, seed=5), shuffled(40, seed=2) * 2
    gone = torch.tensor([3, 17, 4, 39, 3])  # one of them twice
    kept = torch.tensor([row for row in range(40) if row not in gone])
    index = filled(make, vectors, item_ids)
    index.distances(queries)
    index.remove(item_ids[gone])
    assert_same_search(index, filled(make, vectors[kept], item_ids[kept]), queries)
    index.remove(torch.empty(0, dtype=torch.int64))
    index.add(vectors[gone[:4]], item_ids[gone[:4]])
    assert_same_search(index, filled(make, vectors, item_ids), queries)


@contract
def test_removing_unknown_items_is_refused_and_changes_nothing(make: MakeIndex) -> None:
    index = filled(make, draw(5, DIM), torch.arange(5) * 2)
    for unknown in (3, 9, -1):
        with pytest.raises(ValueError, match=f"id {unknown} is not there"):
            index.remove(torch.tensor([2, unknown]))
    assert_same_search(index, filled(make, draw(5, DIM), torch.arange(5) * 2), draw(2, DIM, seed=1))


@contract
def test_merged_shards_are_one_index(make: MakeIndex) -> None:
    vectors, queries, item_ids = draw(40, DIM), draw(4, DIM, seed=5), shuffled(40, seed=2)
    index, second, third = (
        filled(make, vectors[part], item_ids[part]) for part in (slice(0, 13), slice(13, 14), slice(14, 40))
    )
    before = third.search(queries)
    for other in (second, third, make()):
        index.merge(other)
    assert_same_search(index, filled(make, vectors, item_ids), queries)
    assert torch.equal(third.search(queries).item_ids, before.item_ids)
    empty = make()
    empty.merge(index)
    assert_same_search(empty, index, queries)


@contract
def test_merging_what_shares_an_id_is_refused_and_changes_nothing(make: MakeIndex) -> None:
    index, other = filled(make, draw(5, DIM)), filled(make, draw(2, DIM), torch.tensor([9, 4]))
    with pytest.raises(ValueError, match="id 4 is there twice"):
        index.merge(other)
    assert_same_search(index, filled(make, draw(5, DIM)), draw(2, DIM, seed=1))


@contract
def test_a_loaded_index_is_the_saved_one(make: MakeIndex, tmp_path: Path) -> None:
    vectors, queries, item_ids = draw(40, DIM), draw(4, DIM, seed=5), shuffled(40, seed=2)
    index = filled(make, vectors, item_ids)
    index.save(tmp_path / "deep" / "index")
    loaded = type(index).load(tmp_path / "deep" / "index")
    assert type(loaded) is type(index)
    assert_same_search(loaded, index, queries)


@contract
def test_a_loaded_index_changes_in_memory_only(make: MakeIndex, tmp_path: Path) -> None:
    vectors, queries = draw(40, DIM), draw(4, DIM, seed=5)
    index = filled(make, vectors[:30])
    index.save(tmp_path / "index")
    for order in (torch.arange(10), shuffled(10)):
        loaded = type(index).load(tmp_path / "index")
        loaded.add(vectors[30:][order], 30 + order)
        assert_same_search(loaded, filled(make, vectors), queries)
    loaded = type(index).load(tmp_path / "index")
    loaded.remove(torch.arange(20, 30))
    assert_same_search(loaded, filled(make, vectors[:20]), queries)
    # merging files, and writing over the one that is mapped
    loaded, shard = type(index).load(tmp_path / "index"), filled(make, vectors[30:], torch.arange(30, 40))
    shard.save(tmp_path / "shard")
    loaded.merge(type(index).load(tmp_path / "shard"))
    assert_same_search(type(index).load(tmp_path / "index"), index, queries)
    mapped = type(index).load(tmp_path / "index")
    loaded.save(tmp_path / "index")
    assert_same_search(mapped, index, queries)
    assert_same_search(type(index).load(tmp_path / "index"), filled(make, vectors), queries)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "shard"]


@contract
def test_an_emptied_index_is_saved_too(make: MakeIndex, tmp_path: Path) -> None:
    index = filled(make, draw(5, DIM))
    index.remove(torch.arange(5))
    index.save(tmp_path / "index")
    loaded = type(index).load(tmp_path / "index")
    assert len(loaded) == 0
    loaded.add(draw(5, DIM), torch.arange(5))
    assert_same_search(loaded, filled(make, draw(5, DIM)), draw(2, DIM, seed=1))


@contract
def test_queries_of_any_precision_are_taken(make: MakeIndex) -> None:
    index, queries = filled(make, draw(20, DIM).double()), draw(3, DIM, seed=1)
    assert torch.equal(index.search(queries.double()).item_ids, index.search(queries).item_ids)
    torch.testing.assert_close(index.distances(queries.double()).float(), index.distances(queries))


@contract
def test_vectors_with_a_gradient_are_taken_and_left_alone(make: MakeIndex) -> None:
    vectors = draw(20, DIM).requires_grad_()
    index = filled(make, vectors)
    found = index.search(vectors).distances, index.distances(vectors.detach())
    assert not any(distances.requires_grad for distances in found)


@contract
def test_bytes_per_item_are_those_of_the_file(make: MakeIndex, tmp_path: Path) -> None:
    sizes = []
    for count in (100, 300):
        filled(make, draw(count, DIM)).save(tmp_path / str(count))
        sizes.append(sum(path.stat().st_size for path in (tmp_path / str(count)).iterdir()))
    assert (sizes[1] - sizes[0]) / 200 == pytest.approx(filled(make, draw(3, DIM)).bytes_per_item, abs=1)


def test_a_coder_gets_the_index_of_its_distance() -> None:
    hashed, quantized = exhaustive_index(bit_hash()), exhaustive_index(product_quantizer())
    assert isinstance(hashed, HammingIndex)
    assert hashed.coder is bit_hash()
    assert isinstance(quantized, AsymmetricIndex)
    assert quantized.quantizer is product_quantizer()


@pytest.mark.usefixtures("unchecked_types")
def test_what_is_no_coder_gets_no_index() -> None:
    with pytest.raises(TypeError, match="Expected a BinaryHash or a Quantizer; got Linear"):
        exhaustive_index(torch.nn.Linear(2, 2))  # type: ignore[arg-type]


@contract
def test_ids_need_not_fit_32_bits(make: MakeIndex) -> None:
    item_ids = torch.tensor([2**62, 5, 2**40])
    index = filled(make, draw(3, DIM), item_ids)
    assert index.search(draw(3, DIM)).item_ids[:, 0].tolist() == item_ids.tolist() or not isinstance(index, CellIndex)
    assert np.all(index.item_ids.numpy() == [5, 2**40, 2**62])
