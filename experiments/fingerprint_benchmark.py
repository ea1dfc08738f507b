"""What an index of fingerprints takes in bytes, memory and time, and how its hash table compares with others.

Sizes are measured on synthetic vectors, in a process of its own for what opening and searching need. Comparisons are of
one run: recall against exact search, and queries a second relative to another method's at the same recall, in turns.
"""

import math
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from experiments.search_benchmark import clustered_vectors
from retrieval.codes import BinaryHash, MedianPcaSignHash, ProductQuantizer, RandomHyperplaneHash
from retrieval.index import BudgetProbing, FingerprintIndex, FingerprintSettings, FloatRows, HashTable

TRACK_ITEMS = 300
LARGE_NUM_ITEMS = 29_000_000
_CHUNK_TRACKS = 100
_TRAINING_VECTORS = 30_000
_NUM_CLUSTERS = 2000
_BATCHES = (1, 100)
_NOISE = 0.33
# gigabytes before, seconds to open, gigabytes at most, per cent evaluated and found, seconds of a query and of a batch
Costs = tuple[float, float, float, float, float, float, float]
_PROBES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


@dataclass(frozen=True)
class SizeMeasurement:
    """An index of synthetic fingerprints.

    Attributes:
        num_items: Fingerprints in it.
        bytes_per_item: On disk, all files together.
        gigabytes: On disk; 1e9 bytes.
        gigabytes_large: What `LARGE_NUM_ITEMS` would take, by bytes an item.
        build_seconds: To draw, hash, encode and write.
        open_seconds: To open it in a new process.
        memory_gigabytes: Most memory of that process, mapped pages among it, after its searches.
        opened_gigabytes: Memory of that process before it opened the index: the libraries.
        evaluated_percent: Share of the items that a query is compared with.
        planted_percent: Queries, items with noise of a third of their length added, that find the item first.
        single_milliseconds: Median time of a query.
        batch_per_second: Queries a second, a hundred at a time.
    """

    num_items: int
    bytes_per_item: float
    gigabytes: float
    gigabytes_large: float
    build_seconds: float
    open_seconds: float
    memory_gigabytes: float
    opened_gigabytes: float
    evaluated_percent: float
    planted_percent: float
    single_milliseconds: float
    batch_per_second: float


@dataclass(frozen=True)
class RivalMeasurement:
    """A search at the least effort that reaches a recall.

    Attributes:
        method: Hash and table, or faiss index.
        num_probes: Buckets or lists visited.
        recall: Share of queries whose first item is that of exact search.
        evaluated_percent: Share of the items that a query is compared with.
        single_per_second: Queries a second, one at a time.
        batch_per_second: Queries a second, a hundred at a time.
        single_ratio: `single_per_second` over the first method's, median of turns.
        batch_ratio: `batch_per_second` over the first method's, median of turns.
    """

    method: str
    num_probes: int
    recall: float
    evaluated_percent: float
    single_per_second: float
    batch_per_second: float
    single_ratio: float
    batch_ratio: float


@dataclass(frozen=True)
class Contender:
    """A search to be tuned.

    Attributes:
        method: Its name.
        search: Returns the first item of each query, and how many items it was compared with, at a number of probes.
    """

    method: str
    search: Callable[[Tensor, int], tuple[Tensor, Tensor]]


def measure_size(
    folder: Path,
    num_items: int,
    dim: int = 128,
    num_bits: int = 20,
    code_bytes: int = 32,
    num_probes: int = 128,
    report: Callable[[str], None] = lambda message: None,
) -> SizeMeasurement:
    """Build an index of product-quantized clustered vectors, and search it in another process.

    Args:
        folder: Where to put it; must not be there.
        num_items: Fingerprints, in tracks of 300.
        dim: Size of the vectors.
        num_bits: K.
        code_bytes: Bytes of a quantized vector.
        num_probes: Buckets that a query visits.
        report: Told what is done next.

    Raises:
        ValueError: If there are fewer than 300 items.
    """
    if num_items < TRACK_ITEMS:
        raise ValueError(f"Expected at least {TRACK_ITEMS} items, a track; got {num_items}.")
    report("fitting hash and quantizer")
    sample = _draw_unit(min(_TRAINING_VECTORS, max(num_items, 1000)), dim, seed=1)
    projection, quantizer = MedianPcaSignHash(dim, num_bits), ProductQuantizer(dim, 8 * code_bytes, num_iterations=5)
    projection.fit(sample)
    quantizer.fit(sample[:10_000])
    started = time.perf_counter()
    index = FingerprintIndex.create(folder, projection, FingerprintSettings(dim, storage="product"), quantizer)
    index.add(_tracks(num_items, dim, report))
    build_seconds = time.perf_counter() - started
    queries, planted = _planted_queries(num_items, _BATCHES[1], dim)
    report("searching in a process of its own")
    found = _in_new_process(_open_and_search, folder, projection, queries, planted, num_probes)
    opened, seconds, memory, evaluated, hits, single, batch = found
    return SizeMeasurement(
        num_items=len(index),
        bytes_per_item=index.bytes_per_item,
        gigabytes=index.num_bytes / 1e9,
        gigabytes_large=index.bytes_per_item * LARGE_NUM_ITEMS / 1e9,
        build_seconds=build_seconds,
        open_seconds=seconds,
        memory_gigabytes=memory,
        opened_gigabytes=opened,
        evaluated_percent=evaluated,
        planted_percent=hits,
        single_milliseconds=1000 * single,
        batch_per_second=_BATCHES[1] / batch,
    )


def compare_searches(
    vectors: Float[Tensor, "item feature"],
    queries: Float[Tensor, "query feature"],
    hashes: Sequence[tuple[str, BinaryHash]],
    recall: float = 0.9,
    seconds: float = 1.0,
    nearest: Int[Tensor, " query"] | None = None,
) -> list[RivalMeasurement]:
    """Tune hash tables and faiss's IVF-Flat to one recall, and time them in turns.

    Args:
        vectors: Items, of unit length.
        queries: At least a hundred, of unit length.
        hashes: Names and fitted hashes; all searched by the same engine. Ratios are to the first.
        recall: Share of queries that must find the item that exact search finds.
        seconds: Time to spend on each batch size.
        nearest: Exact nearest items, by inner product; None to search for them.

    Raises:
        ValueError: If there are too few queries.
    """
    if len(queries) < _BATCHES[1]:
        raise ValueError(f"Expected at least {_BATCHES[1]} queries; got {len(queries)}.")
    if nearest is None:
        exact = faiss.IndexFlatIP(vectors.shape[1])
        exact.add(vectors.numpy())
        nearest = torch.from_numpy(exact.search(queries.numpy(), 1)[1][:, 0])
    contenders = [_table_contender(name, coder, vectors) for name, coder in hashes] + [_ivf_contender(vectors)]
    tuned = [(contender, *_tune(contender, queries, nearest, recall)) for contender in contenders]
    times = [
        _time_in_turns(
            [partial(contender.search, queries[:size], probes) for contender, probes, _, _ in tuned], seconds
        )
        for size in _BATCHES
    ]
    return [
        RivalMeasurement(
            method=contender.method,
            num_probes=num_probes,
            recall=reached,
            evaluated_percent=100 * evaluated / len(vectors),
            single_per_second=_BATCHES[0] / statistics.median(times[0][row]),
            batch_per_second=_BATCHES[1] / statistics.median(times[1][row]),
            single_ratio=_median_ratio(times[0][0], times[0][row]),
            batch_ratio=_median_ratio(times[1][0], times[1][row]),
        )
        for row, (contender, num_probes, reached, evaluated) in enumerate(tuned)
    ]


def default_hashes(vectors: Float[Tensor, "item feature"], num_bits: int) -> list[tuple[str, BinaryHash]]:
    """Fit the signs of principal components about their medians, and random hyperplanes."""
    sample = vectors[:: max(1, len(vectors) // _TRAINING_VECTORS)]
    hashes: list[tuple[str, BinaryHash]] = [
        ("PCA signs, median thresholds", MedianPcaSignHash(vectors.shape[1], num_bits)),
        ("LSH", RandomHyperplaneHash(vectors.shape[1], num_bits)),
    ]
    for _, coder in hashes:
        coder.fit(sample)
    return hashes


def clustered_queries(num_items: int, num_queries: int, dim: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw clustered unit vectors, and queries that are some of them with noise of a third of their length added."""
    vectors = _draw_unit(num_items, dim, seed)
    chosen = torch.randint(num_items, (num_queries,), generator=torch.Generator().manual_seed(seed + 1))
    return vectors, _add_noise(vectors[chosen], seed + 2)


def _add_noise(vectors: Tensor, seed: int) -> Tensor:
    noise = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors + noise * (_NOISE / math.sqrt(vectors.shape[1])), dim=1)


def _planted_queries(num_items: int, num_queries: int, dim: int) -> tuple[Tensor, Tensor]:
    """Draw items from the first and the last of `_tracks` again; queries for them, and their numbers."""
    size = _CHUNK_TRACKS * TRACK_ITEMS
    firsts = sorted({0, (num_items - 1) // size * size})
    numbers, vectors = [], []
    for first in firsts:
        drawn = _draw_unit(min(size, num_items - first), dim, seed=100 + first)
        chosen = torch.arange(num_queries // len(firsts)) * len(drawn) // (num_queries // len(firsts))
        numbers.append(first + chosen)
        vectors.append(drawn[chosen])
    return _add_noise(torch.cat(vectors), seed=2), torch.cat(numbers)


def _draw_unit(num_vectors: int, dim: int, seed: int) -> Tensor:
    return torch.nn.functional.normalize(clustered_vectors(num_vectors, dim, _NUM_CLUSTERS, seed=seed), dim=1)


def _tracks(num_items: int, dim: int, report: Callable[[str], None]) -> Iterator[tuple[str, Tensor]]:
    number = 0
    for start in range(0, num_items, _CHUNK_TRACKS * TRACK_ITEMS):
        report(f"adding, {start:,} of {num_items:,}")
        size = min(_CHUNK_TRACKS * TRACK_ITEMS, num_items - start)
        for track in _draw_unit(size, dim, seed=100 + start).split(TRACK_ITEMS):
            yield f"track {number:06d}", track
            number += 1


def _in_new_process(search: Callable[..., Costs], *arguments: object) -> Costs:
    """Call in a fresh interpreter, whose memory is that of opening and searching only."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(search, arguments)


def _open_and_search(folder: Path, projection: BinaryHash, queries: Tensor, planted: Tensor, num_probes: int) -> Costs:
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    before = _peak_gigabytes()
    started = time.perf_counter()
    index = FingerprintIndex.open(folder, projection)
    seconds = time.perf_counter() - started
    probing = BudgetProbing(num_probes)
    found = index.search(queries, 10, probing)
    evaluated = 100 * float(found.num_evaluated.double().mean()) / len(index)
    hits = 100 * float((found.item_ids[:, 0] == planted).double().mean())
    turns: list[Callable[[], object]] = [
        lambda: index.search(queries[:1], 10, probing),
        lambda: index.search(queries, 10, probing),
    ]
    single, batch = (statistics.median(times) for times in _time_in_turns(turns, 1.0))
    return before, seconds, _peak_gigabytes(), evaluated, hits, single, batch


def _peak_gigabytes() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 / 1e9 for line in status.splitlines() if line.startswith("VmHWM"))


def _table_contender(name: str, coder: BinaryHash, vectors: Tensor) -> Contender:
    table = HashTable.build(coder, FloatRows(vectors.shape[1], "float32"), vectors)

    def search(queries: Tensor, num_probes: int) -> tuple[Tensor, Tensor]:
        found = table.search(queries, 1, BudgetProbing(num_probes))
        return found.item_ids[:, 0], found.num_evaluated

    return Contender(f"{name}, {coder.num_bits} bits, hash table", search)


def _ivf_contender(vectors: Tensor) -> Contender:
    num_lists = 2 ** max(2, round(math.log2(math.sqrt(len(vectors))) + 1))
    coarse = faiss.IndexFlatIP(vectors.shape[1])
    index = faiss.IndexIVFFlat(coarse, vectors.shape[1], num_lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1
    index.train(vectors[:: max(1, len(vectors) // _TRAINING_VECTORS)].numpy())
    index.add(vectors.numpy())

    globals_of_faiss: Any = faiss.cvar
    statistics_of_search = globals_of_faiss.indexIVF_stats

    def search(queries: Tensor, num_probes: int) -> tuple[Tensor, Tensor]:
        index.nprobe = min(num_probes, num_lists)
        statistics_of_search.reset()
        found = index.search(queries.numpy(), 1)[1][:, 0]
        return torch.from_numpy(found), torch.tensor([statistics_of_search.ndis / len(queries)])

    return Contender(f"faiss IVF-Flat, {num_lists} lists", search)


def _tune(contender: Contender, queries: Tensor, nearest: Tensor, recall: float) -> tuple[int, float, float]:
    """Return the least probes that reach a recall, or the most there are; the recall; and items evaluated."""
    for num_probes in _PROBES:
        found, evaluated = contender.search(queries, num_probes)
        reached = float((found == nearest).double().mean())
        if reached >= recall:
            break
    return num_probes, reached, float(evaluated.double().mean())


def _time_in_turns(turns: Sequence[Callable[[], object]], seconds: float) -> list[list[float]]:
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


def _median_ratio(reference: list[float], times: list[float]) -> float:
    return float(np.median(np.array(reference) / np.array(times)))
