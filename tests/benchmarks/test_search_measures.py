"""The search benchmark at sizes of seconds: what it measures, and what it writes."""

import csv
import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.search import main
from benchmarks.search_measures import clustered_vectors, compare_with_faiss, exact_nearest, run_search_benchmark
from experiments.papers.jati2020.search_complexity import ComplexityMeasurement, measure_complexity
from experiments.papers.jati2020.search_report import draw_complexity, write_report
from lightning_modules.networks import EmbeddingMlp
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

    monkeypatch.setattr("experiments.papers.jati2020.search_complexity.clustered_vectors", count_drawn)
    monkeypatch.setattr(ExactIndex, "add", count_added)
    monkeypatch.setattr(EmbeddingMlp, "forward", count_embedded)
    found = measure_complexity([25_000], [4], num_bits=8, num_codewords=4, vq_bits=4, seconds=0.0)
    assert [row.num_items for row in found] == [25_000] * 4
    assert sizes["added"] == [10_000, 10_000, 5000]
    assert all(max(each) == 10_000 for each in sizes.values())


def test_vectors_do_not_depend_on_the_size_of_chunks() -> None:
    generator = torch.Generator().manual_seed(1)
    scale = torch.arange(1, 5).float() ** -0.5
    centers = torch.randn(7, 4, generator=torch.Generator().manual_seed(0)) * scale
    noise = torch.randn(21_000, 4, generator=generator) * (0.6 * scale)
    expected = noise + centers[torch.randint(7, (21_000,), generator=generator)]
    assert torch.equal(clustered_vectors(21_000, 4, num_clusters=7, seed=1), expected)


def test_complexity_needs_an_item_a_codeword() -> None:
    with pytest.raises(ValueError, match="at least 4096 items, to fit as many codewords; got 4095"):
        measure_complexity([4095])


def test_the_script_prints_and_writes_what_it_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--seconds", "0", "--bits", "16", "--output", str(tmp_path / "out")]
    main(["--sizes", "300", "600", "--dim", "16", *common])
    main(["--sizes", "4096", "--dim", "16", "--complexity", *common])
    assert "search.csv" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"{name}.{ending}" for name in ("complexity", "search") for ending in ("csv", "md", "png", "svg")
    ]
    with (tmp_path / "out" / "search.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["num_items"] for row in rows} == {"300", "600"}
    assert float(rows[0]["recall_at_1"]) == 1
    markdown = (tmp_path / "out" / "search.md").read_text().splitlines()
    assert markdown[0].startswith("| method | items | probes | recall @1 |")
    assert len(markdown) == len(rows) + 2
    assert len((tmp_path / "out" / "complexity.md").read_text().splitlines()) == 4 + 2


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


def test_a_report_replaces_another_only_when_it_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_report(costs(), tmp_path / "out", "complexity")
    assert [path.name for path in written] == [f"complexity.{ending}" for ending in ("csv", "md", "png", "svg")]
    assert sorted(written) == sorted((tmp_path / "out").iterdir())
    before = {path: path.read_bytes() for path in written}
    savefig = Figure.savefig

    def savefig_in_part(figure: Figure, *places: object, **options: object) -> None:
        savefig(figure, *places, **options)  # type: ignore[arg-type]
        raise OSError("No space left on device")

    monkeypatch.setattr(Figure, "savefig", savefig_in_part)
    with pytest.raises(OSError, match="No space left"):
        write_report(costs()[:1], tmp_path / "out", "complexity")
    assert {path.suffix for path in written if path.read_bytes() != before[path]} == {".csv", ".md"}
    assert all(path.name.startswith(".") for path in (tmp_path / "out").iterdir() if path not in before)


def test_a_table_is_written_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_report(costs(), tmp_path, "complexity")
    before = {path: path.read_bytes() for path in written}

    def write_in_part(path: Path, text: str, encoding: str) -> None:
        path.write_bytes(text[:9].encode(encoding))
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", write_in_part)
    with pytest.raises(OSError, match="No space left"):
        write_report(costs()[:1], tmp_path, "complexity")
    assert {path: path.read_bytes() for path in written} == before
