"""Ranges of rows are scored where they lie."""

from pathlib import Path

import numpy as np
import pytest
import torch

from retrieval.index.row_scan import Ranges, scan_rows
from retrieval.index.vector_rows import FloatRows
from tests.draws import draw
from tests.retrieval.index.makers import DIM

NUM_ROWS = 60


def random_ranges(num_queries: int, seed: int) -> Ranges:
    """Disjoint ranges of each query, empty ones and queries without any among them."""
    random = np.random.default_rng(seed)
    starts, lengths, counts = [], [], []
    for query in range(num_queries):
        cuts = np.sort(random.choice(NUM_ROWS + 1, size=2 * (query % 4), replace=False)).reshape(-1, 2)
        starts += cuts[:, 0].tolist()
        lengths += [0 if each % 5 == 4 else int(end - start) for each, (start, end) in enumerate(cuts)]
        counts.append(len(cuts))
    return Ranges(np.array(starts), np.array(lengths), np.array(counts))


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("num_items", [1, 4, NUM_ROWS + 2])
def test_a_look_at_every_row_finds_the_same(precision: str, num_items: int, tmp_path: Path) -> None:
    rows = FloatRows(DIM, "float16" if precision == "float16" else "float32")
    vectors = rows.encode(draw(NUM_ROWS, DIM))
    vectors[30:40] = vectors[:10]  # ties
    vectors.tofile(tmp_path / "vectors.bin")
    mapped = np.memmap(tmp_path / "vectors.bin", rows.dtype, "c", shape=vectors.shape)
    names = np.random.default_rng(0).permutation(NUM_ROWS).astype(np.int32) + 100
    queries, ranges = draw(9, DIM, seed=1).numpy(), random_ranges(9, seed=2)
    scores, found = scan_rows(rows, np.asarray(mapped), names, queries, ranges, num_items)
    every = queries @ vectors.astype(np.float32).T
    for query, number in enumerate(np.cumsum(ranges.counts) - ranges.counts):
        own = slice(number, number + ranges.counts[query])
        visited = [
            row
            for start, length in zip(ranges.starts[own], ranges.lengths[own], strict=True)
            for row in range(start, start + length)
        ]
        assert ranges.num_rows[query] == len(visited)
        best = sorted(visited, key=lambda row: (-round(float(every[query, row]), 5), names[row]))[:num_items]
        assert found[query].tolist() == [int(names[row]) for row in best] + [-1] * (num_items - len(best))
        np.testing.assert_allclose(scores[query, : len(best)], every[query, best], rtol=1e-5, atol=1e-6)
        assert np.isneginf(scores[query, len(best) :]).all()
    np.testing.assert_array_equal(mapped, vectors)  # still mapped


def test_queries_of_a_part_keep_their_ranges() -> None:
    ranges = random_ranges(9, seed=2)
    parts = [ranges.of_queries(slice(start, start + 2)) for start in range(0, 9, 2)]
    assert np.concatenate([part.counts for part in parts]).tolist() == ranges.counts.tolist()
    assert np.concatenate([part.rows() for part in parts]).tolist() == ranges.rows().tolist()
    assert ranges.of_queries(slice(0, 9)) is ranges


def test_nothing_to_visit_finds_nothing() -> None:
    empty = np.empty(0, dtype=np.int64)
    ranges = Ranges(empty, empty, np.zeros(2, dtype=np.int64))
    rows = FloatRows(DIM, "float32")
    scores, found = scan_rows(rows, rows.encode(draw(3, DIM)), np.arange(3), torch.ones(2, DIM).numpy(), ranges, 2)
    assert found.tolist() == [[-1, -1]] * 2
    assert np.isneginf(scores).all()
