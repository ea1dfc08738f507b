"""Search for the queries of a FlowHash study, exactly or in a hash table, and count what is found and what it costs."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from experiments.papers.singh2024.fingerprints import Columns
from experiments.papers.singh2024.hashes import StudyHash
from lightning_modules.device import find_device
from retrieval.index import (
    FloatRows,
    HashTable,
    Probes,
    propose_alignments,
    rank_alignments,
    score_alignments,
)
from retrieval.metrics import evaluated_share, localisation_hits, track_hits

# Items that a segment proposes as places of a longer query.
NUM_NEAREST = 5
_CHUNK_ITEMS = 65_536
_CHUNK_QUERIES = 256


@dataclass(frozen=True)
class Found:
    """What a search found of queries' segments, and at which cost.

    Attributes:
        item_ids: Best first; -1 where too few candidates were reached.
        scores: Inner products, of what was found.
        num_evaluated: Items compared with, each once.
        num_probed: Buckets visited.
        milliseconds: Of a segment, all segments in one batch.
    """

    item_ids: Int[Tensor, "segment rank"]
    scores: Float[Tensor, "segment rank"]
    num_evaluated: Int[Tensor, " segment"]
    num_probed: Int[Tensor, " segment"]
    milliseconds: float


Search = Callable[[Tensor, int], Found]


@dataclass(frozen=True)
class Row:
    """One search under one condition.

    Attributes:
        encoder: In `singh2024.ENCODERS`.
        method: In `singh2024.METHODS`.
        num_bits: K; 0 of exact search.
        num_probes: Budget; 0 where there is none.
        dim: Size of a fingerprint.
        seconds: Length of the queries.
        condition: Its name.
        num_queries: All queries.
        localised: Of these, found within 50 ms.
        in_track: Found in the right track.
        num_once: Queries whose passage occurs once in its track.
        localised_once: Of these, found within 50 ms.
        in_track_once: Found in the right track.
        evaluated_percent: Share of the database that a segment is compared with, mean.
        probed: Buckets that a segment visits, mean.
        milliseconds: Of a query, all queries of all conditions in one batch.
    """

    encoder: str
    method: str
    num_bits: int
    num_probes: int
    dim: int
    seconds: float
    condition: str
    num_queries: int
    localised: int
    in_track: int
    num_once: int
    localised_once: int
    in_track_once: int
    evaluated_percent: float
    probed: float
    milliseconds: float


class Database:
    """Fingerprints of tracks at one hop.

    Args:
        columns: `fingerprint`, `track` and `start_seconds`, tracks one after another.
    """

    def __init__(self, columns: Columns) -> None:
        self.vectors = torch.from_numpy(np.asarray(columns["fingerprint"]))
        self.track = torch.from_numpy(np.array(columns["track"]))
        self.start_seconds = torch.from_numpy(np.array(columns["start_seconds"]))
        # of each track, and the number of items at last
        self.track_starts = np.append(np.flatnonzero(np.diff(columns["track"], prepend=-1)), len(self.track))

    def without(self, tracks: np.ndarray) -> "Database":
        """Return what is left when tracks are removed."""
        kept = ~np.isin(self.track.numpy(), tracks)
        columns = {"fingerprint": self.vectors, "track": self.track, "start_seconds": self.start_seconds}
        return Database({name: values.numpy()[kept] for name, values in columns.items()})

    def nearest_in_time(self, track: Int[Tensor, " query"], start_seconds: Float[Tensor, " query"]) -> Tensor:
        """Return the item of each query's track that starts nearest to it, int64 [query]."""
        # tracks are in order: one number orders items by track, then time
        span = float(self.start_seconds.max()) + 1000.0
        keys = self.track * span + self.start_seconds
        after = torch.searchsorted(keys, track * span + start_seconds).clamp(max=len(keys) - 1)
        before = (after - 1).clamp(min=0)
        distances = [
            torch.where(self.track[each] == track, (self.start_seconds[each] - start_seconds).abs(), torch.inf)
            for each in (before, after)
        ]
        return torch.where(distances[0] <= distances[1], before, after)


def search_exactly(segments: Float[Tensor, "segment feature"], database: Database, num_items: int) -> Found:
    """Compare every segment with every item."""
    device = find_device()
    started = time.perf_counter()
    num_items = min(num_items, len(database.track))
    ids = torch.zeros(len(segments), 0, dtype=torch.int64)
    scores = torch.zeros(len(segments), 0)
    for start in range(0, len(database.track), _CHUNK_ITEMS):
        transposed = database.vectors[start : start + _CHUNK_ITEMS].to(device).T
        parts = [
            (chunk.to(device) @ transposed).topk(min(num_items, transposed.shape[1]), dim=1)
            for chunk in segments.split(_CHUNK_QUERIES)
        ]
        scores = torch.cat([scores, torch.cat([part.values.cpu() for part in parts])], dim=1)
        ids = torch.cat([ids, torch.cat([part.indices.cpu() for part in parts]) + start], dim=1)
        scores, order = scores.topk(num_items, dim=1)
        ids = ids.gather(1, order)
    everything = torch.full((len(segments),), len(database.track))
    return Found(ids, scores, everything, torch.zeros_like(everything), _milliseconds(started, len(segments)))


def exactly(database: Database) -> Search:
    """Return exact search of a database."""
    return lambda segments, num_items: search_exactly(segments, database, num_items)


def search_table(
    segments: Float[Tensor, "segment feature"],
    table: HashTable,
    hashed: StudyHash,
    num_items: int,
    num_probes: int | None = None,
    width: float | None = None,
) -> Found:
    """Search a hash table, hashing included in the time.

    Args:
        segments: Queries.
        table: Of the hash.
        hashed: What places queries.
        num_items: To return.
        num_probes: Budget; or else
        width: r~.

    Raises:
        ValueError: If not one of both is given.
    """
    if (num_probes is None) == (width is None):
        raise ValueError(f"Expected a number of probes or a width; got {num_probes} and {width}.")
    started = time.perf_counter()
    probes: Probes
    if width is None:
        assert num_probes is not None
        probes = hashed.probe(segments, num_probes)
    else:
        probes = hashed.probe_within(segments, width)
    found = table.search_probes(table.rows.prepare(segments), num_items, probes)
    return Found(
        found.item_ids, found.scores, found.num_evaluated, found.num_probed, _milliseconds(started, len(segments))
    )


def align(
    item_ids: Int[Tensor, "query segment rank"], queries: Float[Tensor, "query segment feature"], database: Database
) -> tuple[Int[Tensor, " query"], Float[Tensor, " query"]]:
    """Find the place where queries of several segments lie, eq. (12).

    Segment o that finds item i proposes the start i - o; of the starts within one track that with the largest mean
    inner product of all segments and the items they lie on is taken, the first of equals.

    Returns:
        First item of the place, -1 where there is none; and its mean inner product, -infinity there.
    """
    num_queries, num_segments, dim = queries.shape
    lengths = np.full(num_queries, num_segments)
    alignments = propose_alignments(item_ids.flatten(0, 1).numpy(), lengths, database.track_starts)
    rows, segments = FloatRows(dim, "float32"), queries.flatten(0, 1).contiguous().numpy()
    scores = score_alignments(alignments, lengths, partial(rows.score_pairs, database.vectors.numpy(), segments))
    chosen = rank_alignments(alignments, scores, database.track_starts, 1)
    answered = alignments.query[chosen]
    place = torch.full((num_queries,), -1, dtype=torch.int64)
    best = torch.full((num_queries,), -torch.inf)
    place[answered] = torch.from_numpy(alignments.start[chosen])
    best[answered] = torch.from_numpy(scores[chosen]).float()
    return place, best


def locate(
    columns: Columns, database: Database, search: Search
) -> tuple[Int[Tensor, " query"], Float[Tensor, " query"], Found]:
    """Find queries of any length: their first item, the score of the place, and what their segments found."""
    queries = torch.from_numpy(np.asarray(columns["fingerprint"]))
    num_segments = queries.shape[1]
    started = time.perf_counter()
    found = search(queries.flatten(0, 1), 1 if num_segments == 1 else NUM_NEAREST)
    if num_segments == 1:
        return found.item_ids[:, 0], found.scores[:, 0], found
    place, score = align(found.item_ids.unflatten(0, (-1, num_segments)), queries, database)
    elapsed = _milliseconds(started, len(queries) * num_segments)
    return place, score, Found(found.item_ids, found.scores, found.num_evaluated, found.num_probed, elapsed)


def hits_of(place: Int[Tensor, " query"], columns: Columns, database: Database) -> tuple[Tensor, Tensor]:
    """Say of each query whether it was found within 50 ms, and whether in its track; bool [query] each."""
    found_track = torch.where(place >= 0, database.track[place], -1)
    true_track = torch.from_numpy(np.array(columns["track"]))
    true_start = torch.from_numpy(np.array(columns["start_seconds"]))
    is_localised = localisation_hits(found_track, database.start_seconds[place], true_track, true_start)
    return is_localised, track_hits(found_track, true_track)


def count_rows(
    named: Mapping[str, str | int | float],
    place: Int[Tensor, " query"],
    found: Found,
    columns: Columns,
    database: Database,
    conditions: Sequence[str],
) -> list[dict[str, str | int | float]]:
    """Count hits by condition.

    Args:
        named: Fields of `Row` that are known.
        place: Found by `locate`.
        found: Likewise.
        columns: Of the queries.
        database: What was searched.
        conditions: Their names.

    Returns:
        Fields of a `Row` for each condition.
    """
    is_localised, is_in_track = hits_of(place, columns, database)
    is_once = ~torch.from_numpy(np.array(columns["is_repeated"]))
    number = torch.from_numpy(np.array(columns["condition"]))
    num_segments = columns["fingerprint"].shape[1]
    share = evaluated_share(found.num_evaluated, len(database.track)).unflatten(0, (-1, num_segments)).mean(dim=1)
    probed = found.num_probed.double().unflatten(0, (-1, num_segments)).mean(dim=1)
    rows = []
    for position, condition in enumerate(conditions):
        here = number == position
        once = here & is_once
        rows.append({
            **named, "condition": condition, "num_queries": int(here.sum()), "localised": int(is_localised[here].sum()),
            "in_track": int(is_in_track[here].sum()), "num_once": int(once.sum()),
            "localised_once": int(is_localised[once].sum()), "in_track_once": int(is_in_track[once].sum()),
            "evaluated_percent": float(share[here].mean()), "probed": float(probed[here].mean()),
            "milliseconds": found.milliseconds * num_segments,
        })  # fmt: skip
    return rows


def _milliseconds(started: float, count: int) -> float:
    return 1000 * (time.perf_counter() - started) / max(count, 1)
