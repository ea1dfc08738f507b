"""Searches that are compared are tuned to one recall, at the least effort."""

from collections.abc import Iterator

import faiss
import pytest
import torch

from benchmarks.fingerprint_rivals import BATCHES, compare_searches, default_hashes
from benchmarks.synthetic_fingerprints import clustered_queries
from retrieval.index import BudgetProbing, FloatRows, HashTable


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads(), faiss.omp_get_max_threads()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    yield
    torch.set_num_threads(threads[0])
    faiss.omp_set_num_threads(threads[1])


def test_searches_are_tuned_to_one_recall() -> None:
    vectors, queries = clustered_queries(2000, 100, 16)
    counted = torch.arange(100) % 4 > 0
    hashes = default_hashes(vectors, 6)
    found = compare_searches(vectors, queries, hashes, 0.8, 0.0, counted=counted)
    assert [row.method for row in found[:2]] == [
        "PCA signs, median thresholds, 6 bits, float16 table", "LSH, 6 bits, float16 table",
    ]  # fmt: skip
    assert found[2].method.startswith("faiss IVF-Flat, ")
    assert found[0].ratios == (1,) * len(BATCHES)
    for row in found:
        assert 0.8 <= row.recall <= 1
        assert 0 < row.evaluated_percent <= 100
        assert min(*row.per_second, *row.ratios) > 0
    exact = (queries @ vectors.T).argmax(dim=1)
    for row, (_, coder) in zip(found, hashes, strict=False):
        table = HashTable.build(coder, FloatRows(16, "float16"), vectors)
        reached = [
            float((table.search(queries, 1, BudgetProbing(count)).item_ids[:, 0] == exact)[counted].double().mean())
            for count in (row.num_probes, max(row.num_probes - 1, 1))
        ]
        assert reached[0] == row.recall
        assert reached[1] < 0.8 or row.num_probes == 1


def test_targets_can_be_given() -> None:
    vectors, queries = clustered_queries(400, 100, 16)
    unknown = torch.full((100,), -5)
    found = compare_searches(vectors, queries, default_hashes(vectors, 4)[:1], 0.9, 0.0, unknown, storage="float32")
    assert found[0].num_probes == 16
    assert found[0].recall == 0
    assert found[0].evaluated_percent == 100
    with pytest.raises(ValueError, match="at least 100 queries; got 99"):
        compare_searches(vectors, queries[:99], [])
