"""Whether a query is found in the right track at the right time, in shares with Wilson's interval.

FlowHash (section 4.2): a match is correct only if its time is within 50 ms of the true one. Music that repeats makes a
second place as right as the first to the ear, but not to this count, so that results are given without it as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import scipy.stats
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retrieval.metrics.bootstrap import check_confidence

# Found times are multiples of a hop, which binary fractions don't hold: 0.8 - 0.75 exceeds 0.05 by 4e-17. A
# microsecond is far under a sample.
_ROUNDING_SECONDS = 1e-6


@dataclass(frozen=True)
class HitShare:
    """Queries that are hits, with the interval that their number gives the share.

    Attributes:
        num_hits: Queries that are hits.
        num_queries: All queries.
        share: Their ratio, in [0, 1].
        low: Lower end of Wilson's interval.
        high: Upper end.
    """

    num_hits: int
    num_queries: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class ConditionHits:
    """What was found of the queries of one condition; None where no query is left.

    Attributes:
        condition: Its name, such as "noise 0 dB".
        localised: Right track, and a time within the tolerance.
        track: Right track at any time.
        localised_unrepeated: `localised` among queries whose passage occurs once in its track.
        track_unrepeated: `track` among them.
    """

    condition: str
    localised: HitShare | None
    track: HitShare | None
    localised_unrepeated: HitShare | None
    track_unrepeated: HitShare | None


def track_hits(found_track: Int[Tensor, " query"], track: Int[Tensor, " query"]) -> Bool[Tensor, " query"]:
    """Say of each query whether the right track was found.

    Args:
        found_track: -1 where nothing was found, which is a miss whatever the true track.
        track: The true one, numbered alike; -1 for a query from outside the database, which no track is right for.
    """
    return (found_track == track) & (found_track >= 0)


def localisation_hits(
    found_track: Int[Tensor, " query"],
    found_start_seconds: Float[Tensor, " query"],
    track: Int[Tensor, " query"],
    start_seconds: Float[Tensor, " query"],
    tolerance_seconds: float = 0.05,
) -> Bool[Tensor, " query"]:
    """Say of each query whether it was found in the right track at the right time.

    Args:
        found_track: -1 where nothing was found, which is a miss.
        found_start_seconds: Where in that track the query starts; of any value, NaN too, where nothing was found.
        track: The true track.
        start_seconds: Where in it the query truly starts; float64, since float32 is 60 us off after 1,000 s.
        tolerance_seconds: Largest error of a hit, itself included.

    Raises:
        ValueError: If the tolerance is negative.
    """
    if not tolerance_seconds >= 0:
        raise ValueError(f"tolerance_seconds is an error, at least 0; got {tolerance_seconds}. The paper's is 0.05.")
    error = (found_start_seconds.double() - start_seconds.double()).abs()
    return track_hits(found_track, track) & (error <= tolerance_seconds + _ROUNDING_SECONDS)


def wilson_interval(hits: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Bound the probability of a hit by the score interval of Wilson (1927).

    Unlike hits / total plus and minus some deviations, it stays within [0, 1] and is wider than a point at no hits.

    Args:
        hits: Queries that are hits.
        total: All queries.
        confidence: Probability with which such intervals hold the true value.

    Returns:
        Lower and upper end.

    Raises:
        ValueError: If there is no query, fewer than hits, or `confidence` is not in (0, 1).
    """
    check_confidence(confidence)
    if not 0 <= hits <= total or total == 0:
        raise ValueError(f"Expected 0 to total hits among at least one query; got {hits} of {total}. Look at the mask.")
    interval = scipy.stats.binomtest(hits, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def hit_share(is_hit: Bool[Tensor, " query"], confidence: float = 0.95) -> HitShare:
    """Count hits.

    Raises:
        ValueError: If there is no query, or `confidence` is not in (0, 1).
    """
    num_hits, num_queries = int(is_hit.sum()), len(is_hit)
    low, high = wilson_interval(num_hits, num_queries, confidence)
    return HitShare(num_hits, num_queries, num_hits / num_queries, low, high)


def hits_by_condition(
    is_localised: Bool[Tensor, " query"],
    is_in_track: Bool[Tensor, " query"],
    condition: Int[Tensor, " query"],
    is_repeated: Bool[Tensor, " query"],
    condition_names: Sequence[str],
    confidence: float = 0.95,
) -> list[ConditionHits]:
    """Summarise hits by condition, with all queries and without those whose passage repeats in its track.

    Args:
        is_localised: See `localisation_hits`.
        is_in_track: See `track_hits`.
        condition: Position of each query's condition in `condition_names`.
        is_repeated: Whether the query's passage occurs elsewhere in its track.
        condition_names: Names in the order of the result.
        confidence: Of the intervals.

    Returns:
        One entry a name.

    Raises:
        ValueError: If a condition has no name, or `confidence` is not in (0, 1).
    """
    if len(condition) and not 0 <= int(condition.min()) <= int(condition.max()) < len(condition_names):
        raise ValueError(
            f"Expected conditions from 0 to {len(condition_names) - 1}, one a name; got {int(condition.min())} to "
            f"{int(condition.max())}. Give the names of the data module that made the queries."
        )

    def share(is_hit: Bool[Tensor, " query"], counts: Bool[Tensor, " query"]) -> HitShare | None:
        return hit_share(is_hit[counts], confidence) if bool(counts.any()) else None

    found = []
    for position, name in enumerate(condition_names):
        here = condition == position
        once = here & ~is_repeated
        found.append(
            ConditionHits(
                condition=name,
                localised=share(is_localised, here),
                track=share(is_in_track, here),
                localised_unrepeated=share(is_localised, once),
                track_unrepeated=share(is_in_track, once),
            )
        )
    return found
