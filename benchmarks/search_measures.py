"""How well and how fast indexes search, beside the faiss indexes beneath them and beside exact search."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from experiments.papers.jati2020.clustered_vectors import clustered_vectors
from retrieval.codes import (
    Coder,
    IterativeQuantization,
    OptimizedProductQuantizer,
    ProductQuantizer,
    RandomHyperplaneHash,
)
from retrieval.index import CellIndex, ExactIndex, Index, InvertedIndex, InvertedMultiIndex, exhaustive_index

_TRAINING_VECTORS = 30_000
_BATCHES = (1, 100)
_NUM_NEAREST = 10


@dataclass(frozen=True)
class SearchMeasurement:
    """One index of one size.

    Attributes:
        method: Code and index.
        num_items: Items in it.
        num_probes: Cells that a query visits; None where search is exhaustive.
        recall_at_1: Share of queries whose exact nearest item comes first (Jegou et al., 2011).
        recall_at_10: Share of queries whose exact nearest item is among the first ten.
        single_per_second: Queries a second, one at a time.
        batch_per_second: Queries a second, a hundred at a time.
        single_ratio: Our time for one query over faiss's for the same one, already as faiss takes it.
        batch_ratio: The same for a hundred.
        agreement: Share of queries whose ten items are, in order, those of faiss.
        build_seconds: Time to fit, encode and add.
        bytes_per_item: Code and ids.
    """

    method: str
    num_items: int
    num_probes: int | None
    recall_at_1: float
    recall_at_10: float
    single_per_second: float
    batch_per_second: float
    single_ratio: float
    batch_ratio: float
    agreement: float
    build_seconds: float
    bytes_per_item: float


@dataclass(frozen=True)
class Contender:
    """An index to measure.

    Attributes:
        method: Its name.
        build: Makes and fills it, of vectors.
        probes: Cells to visit, one measurement each; None where search is exhaustive.
    """

    method: str
    build: Callable[[Tensor], Index]
    probes: tuple[int, ...] | None = None


def contenders(num_items: int, dim: int, num_bits: int) -> list[Contender]:
    """Return every index, with cells in number about the square root of the number of items."""
    num_lists = 2 ** max(3, round(num_items.bit_length() / 2))
    num_halves = 2 ** max(2, round(num_items.bit_length() / 3))
    found = [
        Contender("exact", _exact),
        Contender("Hamming, LSH", _exhaustive(RandomHyperplaneHash(dim, num_bits))),
        Contender("PQ", _exhaustive(ProductQuantizer(dim, num_bits, num_iterations=10))),
        Contender("OPQ", _exhaustive(OptimizedProductQuantizer(dim, num_bits, num_rotations=8, num_iterations=10))),
        Contender(
            "inverted file",
            _cells(lambda: InvertedIndex(dim, num_lists, 1, num_bits)),
            _up_to(num_lists, (1, 4, 16, 64)),
        ),
        Contender(
            "inverted multi-index",
            _cells(lambda: InvertedMultiIndex(dim, num_halves, 1, num_bits)),
            _up_to(num_halves**2, (1, 16, 64, 256, 1024)),
        ),
    ]
    if num_bits <= dim:
        found.insert(2, Contender("Hamming, ITQ", _exhaustive(IterativeQuantization(dim, num_bits))))
    return found


def measure_search(
    vectors: Float[Tensor, "item feature"],
    queries: Float[Tensor, "query feature"],
    contender: Contender,
    nearest: Int[Tensor, " query"],
    seconds: float = 1.0,
) -> Iterator[SearchMeasurement]:
    """Build an index and measure it, once for each number of probes.

    Args:
        vectors: The items; their ids are their positions.
        queries: At least a hundred.
        contender: What to build.
        nearest: Id of each query's exact nearest item.
        seconds: Time to spend on each comparison with faiss.
    """
    started = time.perf_counter()
    index = contender.build(vectors)
    build_seconds = time.perf_counter() - started
    for num_probes in contender.probes or (None,):
        if isinstance(index, CellIndex) and num_probes is not None:
            index.num_probes = num_probes
        ranking = index.search(queries, _NUM_NEAREST)
        bare_ids = torch.from_numpy(index.faiss_index.search(index.faiss_queries(queries), _NUM_NEAREST)[1])
        hits = ranking.item_ids == nearest[:, None]
        (single, single_ratio), (batch, batch_ratio) = (
            compare_with_faiss(index, queries[:size], seconds) for size in _BATCHES
        )
        yield SearchMeasurement(
            method=contender.method,
            num_items=len(index),
            num_probes=num_probes,
            recall_at_1=float(hits[:, 0].double().mean()),
            recall_at_10=float(hits.any(dim=1).double().mean()),
            single_per_second=_BATCHES[0] / single,
            batch_per_second=_BATCHES[1] / batch,
            single_ratio=single_ratio,
            batch_ratio=batch_ratio,
            agreement=float((bare_ids == ranking.item_ids).all(dim=1).double().mean()),
            build_seconds=build_seconds,
            bytes_per_item=index.bytes_per_item,
        )


def compare_with_faiss(
    index: Index, queries: Float[Tensor, "query feature"], seconds: float = 1.0
) -> tuple[float, float]:
    """Time a search with an index and with the faiss index beneath it, in turns.

    faiss gets the queries as it takes them: converted, encoded and packed beforehand, which our time includes.

    Args:
        index: Holds items whose ids are their positions.
        queries: One batch.
        seconds: About how long to go on; at least five turns.

    Returns:
        Median seconds of ours, and the median of its ratio to faiss's in the same turn.
    """
    rows, searcher = index.faiss_queries(queries), index.faiss_index
    turns = (lambda: index.search(queries, _NUM_NEAREST), lambda: searcher.search(rows, _NUM_NEAREST))
    for turn in turns:
        turn()
    times: list[tuple[float, float]] = []
    stop = time.perf_counter() + seconds
    while len(times) < 5 or (time.perf_counter() < stop and len(times) < 2000):
        order = (0, 1) if len(times) % 2 else (1, 0)  # whoever comes second finds warmer caches
        spent = [0.0, 0.0]
        for which in order:
            started = time.perf_counter()
            turns[which]()
            spent[which] = time.perf_counter() - started
        times.append((spent[0], spent[1]))
    return statistics.median(ours for ours, _ in times), statistics.median(ours / bare for ours, bare in times)


def exact_nearest(
    vectors: Float[Tensor, "item feature"], queries: Float[Tensor, "query feature"]
) -> Int[Tensor, " query"]:
    """Return the id of each query's nearest item."""
    return _exact(vectors).search(queries, 1).item_ids[:, 0]


def run_search_benchmark(
    sizes: Sequence[int],
    dim: int = 64,
    num_bits: int = 64,
    num_queries: int = 500,
    seconds: float = 1.0,
    report: Callable[[str], None] = lambda message: None,
) -> list[SearchMeasurement]:
    """Measure every index at every size.

    Args:
        sizes: Numbers of items.
        dim: Size of the vectors.
        num_bits: Length of a code.
        num_queries: Queries of recall; at least a hundred.
        seconds: Time to spend on each comparison with faiss.
        report: Told what is measured next.

    Raises:
        ValueError: If there are under a hundred queries, or too few items to fit 256 codewords.
    """
    if num_queries < _BATCHES[1] or min(sizes) < 256:
        raise ValueError(
            f"Expected at least {_BATCHES[1]} queries and 256 items; got {num_queries} and {min(sizes)}. Take more."
        )
    measurements: list[SearchMeasurement] = []
    for num_items in sizes:
        num_clusters = max(10, num_items // 50)
        vectors = clustered_vectors(num_items, dim, num_clusters, seed=1)
        queries = clustered_vectors(num_queries, dim, num_clusters, seed=2)
        nearest = exact_nearest(vectors, queries)
        for contender in contenders(num_items, dim, num_bits):
            report(f"{num_items:,} items, {contender.method}")
            measurements += measure_search(vectors, queries, contender, nearest, seconds)
    return measurements


def _exact(vectors: Tensor) -> Index:
    index = ExactIndex("euclidean")
    index.add(vectors, torch.arange(len(vectors)))
    return index


def _exhaustive(coder: Coder) -> Callable[[Tensor], Index]:
    def build(vectors: Tensor) -> Index:
        coder.fit(vectors[:_TRAINING_VECTORS])
        index = exhaustive_index(coder)
        index.add(vectors, torch.arange(len(vectors)))
        return index

    return build


def _cells(make: Callable[[], CellIndex]) -> Callable[[Tensor], Index]:
    def build(vectors: Tensor) -> Index:
        index = make()
        index.fit(vectors[:_TRAINING_VECTORS])
        index.add(vectors, torch.arange(len(vectors)))
        return index

    return build


def _up_to(limit: int, probes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(count for count in probes if count <= limit)
