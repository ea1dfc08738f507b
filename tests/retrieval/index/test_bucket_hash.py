"""Hashes that have no margins, in a table and in an index on disk."""

from pathlib import Path

import pytest
import torch

from retrieval.codes import BalancedResidualHash, BucketHash, CrossPolytopeHash, bucket_bits, bucket_codes
from retrieval.index import (
    BudgetProbing,
    FingerprintIndex,
    FingerprintSettings,
    FloatRows,
    HashTable,
    IndexFileError,
    WidthProbing,
    num_bits_of,
    probe_buckets,
)
from tests.retrieval.codes.makers import fitted_on
from tests.retrieval.index.makers import DIM, bit_hash, unit

NUM_ITEMS, NUM_BITS = 200, 8


def balanced(seed: int = 0) -> BalancedResidualHash:
    return fitted_on(unit(NUM_ITEMS, DIM), BalancedResidualHash(DIM, NUM_BITS, 4, seed=seed))


@pytest.mark.parametrize("coder", [balanced(), fitted_on(unit(NUM_ITEMS, DIM), CrossPolytopeHash(DIM, NUM_BITS, 4))])
def test_a_table_scores_the_items_of_the_cheapest_buckets(coder: BucketHash) -> None:
    vectors, queries = unit(NUM_ITEMS, DIM), unit(15, DIM, seed=1)
    table = HashTable.build(coder, FloatRows(DIM, "float32"), vectors)
    assert num_bits_of(coder, DIM) == NUM_BITS
    every = coder.costs(queries, bucket_bits(torch.arange(1 << NUM_BITS), NUM_BITS))
    codes = bucket_codes(coder.encode(vectors))
    for num_probes in (1, 7, 1 << NUM_BITS):
        found = table.search(queries, 3, BudgetProbing(num_probes))
        limit = every.sort(dim=1).values[:, num_probes - 1]
        is_visited = every[:, codes] <= limit[:, None] + 1e-6
        assert found.num_evaluated.tolist() == is_visited.sum(dim=1).tolist()
        scores = torch.where(is_visited, queries @ vectors.T, -torch.inf)
        torch.testing.assert_close(found.scores, scores.sort(dim=1, descending=True).values[:, :3])


def test_more_probes_than_buckets_visit_each_once() -> None:
    probes = probe_buckets(balanced(), unit(3, DIM, seed=1), BudgetProbing(1000))
    assert probes.counts.tolist() == [1 << NUM_BITS] * 3
    assert torch.equal(probes.codes[: 1 << NUM_BITS].sort().values, torch.arange(1 << NUM_BITS))


def test_widths_need_margins() -> None:
    with pytest.raises(TypeError, match="BalancedResidualHash has no margins to compare with a width"):
        probe_buckets(balanced(), unit(3, DIM), WidthProbing(0.5))
    assert num_bits_of(bit_hash(), DIM) == probe_buckets(bit_hash(), unit(1, DIM), BudgetProbing(1 << 12)).counts.log2()


def test_an_index_knows_the_hash_it_was_built_with(tmp_path: Path) -> None:
    index = FingerprintIndex.create(tmp_path / "index", balanced(), FingerprintSettings(DIM))
    vectors = unit(60, DIM)
    index.add([("one", vectors[:20]), ("two", vectors[20:])])
    opened = FingerprintIndex.open(tmp_path / "index", balanced())
    found = opened.search(vectors, 1, BudgetProbing(1))
    assert found.item_ids[:, 0].tolist() == list(range(60))
    with pytest.raises(IndexFileError, match="expected the hash that the index was built with"):
        FingerprintIndex.open(tmp_path / "index", balanced(seed=1))
