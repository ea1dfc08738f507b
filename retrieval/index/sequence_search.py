"""Find where in a track a query of several segments lies (FlowHash, section 3.4, eqs. 12 and 13).

Segment o of a query finds items i_o; each says that the query starts at item i_o - o of its track. The paper takes the
start that most segments agree on; here, unless told otherwise, starts are compared by the mean inner product of all
segments with the items they would lie on, which settles ties and counts the segments that found nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from retrieval.index.fingerprint_index import FingerprintIndex
from retrieval.index.probing import Probing
from retrieval.index.vector_rows import expand_ranges

# pairs of a segment and an item that are scored at once
_CHUNK_PAIRS = 1_000_000


@dataclass(frozen=True)
class Match:
    """Where a query lies in a track.

    Attributes:
        track: Name.
        track_start_seconds: Where in the track it starts.
        track_end_seconds: Where in the track it ends.
        query_start_seconds: Where in the query the first segment starts.
        query_end_seconds: Where in the query the last segment ends.
        votes: Segments one of whose nearest items agrees, eq. (13).
        num_segments: Segments of the query.
        score: Mean inner product of the segments and the items they lie on, in [-1, 1].
        p_value: How likely a query that is absent from the index scores as high; None where it is not calibrated.
        is_match: Whether the score exceeds the threshold of `NoMatch`; None where it is not calibrated.
    """

    track: str
    track_start_seconds: float
    track_end_seconds: float
    query_start_seconds: float
    query_end_seconds: float
    votes: int
    num_segments: int
    score: float
    p_value: float | None = None
    is_match: bool | None = None


@dataclass(frozen=True)
class SequenceSearch:
    """Answers to queries, and what they cost.

    Attributes:
        matches: Of each query, best first, at most one a track; none where no segment found an item.
        num_evaluated: Candidates scored, mean over the segments of a query.
        num_probed: Buckets looked up, mean over the segments of a query.
    """

    matches: list[list[Match]]
    num_evaluated: Float[Tensor, " query"]
    num_probed: Float[Tensor, " query"]


@dataclass(frozen=True)
class _Alignments:
    """Starts that segments propose, each once a query, ordered by query and start."""

    query: np.ndarray
    start: np.ndarray
    votes: np.ndarray


def search_sequences(
    index: FingerprintIndex,
    queries: Sequence[Float[Tensor, "_segment feature"]],
    num_matches: int = 1,
    num_nearest: int = 5,
    rank_by: Literal["score", "votes"] = "score",
    probing: Probing | None = None,
) -> SequenceSearch:
    """Find queries in an index, all at once.

    Args:
        index: Of fingerprints that are as far apart as those of the queries.
        queries: Fingerprints of each query, in order of time, `hop_seconds` apart; at least one.
        num_matches: Tracks to name a query at most.
        num_nearest: Items that a segment proposes; 1 in the paper.
        rank_by: `score`, of equal ones the one with more votes; or `votes` alone, as in the paper. Of equal ones, the
            first in the index comes first.
        probing: Which buckets a segment visits; None for the paper's width of 1.25.

    Returns:
        Matches whose whole length lies within one track.

    Raises:
        ValueError: If a number is under 1, a query has no segment, vectors don't fit, a segment has too many codes, or
            the index's calibration does not go down to queries so short.
    """
    if num_matches < 1 or num_nearest < 1 or rank_by not in ("score", "votes"):
        raise ValueError(
            "Expected at least one match and one nearest item, and score or votes to rank by; got "
            f"{num_matches}, {num_nearest} and {rank_by!r}."
        )
    lengths = np.array([len(query) for query in queries], dtype=np.int64)
    if len(lengths) == 0 or lengths.min() < 1:
        raise ValueError("Expected queries of at least one segment each; leave those out that are shorter.")
    segments = torch.cat(list(queries))
    found = index.search(segments, num_nearest, probing)
    alignments = _propose(index, found.item_ids.numpy(), lengths)
    scores = _score(index, index.prepare(segments), lengths, alignments)
    per_query = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths))
    costs = [
        torch.zeros(len(lengths)).index_add(0, per_query, cost.float()) / torch.from_numpy(lengths)
        for cost in (found.num_evaluated, found.num_probed)
    ]
    chosen = _choose(index, alignments, scores, num_matches, rank_by)
    return SequenceSearch(_to_matches(index, alignments, scores, lengths, chosen), costs[0], costs[1])


def _propose(index: FingerprintIndex, item_ids: np.ndarray, lengths: np.ndarray) -> _Alignments:
    """Collect the candidates S_m of eq. (12) that lie within a track, with the votes of eq. (13)."""
    query = np.repeat(np.arange(len(lengths)), lengths)
    segment = expand_ranges(np.zeros_like(lengths), lengths)
    is_found = item_ids >= 0
    items = item_ids[is_found]
    query, starts = (np.broadcast_to(row[:, None], item_ids.shape)[is_found] for row in (query, segment))
    starts = items - starts
    track = index.tracks_of(torch.from_numpy(items)).numpy()
    is_within = (starts >= index.track_starts[track]) & (starts + lengths[query] <= index.track_starts[track + 1])
    # one number for query and start; ids are under 2^40
    keys, votes = np.unique((query[is_within] << 40) | starts[is_within], return_counts=True)
    return _Alignments(keys >> 40, keys & ((1 << 40) - 1), votes)


def _score(index: FingerprintIndex, prepared: np.ndarray, lengths: np.ndarray, alignments: _Alignments) -> np.ndarray:
    """Return the mean inner product of each alignment, over all segments of its query; float64."""
    counts = lengths[alignments.query]
    first_segment = (np.cumsum(lengths) - lengths)[alignments.query]
    scores = np.empty(len(counts))
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        limit = ends[start] - counts[start] + _CHUNK_PAIRS
        part = slice(start, max(start + 1, int(np.searchsorted(ends, limit, side="right"))))
        owners = expand_ranges(first_segment[part], counts[part])
        items = expand_ranges(alignments.start[part], counts[part])
        products = index.score_pairs(prepared, owners, items).astype(np.float64)
        offsets = np.cumsum(counts[part]) - counts[part]
        scores[part] = np.add.reduceat(products, offsets) / counts[part]
        start = part.stop
    return scores


def _choose(
    index: FingerprintIndex, alignments: _Alignments, scores: np.ndarray, num_matches: int, rank_by: str
) -> np.ndarray:
    """Return the numbers of the best alignments: of each query the best first, one a track."""
    votes = alignments.votes
    by_rank = (-votes, -scores) if rank_by == "score" else (-votes,)
    order = np.lexsort((alignments.start, *by_rank, alignments.query))
    query = alignments.query[order]
    track = index.tracks_of(torch.from_numpy(alignments.start[order])).numpy()
    # the first of each query and track, in the order of rank
    first = np.sort(np.unique((query << 32) | track, return_index=True)[1])
    order, query = order[first], query[first]
    place = np.arange(len(query)) - np.searchsorted(query, query)
    return np.asarray(order[place < num_matches])


def _to_matches(
    index: FingerprintIndex, alignments: _Alignments, scores: np.ndarray, lengths: np.ndarray, chosen: np.ndarray
) -> list[list[Match]]:
    query, start, score = alignments.query[chosen], alignments.start[chosen], scores[chosen]
    track = index.tracks_of(torch.from_numpy(start)).numpy()
    hop, segment_seconds = index.settings.hop_seconds, index.settings.segment_seconds
    begin_seconds = (start - index.track_starts[track]) * hop
    end_seconds = (lengths[query] - 1) * hop + segment_seconds
    p_values: list[float] | list[None] = [None] * len(chosen)
    is_match: list[bool] | list[None] = [None] * len(chosen)
    if index.no_match is not None:
        columns = torch.from_numpy(score), torch.from_numpy(lengths[query])
        p_values, is_match = index.no_match.p_value(*columns).tolist(), index.no_match.is_match(*columns).tolist()
    matches: list[list[Match]] = [[] for _ in lengths]
    for row, number in enumerate(query):
        matches[number].append(
            Match(
                track=index.track_names[track[row]],
                track_start_seconds=float(begin_seconds[row]),
                track_end_seconds=float(begin_seconds[row] + end_seconds[row]),
                query_start_seconds=0.0,
                query_end_seconds=float(end_seconds[row]),
                votes=int(alignments.votes[chosen[row]]),
                num_segments=int(lengths[number]),
                score=float(score[row]),
                p_value=p_values[row],
                is_match=is_match[row],
            )
        )
    return matches
