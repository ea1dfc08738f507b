"""The search benchmark at sizes of seconds: what it measures, and what it writes."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.search import main
from experiments.search_benchmark import clustered_vectors, compare_with_faiss, exact_nearest, run_search_benchmark
from experiments.search_complexity import measure_complexity
from retrieval.index import ExactIndex


@pytest.fixture(autouse=True)
def keep_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_every_index_is_measured_against_exact_search() -> None:
    told: list[str] = []
    found = run_search_benchmark([600], dim=16, num_bits=16, num_queries=100, seconds=0.0, report=told.append)
    assert [name.partition(", ")[2] for name in told] == list(dict.fromkeys(row.method for row in found))
    by_method = {row.method: row for row in found}
    assert set(by_method) == {
        "exact", "Hamming, LSH", "Hamming, ITQ", "PQ", "OPQ", "inverted file", "inverted multi-index",
    }  # fmt: skip
    assert by_method["exact"].recall_at_1 == 1
    assert by_method["exact"].bytes_per_item == 16 * 4 + 8
    assert by_method["PQ"].bytes_per_item == 2 + 8
    for row in found:
        assert row.num_items == 600
        assert 0 <= row.recall_at_1 <= row.recall_at_10 <= 1
        assert min(row.single_per_second, row.batch_per_second, row.single_ratio, row.batch_ratio) > 0
    exhaustive = [row for row in found if row.num_probes is None]
    assert all(row.agreement == 1 for row in exhaustive)
    for method in ("inverted file", "inverted multi-index"):
        recalls = [row.recall_at_10 for row in found if row.method == method]
        assert len(recalls) > 1
        assert recalls[-1] > recalls[0]


def test_vectors_of_one_distribution_share_their_centres() -> None:
    first, second = clustered_vectors(300, 8, num_clusters=5, seed=1), clustered_vectors(300, 8, num_clusters=5, seed=2)
    other = clustered_vectors(300, 8, num_clusters=5, seed=2, center_seed=1)
    assert torch.equal(first, clustered_vectors(300, 8, num_clusters=5, seed=1))
    near, far = (torch.cdist(vectors, first).min(dim=1).values.mean() for vectors in (second, other))
    assert float(near) < 0.9 * float(far)
    assert torch.equal(exact_nearest(first, first), torch.arange(300))


def test_time_is_a_median_of_turns() -> None:
    index = ExactIndex("euclidean")
    index.add(clustered_vectors(100, 8), torch.arange(100))
    ours, ratio = compare_with_faiss(index, clustered_vectors(3, 8, seed=1), seconds=0.0)
    assert 0 < ours < 1
    assert 0 < ratio < 1000


@pytest.mark.parametrize(("sizes", "num_queries"), [([255], 100), ([600], 99)])
def test_too_little_to_measure_is_refused(sizes: list[int], num_queries: int) -> None:
    with pytest.raises(ValueError, match=f"at least 100 queries and 256 items; got {num_queries} and {sizes[0]}"):
        run_search_benchmark(sizes, num_queries=num_queries)


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


def test_complexity_needs_an_item_a_codeword() -> None:
    with pytest.raises(ValueError, match="at least 4096 items, to fit as many codewords; got 4095"):
        measure_complexity([4095])


def test_the_script_prints_and_writes_what_it_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--seconds", "0", "--bits", "16", "--output", str(tmp_path / "out")]
    main(["--sizes", "300", "600", "--dim", "16", *common])
    main(["--sizes", "4096", "--dim", "16", "--complexity", *common])
    assert "search.csv" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "complexity.csv", "complexity.md", "search.csv", "search.md", "search.png", "search.svg",
    ]  # fmt: skip
    with (tmp_path / "out" / "search.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["num_items"] for row in rows} == {"300", "600"}
    assert float(rows[0]["recall_at_1"]) == 1
    markdown = (tmp_path / "out" / "search.md").read_text().splitlines()
    assert markdown[0].startswith("| method | items | probes | recall @1 |")
    assert len(markdown) == len(rows) + 2
    assert len((tmp_path / "out" / "complexity.md").read_text().splitlines()) == 4 + 2
