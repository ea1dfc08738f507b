"""The search benchmark at sizes of seconds: what it measures, and what it writes."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.search import main
from benchmarks.search_measures import compare_with_faiss, exact_nearest, run_search_benchmark
from experiments.papers.jati2020.clustered_vectors import clustered_vectors
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


def test_a_vector_is_nearest_to_itself() -> None:
    vectors = clustered_vectors(300, 8, num_clusters=5, seed=1)
    assert torch.equal(exact_nearest(vectors, vectors), torch.arange(300))


def test_time_is_a_median_of_turns() -> None:
    index = ExactIndex("euclidean")
    index.add(clustered_vectors(100, 8), torch.arange(100))
    ours, ratio = compare_with_faiss(index, clustered_vectors(3, 8, seed=1), seconds=0.0)
    assert 0 < ours < 1
    assert 0 < ratio < 1000


def test_ratios_are_taken_turn_by_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    index, now = ExactIndex("euclidean"), 0.0
    index.add(clustered_vectors(100, 8), torch.arange(100))

    def taking(seconds: list[float]) -> Callable[[object, int], None]:
        turns = iter([0.0, *seconds])  # the first search is not counted

        def search(queries: object, num_items: int) -> None:
            nonlocal now
            now += next(turns)

        return search

    monkeypatch.setattr("benchmarks.search_measures.time.perf_counter", lambda: now)
    monkeypatch.setattr(index, "search", taking([1.0, 2.0, 3.0, 4.0, 5.0]))
    monkeypatch.setattr(index.faiss_index, "search", taking([5.0, 1.0, 1.0, 1.0, 10.0]))
    ours, ratio = compare_with_faiss(index, clustered_vectors(3, 8, seed=1), seconds=0.0)
    assert ours == 3
    assert ratio == 2  # of 0.2, 2, 3, 4 and 0.5; the ratio of the medians is 3


@pytest.mark.parametrize(("sizes", "num_queries"), [([255], 100), ([600], 99)])
def test_too_little_to_measure_is_refused(sizes: list[int], num_queries: int) -> None:
    with pytest.raises(ValueError, match=f"at least 100 queries and 256 items; got {num_queries} and {sizes[0]}"):
        run_search_benchmark(sizes, num_queries=num_queries)


def test_the_script_prints_and_writes_what_it_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--seconds", "0", "--bits", "16", "--output", str(tmp_path / "out")]
    main(["--sizes", "300", "600", "--dim", "16", *common])
    main(["--sizes", "4096", "--dim", "16", "--complexity", *common])
    assert "| exact " in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *(f"complexity.{ending}" for ending in ("csv", "md", "png", "svg", "tex")),
        "report.md",
        *(f"search.{ending}" for ending in ("csv", "md", "png", "svg", "tex")),
    ]
    with (tmp_path / "out" / "search.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["num_items"] for row in rows} == {"300", "600"}
    assert float(rows[0]["recall_at_1"]) == 1
    markdown = (tmp_path / "out" / "search.md").read_text().splitlines()
    assert [cell.strip() for cell in markdown[2].split("|")][1:5] == ["method", "items", "probes", "recall @1"]
    assert sum(line.startswith("|") for line in markdown) == len(rows) + 2
    with (tmp_path / "out" / "complexity.csv").open(newline="") as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["Euclidean", "VQ", "PQ", "DQN"]
