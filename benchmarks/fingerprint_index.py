"""What an index of synthetic fingerprints takes in bytes, memory and time, in a process of its own where it matters."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import faiss
import torch
from torch import Tensor

from benchmarks.fingerprint_rivals import time_in_turns
from benchmarks.synthetic_fingerprints import add_noise, draw_unit
from retrieval.codes import BinaryHash, MedianPcaSignHash, ProductQuantizer
from retrieval.index import BudgetProbing, FingerprintIndex, FingerprintSettings

TRACK_ITEMS = 300
LARGE_NUM_ITEMS = 29_000_000
_CHUNK_TRACKS = 100
_TRAINING_VECTORS = 30_000
_NUM_QUERIES = 100
# gigabytes before, seconds to open, gigabytes at most, per cent evaluated and found, seconds of a query and of a batch
Costs = tuple[float, float, float, float, float, float, float]


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
    sample = draw_unit(min(_TRAINING_VECTORS, max(num_items, 1000)), dim, seed=1)
    projection, quantizer = MedianPcaSignHash(dim, num_bits), ProductQuantizer(dim, 8 * code_bytes, num_iterations=5)
    projection.fit(sample)
    quantizer.fit(sample[:10_000])
    started = time.perf_counter()
    index = FingerprintIndex.create(folder, projection, FingerprintSettings(dim, storage="product"), quantizer)
    index.add(_tracks(num_items, dim, report))
    build_seconds = time.perf_counter() - started
    queries, planted = _planted_queries(num_items, _NUM_QUERIES, dim)
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
        batch_per_second=_NUM_QUERIES / batch,
    )


def _planted_queries(num_items: int, num_queries: int, dim: int) -> tuple[Tensor, Tensor]:
    """Draw items from the first and the last of `_tracks` again; queries for them, and their numbers."""
    size = _CHUNK_TRACKS * TRACK_ITEMS
    firsts = sorted({0, (num_items - 1) // size * size})
    numbers, vectors = [], []
    for first in firsts:
        drawn = draw_unit(min(size, num_items - first), dim, seed=100 + first)
        chosen = torch.arange(num_queries // len(firsts)) * len(drawn) // (num_queries // len(firsts))
        numbers.append(first + chosen)
        vectors.append(drawn[chosen])
    return add_noise(torch.cat(vectors), seed=2), torch.cat(numbers)


def _tracks(num_items: int, dim: int, report: Callable[[str], None]) -> Iterator[tuple[str, Tensor]]:
    number = 0
    for start in range(0, num_items, _CHUNK_TRACKS * TRACK_ITEMS):
        report(f"adding, {start:,} of {num_items:,}")
        size = min(_CHUNK_TRACKS * TRACK_ITEMS, num_items - start)
        for track in draw_unit(size, dim, seed=100 + start).split(TRACK_ITEMS):
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
    single, batch = (statistics.median(times) for times in time_in_turns(turns, 1.0))
    return before, seconds, _peak_gigabytes(), evaluated, hits, single, batch


def _peak_gigabytes() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 / 1e9 for line in status.splitlines() if line.startswith("VmHWM"))
