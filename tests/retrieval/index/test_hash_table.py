"""A hash table against buckets written as a dictionary, and against exact search."""

from collections import defaultdict

import numpy as np
import pytest
import torch
from torch import Tensor

from retrieval.codes import ProductQuantizer
from retrieval.index import Buckets, BudgetProbing, FloatRows, HashTable, Probing, ProductRows, VectorRows, WidthProbing
from retrieval.index import hash_table as hash_table_module
from tests.draws import draw
from tests.retrieval.index.makers import DIM, bit_hash, product_quantizer, rotated_quantizer, unit

NUM_ITEMS, EVERY_CODE = 80, BudgetProbing(1 << 12)
ROWS = ["float32", "float16", "product", "rotated"]


def make_rows(name: str) -> VectorRows:
    if name == "product":
        return ProductRows(product_quantizer())
    if name == "rotated":  # and filled up
        return ProductRows(rotated_quantizer())
    return FloatRows(DIM, "float16" if name == "float16" else "float32")


def stored(name: str, vectors: Tensor) -> Tensor:
    """Return what is compared with queries."""
    if name in ("product", "rotated"):
        quantizer: ProductQuantizer = product_quantizer() if name == "product" else rotated_quantizer()
        return quantizer.decode(quantizer.encode(vectors))
    return vectors.half().float() if name == "float16" else vectors


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("placing", [BudgetProbing(1), WidthProbing(0.5)])
def test_with_all_buckets_probed_a_table_is_exact_search(name: str, placing: Probing) -> None:
    vectors, queries = unit(NUM_ITEMS, DIM), unit(15, DIM, seed=1)
    vectors[40:50] = vectors[:10]  # ties
    table = HashTable.build(bit_hash(), make_rows(name), vectors, placing)
    found = table.search(queries, NUM_ITEMS + 3, EVERY_CODE)
    scores = queries @ stored(name, vectors).T
    torch.testing.assert_close(found.scores[:, :NUM_ITEMS], scores.sort(dim=1, descending=True).values)
    torch.testing.assert_close(scores.gather(1, found.item_ids[:, :NUM_ITEMS]), found.scores[:, :NUM_ITEMS])
    assert (found.item_ids[:, NUM_ITEMS:] == -1).all()
    assert torch.isneginf(found.scores[:, NUM_ITEMS:]).all()
    assert found.num_evaluated.tolist() == [NUM_ITEMS] * 15
    assert found.num_probed.tolist() == [1 << 12] * 15
    first = found.item_ids[:, :5]
    torch.testing.assert_close(table.search(queries, 5, EVERY_CODE).item_ids, first)
    is_tied = found.scores[:, 1:NUM_ITEMS] == found.scores[:, : NUM_ITEMS - 1]
    assert int(is_tied.sum()) >= 150
    assert (found.item_ids[:, 1:NUM_ITEMS] > found.item_ids[:, : NUM_ITEMS - 1])[is_tied].all()


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("probing", [WidthProbing(0.6), BudgetProbing(9)])
@pytest.mark.parametrize("chunk_entries", [10, 2_000_000])
def test_several_codes_an_item_agree_with_a_dictionary(
    name: str, probing: Probing, chunk_entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_table_module, "_CHUNK_ENTRIES", chunk_entries)
    vectors, queries = unit(NUM_ITEMS, DIM), unit(20, DIM, seed=1)
    items_z, queries_z = bit_hash().project(vectors), bit_hash().project(queries)
    buckets: dict[int, set[int]] = defaultdict(set)
    for code in range(1 << 12):
        bits = (code >> torch.arange(12)) & 1 == 1
        for item in ((bits == (items_z > 0)) | (items_z.abs() <= 0.5)).all(dim=1).nonzero()[:, 0].tolist():
            buckets[code].add(item)
    table = HashTable.build(bit_hash(), make_rows(name), vectors, WidthProbing(0.5))
    assert sum(map(len, buckets.values())) == len(table.buckets.positions) > NUM_ITEMS
    assert table.buckets.codes.tolist() == sorted(buckets)
    found = table.search(queries, 4, probing)
    probes = probing.probe(queries_z)
    scores = queries @ stored(name, vectors).T
    for row, codes in enumerate(probes.codes.split(probes.counts.tolist())):
        candidates = sorted(set[int]().union(*(buckets.get(code, set()) for code in codes.tolist())))
        best = sorted(candidates, key=lambda item: (-float(scores[row, item]), item))[:4]
        assert found.item_ids[row].tolist() == best + [-1] * (4 - len(best))
        assert int(found.num_evaluated[row]) == len(candidates)
    assert torch.equal(found.num_probed, probes.counts)
    assert 0 < int(found.num_evaluated.sum()) < 20 * NUM_ITEMS


def test_dead_items_are_neither_found_nor_counted() -> None:
    vectors, queries = unit(NUM_ITEMS, DIM), unit(5, DIM, seed=1)
    table = HashTable.build(bit_hash(), FloatRows(DIM, "float32"), vectors, WidthProbing(0.5))
    is_alive = np.arange(NUM_ITEMS) % 3 > 0
    probes = EVERY_CODE.probe(bit_hash().project(queries))
    found = table.search_probes(table.rows.prepare(queries), NUM_ITEMS, probes, is_alive)
    assert set(found.item_ids.unique().tolist()) == {-1, *np.flatnonzero(is_alive).tolist()}
    assert found.num_evaluated.tolist() == [int(is_alive.sum())] * 5


@pytest.mark.parametrize("placing", [BudgetProbing(1), WidthProbing(0.5)])
@pytest.mark.parametrize("num_items", [1, 12])
def test_items_beside_the_best_are_scored_too(placing: Probing, num_items: int) -> None:
    """Where vectors follow each other closely, against a loop."""
    steps = torch.linspace(0, 3, NUM_ITEMS)[:, None]
    vectors = torch.nn.functional.normalize(torch.cat([steps.sin(), steps.cos(), 0.1 * draw(NUM_ITEMS, DIM - 2)], 1))
    queries = torch.nn.functional.normalize(vectors[::8] + 0.2 * draw(10, DIM, seed=1), dim=1)
    table, probing = HashTable.build(bit_hash(), FloatRows(DIM, "float32"), vectors, placing), BudgetProbing(2)
    is_alive, scores = np.arange(NUM_ITEMS) % 7 > 0, queries @ vectors.T
    probes = probing.probe(bit_hash().project(queries))
    for alive in (None, is_alive):
        seeds = table.search_probes(table.rows.prepare(queries), 12, probes, alive).item_ids
        found = table.search_probes(table.rows.prepare(queries), num_items, probes, alive, reach=2)
        added = 0
        for row in range(len(queries)):
            met = [item for item in seeds[row].tolist() if item >= 0]
            beside = {item + step for item in met[:8] for step in range(-2, 3)} & set(range(NUM_ITEMS))
            beside = {item for item in beside if alive is None or alive[item]}
            added += len(beside - set(met))
            best = sorted({*met, *beside}, key=lambda item: (-float(scores[row, item]), item))[:num_items]
            assert found.item_ids[row].tolist() == best + [-1] * (num_items - len(best))
        assert added > 10
    plain = table.search(queries, 1, probing)
    reached = table.search(queries, 1, probing, reach=2)
    assert (reached.scores >= plain.scores).all()
    assert (reached.num_evaluated > plain.num_evaluated).any()


def test_empty_buckets_cost_nothing() -> None:
    codes = torch.tensor([5, (1 << 24) - 1, 5, 0])
    buckets = Buckets.from_pairs(codes.numpy(), np.arange(4), 4)
    assert buckets.codes.tolist() == [0, 5, (1 << 24) - 1]
    assert buckets.starts.tolist() == [0, 1, 3, 4]
    assert buckets.positions.tolist() == [3, 0, 2, 1]
    assert not buckets.has_repeats


@pytest.mark.parametrize("name", ROWS)
def test_a_table_without_items_finds_none(name: str) -> None:
    table = HashTable.build(bit_hash(), make_rows(name), unit(NUM_ITEMS, DIM)[:0])
    found = table.search(unit(3, DIM), 2, BudgetProbing(3))
    assert found.item_ids.tolist() == [[-1, -1]] * 3
    assert found.num_evaluated.tolist() == [0] * 3


@pytest.mark.usefixtures("unchecked_types")
def test_wrong_arguments_are_refused() -> None:
    table = HashTable.build(bit_hash(), FloatRows(DIM, "float32"), unit(NUM_ITEMS, DIM))
    with pytest.raises(ValueError, match="at least one item to find and a reach of at least 0; got 0 and 0"):
        table.search(unit(3, DIM), 0, BudgetProbing(3))
    with pytest.raises(ValueError, match="got 1 and -1"):
        table.search(unit(3, DIM), 1, BudgetProbing(3), reach=-1)
    with pytest.raises(ValueError, match=f"vectors of {DIM} dimensions; got {DIM + 1}"):
        table.search(unit(3, DIM + 1), 1, BudgetProbing(3))
    with pytest.raises(ValueError, match="Expected float32 or float16; got 'int8'"):
        FloatRows(DIM, "int8")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="not fitted"):
        ProductRows(ProductQuantizer(DIM, 12, 16))
    with pytest.raises(ValueError, match="at most 2147483647 items"):
        Buckets.from_pairs(np.empty(0), np.empty(0), 2**31)
