"""Where in a track a sequence of segments lies (FlowHash, section 3.4, eqs. 12 and 13), for many queries at once.

Segment o of a query finds items i_o; each says that the query starts at item i_o - o of its track.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from retrieval.index.vector_rows import expand_ranges

RankBy = Literal["score", "votes"]
# inner products of pairs, float32, from numbers of segments and of items, both int64
ScorePairs = Callable[[np.ndarray, np.ndarray], np.ndarray]
# pairs of a segment and an item that are scored at once
_CHUNK_PAIRS = 1_000_000


@dataclass(frozen=True)
class Alignments:
    """Starts that segments propose, each once a query, ordered by query and start.

    Attributes:
        query: Number of the query; int64.
        start: Item that its first segment lies on; int64.
        votes: Segments that propose it, eq. (13); int64.
    """

    query: np.ndarray
    start: np.ndarray
    votes: np.ndarray


def tracks_of(items: np.ndarray, track_starts: np.ndarray) -> np.ndarray:
    """Return the number of each item's track."""
    return np.asarray(np.searchsorted(track_starts, items, side="right") - 1)


def propose_alignments(item_ids: np.ndarray, lengths: np.ndarray, track_starts: np.ndarray) -> Alignments:
    """Collect the candidates S_m of eq. (12) whose whole length lies within one track.

    Args:
        item_ids: Items that each segment found, [segment, rank], queries one after another; -1 for none.
        lengths: Segments of each query; int64.
        track_starts: First item of each track, and the number of items at last; int64.
    """
    query = np.repeat(np.arange(len(lengths)), lengths)
    segment = expand_ranges(np.zeros_like(lengths), lengths)
    is_found = item_ids >= 0
    items = item_ids[is_found]
    query, starts = (np.broadcast_to(row[:, None], item_ids.shape)[is_found] for row in (query, segment))
    starts = items - starts
    track = tracks_of(items, track_starts)
    is_within = (starts >= track_starts[track]) & (starts + lengths[query] <= track_starts[track + 1])
    # one number for query and start; ids are under 2^40
    keys, votes = np.unique((query[is_within] << 40) | starts[is_within], return_counts=True)
    return Alignments(keys >> 40, keys & ((1 << 40) - 1), votes)


def score_alignments(alignments: Alignments, lengths: np.ndarray, score_pairs: ScorePairs) -> np.ndarray:
    """Return the mean inner product of each alignment, over all segments of its query; float64.

    It settles ties in votes, and counts the segments that found nothing.

    Args:
        alignments: Of queries.
        lengths: Segments of each query; int64.
        score_pairs: Of all queries' segments, one query after another, and items.
    """
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
        products = score_pairs(owners, items).astype(np.float64)
        offsets = np.cumsum(counts[part]) - counts[part]
        scores[part] = np.add.reduceat(products, offsets) / counts[part]
        start = part.stop
    return scores


def rank_alignments(
    alignments: Alignments, scores: np.ndarray, track_starts: np.ndarray, num_matches: int, rank_by: RankBy = "score"
) -> np.ndarray:
    """Return the numbers of the best alignments: of each query the best first, one a track.

    Args:
        alignments: Of queries.
        scores: Of the alignments.
        track_starts: First item of each track, and the number of items at last; int64.
        num_matches: Alignments a query, at most.
        rank_by: `score`, of equal ones the one with more votes; or `votes` alone. Of equal ones, the first in the index
            comes first.
    """
    votes = alignments.votes
    by_rank = (-votes, -scores) if rank_by == "score" else (-votes,)
    order = np.lexsort((alignments.start, *by_rank, alignments.query))
    query = alignments.query[order]
    track = tracks_of(alignments.start[order], track_starts)
    # the first of each query and track, in the order of rank
    first = np.sort(np.unique((query << 32) | track, return_index=True)[1])
    order, query = order[first], query[first]
    place = np.arange(len(query)) - np.searchsorted(query, query)
    return np.asarray(order[place < num_matches])
