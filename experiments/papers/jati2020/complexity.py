"""The complexity table of the DQN talk, measured: what a query costs as items and dimensions grow.

Jati and Emmanouilidou, slides of "Supervised deep hashing for efficient audio event retrieval" (ICASSP 2020), derive
for N items of D dimensions, M books of K* codewords and a vector quantizer of K codewords: Euclidean O(N D), VQ O(K D),
PQ O(N M + K* D), DQN O(N M + K* D + DNN(x)). Their VQ of as many bits as PQ, K = 2^64, is intractable; ours has 12. Its
items have to be ranked too, so N lookups are counted.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from rich.console import Console
from torch import Tensor

from experiments.compare.study_report import Report, write_report
from experiments.compare.study_table import StudyTable, measurement_table
from experiments.papers.jati2020.clustered_vectors import clustered_vectors
from lightning_modules.networks import EmbeddingMlp
from retrieval.codes import ProductQuantizer, VectorQuantizer
from retrieval.index import AsymmetricIndex, ExactIndex, Index

# Items drawn at once, and vectors to fit on; so many of 1000 dimensions take 40 MB.
_CHUNK_ITEMS = 10_000
_NUM_NEAREST = 10
_QUERY_SEED, _FIRST_SEED = 2, 3
_HEADINGS = {
    "num_items": "items", "num_bits": "bits", "effective_codewords": "codewords", "codebook_bytes": "codebook bytes",
    "item_bytes": "bytes an item", "query_milliseconds": "ms a query", "derived_operations": "operations derived",
}  # fmt: skip


@dataclass(frozen=True)
class ComplexityMeasurement:
    """What one method costs at one size.

    Attributes:
        method: Euclidean, VQ, PQ or DQN.
        num_items: N.
        dim: D.
        num_bits: Length of a code; None where vectors are kept.
        effective_codewords: Vectors that a code can stand for; infinite where vectors are kept.
        codebook_bytes: Memory of codebooks and, for DQN, of the network.
        item_bytes: Memory of one item's code or vector, without its id.
        query_milliseconds: Median time of one query's search, its embedding included.
        derived_operations: The slides' formula, in multiply-adds and lookups.
    """

    method: str
    num_items: int
    dim: int
    num_bits: int | None
    effective_codewords: float
    codebook_bytes: int
    item_bytes: float
    query_milliseconds: float
    derived_operations: int


def measure_complexity(
    sizes: Sequence[int] = (10_000, 100_000),
    dims: Sequence[int] = (128, 512),
    num_bits: int = 64,
    num_codewords: int = 256,
    vq_bits: int = 12,
    seconds: float = 1.0,
    report: Callable[[str], None] = lambda message: None,
) -> list[ComplexityMeasurement]:
    """Measure Euclidean search, VQ, PQ and DQN at every size and dimension.

    Cost does not depend on what is learned: codebooks are fitted briefly, and the network is as it is initialised.

    Args:
        sizes: Numbers of items, N; at least as many as VQ has codewords.
        dims: Sizes of the vectors, D.
        num_bits: Length of the codes of PQ and DQN.
        num_codewords: Codewords a book of PQ and DQN, K*.
        vq_bits: Length of VQ's codes.
        seconds: Time to spend on each measurement.
        report: Told what is measured next.

    Raises:
        ValueError: If there are fewer items than codewords.
    """
    least = max(2**vq_bits, num_codewords)
    if min(sizes) < least:
        raise ValueError(f"Expected at least {least} items, to fit as many codewords; got {min(sizes)}. Take more.")
    found = []
    for dim in dims:
        for num_items in sizes:
            items, queries = _Items(num_items, dim), clustered_vectors(64, dim, seed=_QUERY_SEED)
            for method in (_euclidean, _vector_quantized, _product_quantized, _deep_quantized):
                report(f"{num_items:,} items of {dim} dimensions, {method.__name__.strip('_').replace('_', ' ')}")
                found.append(method(items, queries, seconds, num_bits, num_codewords, vq_bits))
    return found


def report_complexity(preset: str, folder: Path) -> Report:
    """Measure as much as a preset asks for, and write the slides' table."""
    sizes = {"smoke": (1000,), "quick": (10_000, 100_000)}.get(preset, (10_000, 100_000, 1_000_000))
    dims = (32,) if preset == "smoke" else (128, 1000)
    seconds, vq_bits = (0.1, 8) if preset == "smoke" else (1.0, 12)
    with Console(stderr=True).status("measuring") as status:
        measured = measure_complexity(sizes, dims, vq_bits=vq_bits, seconds=seconds, report=status.update)
    table = complexity_table(measured)
    pictures = write_report(folder, table.title, [table], {"complexity": draw_complexity(measured)})
    return Report(folder, "made-up vectors", [table], pictures)


def complexity_table(measured: Sequence[ComplexityMeasurement]) -> StudyTable:
    """Lay the measurements out, a line a method, size and dimension."""
    title = "Cost of a query and of an item, measured; the slides' formula beside it"
    return measurement_table("complexity", title, measured, _HEADINGS)


def draw_complexity(measurements: Sequence[ComplexityMeasurement]) -> Figure:
    """Draw milliseconds a query against items, a colour a method, a dash a dimension; low and flat is better."""
    methods = list(dict.fromkeys(measurement.method for measurement in measurements))
    dims = sorted({measurement.dim for measurement in measurements})
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for method in methods:
        for dim in dims:
            points = [point for point in measurements if (point.method, point.dim) == (method, dim)]
            points.sort(key=lambda point: point.num_items)
            axes.plot(
                [point.num_items for point in points],
                [point.query_milliseconds for point in points],
                marker="o",
                color=f"C{methods.index(method)}",
                linestyle=("-", "--", ":", "-.")[dims.index(dim) % 4],
                label=f"{method}, {dim} dimensions",
            )
    axes.set(xscale="log", yscale="log", xlabel="items", ylabel="milliseconds a query")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


@dataclass(frozen=True)
class _Items:
    """Vectors that are drawn when they are asked for, a chunk at a time, and the same ones each time.

    A million vectors of 1000 dimensions take 4 GB; so only Euclidean search, which has to, keeps them.

    Attributes:
        num_items: N.
        dim: D.
    """

    num_items: int
    dim: int

    def chunks(self) -> Iterator[Float[Tensor, "item feature"]]:
        """Draw all."""
        for start in range(0, self.num_items, _CHUNK_ITEMS):
            yield clustered_vectors(min(_CHUNK_ITEMS, self.num_items - start), self.dim, seed=_FIRST_SEED + start)


def _euclidean(
    items: _Items, queries: Tensor, seconds: float, num_bits: int, num_codewords: int, vq_bits: int
) -> ComplexityMeasurement:
    index = _filled(ExactIndex("euclidean"), items.chunks())
    num_items, dim = items.num_items, items.dim
    time_ms = _milliseconds(index.search, queries, seconds)
    return ComplexityMeasurement(
        "Euclidean", num_items, dim, None, float("inf"), 0, 4.0 * dim, time_ms, num_items * dim
    )


def _vector_quantized(
    items: _Items, queries: Tensor, seconds: float, num_bits: int, num_codewords: int, vq_bits: int
) -> ComplexityMeasurement:
    num_items, dim = items.num_items, items.dim
    quantizer = VectorQuantizer(dim, vq_bits, num_iterations=1)
    quantizer.fit(next(items.chunks()))
    index = _filled(AsymmetricIndex(quantizer), items.chunks())
    time_ms = _milliseconds(index.search, queries, seconds)
    operations = 2**vq_bits * dim + num_items
    codebook_bytes = quantizer.codebooks.nbytes
    return ComplexityMeasurement(
        "VQ", num_items, dim, vq_bits, 2.0**vq_bits, codebook_bytes, index.bytes_per_item - 8, time_ms, operations
    )


def _product_quantized(
    items: _Items, queries: Tensor, seconds: float, num_bits: int, num_codewords: int, vq_bits: int
) -> ComplexityMeasurement:
    index, quantizer = _product_index(items.chunks, items.dim, num_bits, num_codewords)
    num_items, dim = items.num_items, items.dim
    time_ms = _milliseconds(index.search, queries, seconds)
    operations = num_items * quantizer.num_books + num_codewords * dim
    codebook_bytes = quantizer.codebooks.nbytes
    return ComplexityMeasurement(
        "PQ", num_items, dim, num_bits, 2.0**num_bits, codebook_bytes, index.bytes_per_item - 8, time_ms, operations
    )


@torch.no_grad()
def _deep_quantized(
    items: _Items, queries: Tensor, seconds: float, num_bits: int, num_codewords: int, vq_bits: int
) -> ComplexityMeasurement:
    """Embed by the paper's network into 2 B dimensions, then search as PQ does."""
    num_items, dim = items.num_items, items.dim
    embedding_dim = 2 * num_bits
    network = EmbeddingMlp(dim, embedding_dim).eval()

    def embeddings() -> Iterator[Tensor]:
        return map(network, items.chunks())

    index, quantizer = _product_index(embeddings, embedding_dim, num_bits, num_codewords)
    weights = sum(parameter.numel() for parameter in network.parameters())
    time_ms = _milliseconds(lambda query, num_items: index.search(network(query), num_items), queries, seconds)
    operations = num_items * quantizer.num_books + num_codewords * embedding_dim + weights
    memory = quantizer.codebooks.nbytes + 4 * weights
    return ComplexityMeasurement(
        "DQN", num_items, dim, num_bits, 2.0**num_bits, memory, index.bytes_per_item - 8, time_ms, operations
    )


def _product_index(
    chunks: Callable[[], Iterator[Tensor]], dim: int, num_bits: int, num_codewords: int
) -> tuple[Index, ProductQuantizer]:
    quantizer = ProductQuantizer(dim, num_bits, num_codewords, num_iterations=1)
    quantizer.fit(next(chunks()))
    return _filled(AsymmetricIndex(quantizer), chunks()), quantizer


def _filled(index: Index, chunks: Iterator[Tensor]) -> Index:
    for chunk in chunks:
        index.add(chunk, torch.arange(len(index), len(index) + len(chunk)))
    return index


def _milliseconds(search: Callable[[Tensor, int], object], queries: Tensor, seconds: float) -> float:
    """Return the median time of one query, in turn over all of them."""
    times: list[float] = []
    stop = time.perf_counter() + seconds
    while len(times) < 5 or (time.perf_counter() < stop and len(times) < 2000):
        query = queries[len(times) % len(queries)][None]
        started = time.perf_counter()
        search(query, _NUM_NEAREST)
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)
