"""Find where in the tracks of an index a query of several segments lies (FlowHash, section 3.4).

The paper takes the start that most segments agree on; here, unless told otherwise, starts are compared by the mean
inner product of all segments with the items they would lie on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from retrieval.index.alignment import (
    Alignments,
    RankBy,
    propose_alignments,
    rank_alignments,
    score_alignments,
    tracks_of,
)
from retrieval.index.fingerprint_index import FingerprintIndex
from retrieval.index.probing import Probing


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


def search_sequences(
    index: FingerprintIndex,
    queries: Sequence[Float[Tensor, "_segment feature"]],
    num_matches: int = 1,
    num_nearest: int = 5,
    rank_by: RankBy = "score",
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
    alignments = propose_alignments(found.item_ids.numpy(), lengths, index.track_starts)
    scores = score_alignments(alignments, lengths, partial(index.score_pairs, index.prepare(segments)))
    per_query = torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths))
    costs = [
        torch.zeros(len(lengths)).index_add(0, per_query, cost.float()) / torch.from_numpy(lengths)
        for cost in (found.num_evaluated, found.num_probed)
    ]
    chosen = rank_alignments(alignments, scores, index.track_starts, num_matches, rank_by)
    return SequenceSearch(_to_matches(index, alignments, scores, lengths, chosen), costs[0], costs[1])


def _to_matches(
    index: FingerprintIndex, alignments: Alignments, scores: np.ndarray, lengths: np.ndarray, chosen: np.ndarray
) -> list[list[Match]]:
    query, start, score = alignments.query[chosen], alignments.start[chosen], scores[chosen]
    track = tracks_of(start, index.track_starts)
    hop, segment_seconds = index.settings.hop_seconds, index.settings.segment_seconds
    begin_seconds = (start - index.track_starts[track]) * hop
    end_seconds = (lengths[query] - 1) * hop + segment_seconds
    p_values: list[float] | list[None] = [None] * len(chosen)
    is_match: list[bool] | list[None] = [None] * len(chosen)
    if index.no_match is not None:
        p_values = index.no_match.p_value(score, lengths[query]).tolist()
        is_match = index.no_match.is_match(score, lengths[query]).tolist()
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
