"""Localisation within a tolerance on hand-worked queries, and Wilson's interval against its formula."""

import math

import pytest
import torch
from torch import Tensor

from retrieval.metrics import hit_share, hits_by_condition, localisation_hits, track_hits, wilson_interval


def seconds(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_only_the_right_track_at_the_right_time_is_a_hit() -> None:
    found, track = torch.tensor([3, 3, 3, 4, -1]), torch.tensor([3, 3, 3, 3, 3])
    found_start, start = seconds(7.0, 7.1, 6.9, 7.0, 7.0), seconds(7.04, 7.04, 7.04, 7.0, 7.0)
    assert localisation_hits(found, found_start, track, start).tolist() == [True, False, False, False, False]
    assert track_hits(found, track).tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("hop", range(0, 300, 7))
def test_a_time_just_within_the_tolerance_is_a_hit_whatever_its_binary_rounding(hop: int) -> None:
    track, found = torch.tensor([0, 0, 0, 0]), seconds(*[hop * 0.1] * 4)
    start = hop / 10 + seconds(0.05, -0.05, 0.05 + 1e-5, -0.05 - 1e-5)
    assert localisation_hits(track, found, track, start).tolist() == [True, True, False, False]


def test_half_a_hop_off_is_a_hit_where_plain_subtraction_says_no() -> None:
    assert 0.8 - 0.75 > 0.05
    assert bool(localisation_hits(torch.tensor([0]), seconds(0.8), torch.tensor([0]), seconds(0.75)))


def test_the_tolerance_is_the_callers() -> None:
    track, found, start = torch.tensor([1]), seconds(2.0), seconds(2.3)
    assert not bool(localisation_hits(track, found, track, start, 0.25))
    assert bool(localisation_hits(track, found, track, start, 0.3))
    assert bool(localisation_hits(track, start, track, start, 0.0))


def test_nothing_found_is_a_miss_even_for_queries_from_elsewhere() -> None:
    nothing, outside, time = torch.tensor([-1, 2]), torch.tensor([-1, -1]), seconds(float("nan"), 1)
    assert not bool(localisation_hits(nothing, time, outside, seconds(0, 1)).any())
    assert not bool(track_hits(nothing, outside).any())
    assert not bool(localisation_hits(outside, time, torch.tensor([0, 0]), time).any())


def test_no_time_is_a_miss() -> None:
    track = torch.tensor([5])
    assert not bool(localisation_hits(track, seconds(float("nan")), track, seconds(1)))


def test_no_query_has_no_hit() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert localisation_hits(none, seconds(), none, seconds()).shape == (0,)


@pytest.mark.parametrize(("hits", "total"), [(0, 10), (10, 10), (1, 1), (37, 100), (630, 1000)])
@pytest.mark.parametrize(("confidence", "deviations"), [(0.95, 1.959963984540054), (0.99, 2.5758293035489004)])
def test_wilson_interval_is_its_formula(hits: int, total: int, confidence: float, deviations: float) -> None:
    share, square = hits / total, deviations**2
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = deviations / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    assert wilson_interval(hits, total, confidence) == pytest.approx((middle - half, middle + half), abs=1e-12)


def test_no_hit_among_ten_is_no_proof_of_none() -> None:
    # from the deviation z = 1.96 and n = 10: 3.84 of 13.84
    assert wilson_interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)


def test_a_share_counts_its_hits() -> None:
    share = hit_share(torch.tensor([True, False, True, True]), 0.9)
    assert (share.num_hits, share.num_queries, share.share) == (3, 4, 0.75)
    assert (share.low, share.high) == wilson_interval(3, 4, 0.9)


def test_hits_are_summarised_by_condition_with_and_without_repeats() -> None:
    condition = torch.tensor([1, 0, 1, 1, 0, 1, 3])
    localised = torch.tensor([True, True, False, False, False, True, False])
    in_track = torch.tensor([True, True, True, False, False, True, True])
    repeated = torch.tensor([False, False, True, False, True, True, True])
    names = ["noise 0 dB", "noise 5 dB", "reverb T60 0.4 s", "silence"]
    first, second, empty, last = hits_by_condition(localised, in_track, condition, repeated, names)
    assert [row.condition for row in (first, second, empty, last)] == names
    counts = [
        [(share.num_hits, share.num_queries) if share else None for share in shares]
        for shares in (
            (row.localised, row.track, row.localised_unrepeated, row.track_unrepeated)
            for row in (first, second, empty, last)
        )
    ]
    assert counts == [
        [(1, 2), (1, 2), (1, 1), (1, 1)],
        [(2, 4), (3, 4), (1, 2), (1, 2)],
        [None, None, None, None],
        [(0, 1), (1, 1), None, None],
    ]
