"""The talk's table of complexity, at sizes of seconds."""

import dataclasses
import math

import pytest
from torch import Tensor

from experiments.papers.jati2020.clustered_vectors import clustered_vectors
from experiments.papers.jati2020.complexity import ComplexityMeasurement, draw_complexity, measure_complexity
from lightning_modules.networks import EmbeddingMlp
from retrieval.index import ExactIndex


def test_complexity_follows_the_formulas() -> None:
    found = measure_complexity([300, 600], [16, 32], num_bits=16, num_codewords=16, vq_bits=6, seconds=0.0)
    assert len(found) == 2 * 2 * 4
    cost = {(row.method, row.num_items, row.dim): row for row in found}
    assert cost["Euclidean", 600, 32].derived_operations == 600 * 32
    assert cost["VQ", 600, 32].derived_operations == 2**6 * 32 + 600
    assert cost["PQ", 600, 32].derived_operations == 600 * 4 + 16 * 32
    assert cost["Euclidean", 300, 16].item_bytes == 16 * 4
    assert cost["VQ", 300, 16].item_bytes == 1
    assert cost["PQ", 300, 16].item_bytes == cost["DQN", 300, 32].item_bytes == 2
    assert cost["PQ", 300, 16].codebook_bytes == 16 * 16 * 4
    assert cost["DQN", 300, 16].codebook_bytes > cost["PQ", 300, 16].codebook_bytes
    assert [cost[method, 300, 16].effective_codewords for method in ("Euclidean", "VQ", "PQ", "DQN")] == [
        math.inf, 2**6, 2**16, 2**16,
    ]  # fmt: skip
    assert all(row.query_milliseconds > 0 for row in found)


def test_complexity_holds_one_chunk_beside_the_items(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[str, list[int]] = {"drawn": [], "added": [], "embedded": []}
    add, embed = ExactIndex.add, EmbeddingMlp.forward

    def count_drawn(num_vectors: int, dim: int, seed: int) -> Tensor:
        sizes["drawn"].append(num_vectors)
        return clustered_vectors(num_vectors, dim, seed=seed)

    def count_added(index: ExactIndex, vectors: Tensor, item_ids: Tensor) -> None:
        sizes["added"].append(len(vectors))
        add(index, vectors, item_ids)

    def count_embedded(network: EmbeddingMlp, feature: Tensor) -> Tensor:
        sizes["embedded"].append(len(feature))
        return embed(network, feature)

    monkeypatch.setattr("experiments.papers.jati2020.complexity.clustered_vectors", count_drawn)
    monkeypatch.setattr(ExactIndex, "add", count_added)
    monkeypatch.setattr(EmbeddingMlp, "forward", count_embedded)
    found = measure_complexity([25_000], [4], num_bits=8, num_codewords=4, vq_bits=4, seconds=0.0)
    assert [row.num_items for row in found] == [25_000] * 4
    assert sizes["added"] == [10_000, 10_000, 5000]
    assert all(max(each) == 10_000 for each in sizes.values())


def test_complexity_needs_an_item_a_codeword() -> None:
    with pytest.raises(ValueError, match="at least 4096 items, to fit as many codewords; got 4095"):
        measure_complexity([4095])


def costs() -> list[ComplexityMeasurement]:
    row = ComplexityMeasurement("PQ", 100, 16, 64, 2.0**64, 1, 8.0, 0.5, 10)
    return [
        dataclasses.replace(row, method=method, num_items=num_items, dim=dim, query_milliseconds=num_items / dim)
        for dim in (16, 32)
        for num_items in (1000, 100)
        for method in ("PQ", "DQN")
    ]


def test_complexity_is_drawn_with_a_line_a_method_and_dimension() -> None:
    (axes,) = draw_complexity(costs()).axes
    lines = {str(line.get_label()): line.get_xydata().tolist() for line in axes.get_lines()}  # type: ignore[union-attr]
    assert set(lines) == {"PQ, 16 dimensions", "PQ, 32 dimensions", "DQN, 16 dimensions", "DQN, 32 dimensions"}
    assert lines["DQN, 16 dimensions"] == [[100, 6.25], [1000, 62.5]]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
