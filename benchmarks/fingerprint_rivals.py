"""Hash tables beside faiss's IVF-Flat, each tuned to one recall and timed in turns.

A search is tuned by the least probes that reach the recall; IVF-Flat by its number of lists as well: the fastest of
several. Times are of one run: ratios to another method's turns stand, whatever else the machine does.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import faiss
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retrieval.codes import BinaryHash, MedianPcaSignHash, RandomHyperplaneHash
from retrieval.index import BudgetProbing, FloatRows, HashFunction, HashTable, num_bits_of
from retrieval.index.vector_rows import Precision

BATCHES = (1, 100, 1000)
_FITTED_VECTORS = 30_000
_MOST_PROBES = 1024
# lists of IVF-Flat, in square roots of the number of items, rounded to a power of two
_LISTS = (1, 2, 4, 8)
_PICKED_SECONDS = 0.2


@dataclass(frozen=True)
class RivalMeasurement:
    """A search at the least effort that reaches a recall.

    Attributes:
        method: Hash and table, or faiss index.
        num_probes: Buckets or lists visited.
        recall: Share of queries whose first item is that of exact search.
        evaluated_percent: Share of the items that a query is compared with.
        per_second: Queries a second by batch of `BATCHES`, median.
        ratios: `per_second` over the first method's, median of turns.
    """

    method: str
    num_probes: int
    recall: float
    evaluated_percent: float
    per_second: tuple[float, ...]
    ratios: tuple[float, ...]


@dataclass(frozen=True)
class Contender:
    """A search to be tuned.

    Attributes:
        method: Its name.
        search: Returns the first item of each query, and how many items it was compared with, at a number of probes.
        most_probes: That it can make.
    """

    method: str
    search: Callable[[Tensor, int], tuple[Tensor, Tensor]]
    most_probes: int


@dataclass(frozen=True)
class _Tuned:
    contender: Contender
    num_probes: int
    recall: float
    num_evaluated: float


def compare_searches(
    vectors: Float[Tensor, "item feature"],
    queries: Float[Tensor, "query feature"],
    hashes: Sequence[tuple[str, HashFunction]],
    recall: float = 0.9,
    seconds: float = 1.0,
    nearest: Int[Tensor, " query"] | None = None,
    counted: Bool[Tensor, " query"] | None = None,
    storage: Precision = "float16",
    reach: int = 0,
) -> list[RivalMeasurement]:
    """Tune hash tables and faiss's IVF-Flat to one recall, and time them in turns.

    Args:
        vectors: Items, of unit length.
        queries: At least a hundred, of unit length.
        hashes: Names and fitted hashes; all searched by the same engine. Ratios are to the first.
        recall: Share of queries that must find the item that exact search finds.
        seconds: Time to spend on each batch size and method.
        nearest: Exact nearest items, by inner product; None to search for them.
        counted: Queries that recall is of, those that exact search answers rightly, say; None for all.
        storage: Of the hash tables' vectors; IVF-Flat's are float32.
        reach: Of the hash tables' searches.

    Raises:
        ValueError: If there are too few queries.
    """
    if len(queries) < BATCHES[1]:
        raise ValueError(f"Expected at least {BATCHES[1]} queries; got {len(queries)}.")
    if nearest is None:
        exact = faiss.IndexFlatIP(vectors.shape[1])
        exact.add(vectors.numpy())
        nearest = torch.from_numpy(exact.search(queries.numpy(), 1)[1][:, 0])
    chosen = torch.ones(len(queries), dtype=torch.bool) if counted is None else counted
    tune = partial(_tune, queries=queries[chosen], nearest=nearest[chosen], recall=recall)
    tuned = [tune(_table_contender(name, coder, vectors, storage, reach)) for name, coder in hashes]
    tuned.append(_fastest([tune(_ivf_contender(vectors, count)) for count in _list_counts(len(vectors))], queries))
    times = [_time(tuned, _batch(queries, size), seconds) for size in BATCHES]
    return [
        RivalMeasurement(
            method=each.contender.method,
            num_probes=each.num_probes,
            recall=each.recall,
            evaluated_percent=100 * each.num_evaluated / len(vectors),
            per_second=tuple(size / statistics.median(of[row]) for size, of in zip(BATCHES, times, strict=True)),
            ratios=tuple(float(np.median(np.array(of[0]) / np.array(of[row]))) for of in times),
        )
        for row, each in enumerate(tuned)
    ]


def default_hashes(vectors: Float[Tensor, "item feature"], num_bits: int) -> list[tuple[str, BinaryHash]]:
    """Fit the signs of principal components about their medians, and random hyperplanes."""
    sample = vectors[:: max(1, len(vectors) // _FITTED_VECTORS)]
    hashes: list[tuple[str, BinaryHash]] = [
        ("PCA signs, median thresholds", MedianPcaSignHash(vectors.shape[1], num_bits)),
        ("LSH", RandomHyperplaneHash(vectors.shape[1], num_bits)),
    ]
    for _, coder in hashes:
        coder.fit(sample)
    return hashes


def time_in_turns(turns: Sequence[Callable[[], object]], seconds: float) -> list[list[float]]:
    """Time each in turn, at least five times."""
    times: list[list[float]] = [[] for _ in turns]
    for turn in turns:
        turn()
    stop = time.perf_counter() + seconds
    while len(times[0]) < 5 or (time.perf_counter() < stop and len(times[0]) < 2000):
        for turn, of_turn in zip(turns, times, strict=True):
            started = time.perf_counter()
            turn()
            of_turn.append(time.perf_counter() - started)
    return times


def _table_contender(name: str, coder: HashFunction, vectors: Tensor, storage: Precision, reach: int) -> Contender:
    table = HashTable.build(coder, FloatRows(vectors.shape[1], storage), vectors)
    num_bits = num_bits_of(coder, vectors.shape[1])

    def search(queries: Tensor, num_probes: int) -> tuple[Tensor, Tensor]:
        found = table.search(queries, 1, BudgetProbing(num_probes), reach)
        return found.item_ids[:, 0], found.num_evaluated

    return Contender(f"{name}, {num_bits} bits, {storage} table", search, min(_MOST_PROBES, 2**num_bits))


def _list_counts(num_items: int) -> list[int]:
    middle = round(math.log2(math.sqrt(num_items)))
    return [2 ** max(2, middle + round(math.log2(times))) for times in _LISTS]


def _ivf_contender(vectors: Tensor, num_lists: int) -> Contender:
    coarse = faiss.IndexFlatIP(vectors.shape[1])
    index = faiss.IndexIVFFlat(coarse, vectors.shape[1], num_lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1
    index.train(vectors[:: max(1, len(vectors) // max(_FITTED_VECTORS, 39 * num_lists))].numpy())
    index.add(vectors.numpy())

    globals_of_faiss: Any = faiss.cvar
    statistics_of_search = globals_of_faiss.indexIVF_stats

    def search(queries: Tensor, num_probes: int) -> tuple[Tensor, Tensor]:
        index.nprobe = num_probes
        statistics_of_search.reset()
        found = index.search(queries.numpy(), 1)[1][:, 0]
        return torch.from_numpy(found), torch.tensor([statistics_of_search.ndis / len(queries)])

    return Contender(f"faiss IVF-Flat, {num_lists} lists", search, num_lists)


def _tune(contender: Contender, queries: Tensor, nearest: Tensor, recall: float) -> _Tuned:
    """Find the least probes that reach a recall, or the most there are: more probes find no less."""

    def measure(num_probes: int) -> _Tuned:
        found, evaluated = contender.search(queries, num_probes)
        reached = float((found == nearest).double().mean())
        return _Tuned(contender, num_probes, reached, float(evaluated.double().mean()))

    too_few, best = 0, measure(contender.most_probes)
    while best.num_probes - too_few > 1:
        tried = measure((too_few + best.num_probes) // 2 if too_few else max(1, best.num_probes // 4))
        if tried.recall >= recall:
            best = tried
        else:
            too_few = tried.num_probes
    return best


def _fastest(tuned: Sequence[_Tuned], queries: Tensor) -> _Tuned:
    times = _time(tuned, queries[: BATCHES[1]], _PICKED_SECONDS)
    return tuned[min(range(len(tuned)), key=lambda row: statistics.median(times[row]))]


def _time(tuned: Sequence[_Tuned], queries: Tensor, seconds: float) -> list[list[float]]:
    turns = [partial(each.contender.search, queries, each.num_probes) for each in tuned]
    return time_in_turns(turns, seconds * len(turns))


def _batch(queries: Tensor, size: int) -> Tensor:
    """Return so many queries, some several times where there are fewer."""
    return queries[torch.arange(size) % len(queries)].contiguous()
