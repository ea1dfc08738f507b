"""Average precision of rankings, with the choices that published definitions differ in made explicit.

Average precision at cut-off R of one query sums precision at the rank of each hit among the first R,

    AP@R = 1 / D * sum_{i <= R} rel_i * (sum_{j <= i} rel_j) / i.

Authors differ in the denominator D, in queries without a hit, and in the order of equally distant items, which
a short code makes plenty of. Ties are scored in expectation over their orders unless told otherwise (McSherry and
Najork, Computing information retrieval performance measures efficiently in the presence of tied scores, 2008).
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retrieval.metrics.ties import TieRuns, find_tie_runs, log_hypergeometric

Denominator = Literal["all_relevant", "min_r_relevant", "hits_at_r"]
ZeroHit = Literal["zero", "drop"]
Ties = Literal["expected", "order", "best", "worst"]


def average_precision(
    distances: Float[Tensor, "query item"],
    relevance: Bool[Tensor, "query item"],
    cutoffs: Sequence[int | None] = (None,),
    denominator: Denominator = "min_r_relevant",
    ties: Ties = "expected",
) -> tuple[Float[Tensor, "query cutoff"], Float[Tensor, "query cutoff"]]:
    """Compute AP@R of each query at several cut-offs.

    Args:
        distances: In ranked order, never falling along a row; infinity marks an item that is not in the list.
        relevance: Whether the item at a rank is relevant.
        cutoffs: Values of R; None is the whole list. An R beyond the list is the whole list.
        denominator: D. `all_relevant`: relevant items in the database. `min_r_relevant`: the same, but at most R, so
            that a perfect list of R items scores 1. `hits_at_r`: hits among the first R, as most deep-hashing code has.
        ties: `expected` averages over all orders of tied items; `order` takes them as given; `best` and `worst` put
            relevant ones first or last.

    Returns:
        Average precision in [0, 1], larger is better; and the probability (0 or 1 but for ties in expectation) that
        the query has a hit among the first R. A query without a hit scores 0.

    Raises:
        ValueError: If a cut-off is under 1, or distances are not sorted or NaN.
    """
    check_choice("denominator", denominator, Denominator)
    check_choice("ties", ties, Ties)
    if bool((distances[:, 1:] < distances[:, :-1]).any()):
        raise ValueError("distances must be in ranked order, smallest first; sort them with their relevance.")
    if bool(distances.isnan().any()):
        raise ValueError("Expected distances, found NaN; look at the embeddings they were measured from.")
    relevance = relevance & torch.isfinite(distances)
    if ties in ("best", "worst"):
        relevance = _order_within_ties(distances, relevance, relevant_first=ties == "best")
    if ties == "expected":
        runs = find_tie_runs(distances, relevance)
    else:  # every item a run of its own
        ranks = torch.arange(distances.shape[1], device=distances.device).double().expand_as(distances)
        runs = find_tie_runs(ranks, relevance)
    num_relevant = relevance.sum(dim=1).double()
    gain_sum = _expected_precision_at_hits(runs).cumsum(dim=1)
    scores, hit_probs = [], []
    for cutoff in cutoffs:
        depth = _depth(cutoff, distances.shape[1])
        hit_prob, by_hits = _straddling_run(runs, gain_sum, depth)
        if denominator == "hits_at_r":
            score = by_hits
        else:
            limit = torch.full_like(num_relevant, depth if denominator == "min_r_relevant" else torch.inf)
            score = gain_sum[:, depth - 1] / num_relevant.minimum(limit).clamp(min=1)
        scores.append(score)
        hit_probs.append(hit_prob)
    return torch.stack(scores, dim=1), torch.stack(hit_probs, dim=1)


def mean_average_precision(
    scores: Float[Tensor, " query"], hit_probs: Float[Tensor, " query"], zero_hit: ZeroHit = "zero"
) -> float:
    """Average AP over queries.

    Args:
        scores: AP of each query.
        hit_probs: Probability that a query has a hit, as `average_precision` returns it.
        zero_hit: `zero` counts a query without a hit as 0; `drop` leaves it out of the mean, which inflates it.

    Returns:
        The mean in [0, 1]; 0 when there is no query to average over.
    """
    check_choice("zero_hit", zero_hit, ZeroHit)
    weight = float(hit_probs.sum()) if zero_hit == "drop" else float(len(scores))
    return float(scores.sum()) / weight if weight > 0 else 0.0


def check_choice(name: str, value: str, choices: object) -> None:
    """Check that an option is one of a `Literal`'s values.

    Raises:
        ValueError: If it is not.
    """
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}; got {value!r}.")


def _expected_precision_at_hits(runs: TieRuns) -> Float[Tensor, "query item"]:
    """Return E[rel_i * precision_i].

    In a run, rank j is a hit with probability r / g, and then the j earlier ranks of the run hold
    j (r - 1) / (g - 1) of the other hits.
    """
    rank = torch.arange(runs.start.shape[1], device=runs.start.device, dtype=torch.float64)
    place = rank - runs.start
    others = place * (runs.hits - 1) / (runs.size - 1).clamp(min=1)
    return runs.hits.double() / runs.size * (runs.hits_before + 1 + others) / (rank + 1)


def _straddling_run(
    runs: TieRuns, gain_sum: Float[Tensor, "query item"], depth: int
) -> tuple[Float[Tensor, " query"], Float[Tensor, " query"]]:
    """Return the probability of any hit in the first `depth` ranks, and E[sum of gains / hits].

    Both are over the orders of the run that the cut-off falls into; its hits above the cut-off are hypergeometric.
    """
    start, size, hits, before = (
        column[:, depth - 1] for column in (runs.start, runs.size, runs.hits, runs.hits_before)
    )
    settled = torch.where(start > 0, gain_sum.gather(1, (start - 1).clamp(min=0)[:, None])[:, 0], 0.0)
    start, size, hits, before = start.double(), size.double(), hits.double(), before.double()
    drawn = depth - start
    # sum over the first t places j of 1 / (start + j + 1) and j / (start + j + 1), as differences of digammas
    reciprocal = torch.digamma(start + drawn + 1) - torch.digamma(start + 1)
    weighted = drawn - (start + 1) * reciprocal
    expected = torch.zeros_like(drawn)
    no_hit = torch.zeros_like(drawn)
    for drawn_hits in torch.arange(int(torch.minimum(hits, drawn).max()) + 1, device=drawn.device, dtype=torch.float64):
        prob = log_hypergeometric(drawn_hits.expand_as(hits), hits, size, drawn).exp()
        gain = drawn_hits / drawn * ((before + 1) * reciprocal + (drawn_hits - 1) / (drawn - 1).clamp(min=1) * weighted)
        num_hits = before + drawn_hits
        expected += torch.where(num_hits > 0, prob * (settled + gain) / num_hits.clamp(min=1), 0.0)
        no_hit += torch.where(num_hits == 0, prob, 0.0)
    return 1 - no_hit, expected


def _order_within_ties(distances: Tensor, relevance: Tensor, *, relevant_first: bool) -> Tensor:
    runs = find_tie_runs(distances, relevance)
    place = torch.arange(distances.shape[1], device=distances.device) - runs.start
    return place < runs.hits if relevant_first else place >= runs.size - runs.hits


def _depth(cutoff: int | None, num_items: int) -> int:
    if cutoff is not None and cutoff < 1:
        raise ValueError(f"A cut-off counts items and is at least 1; got {cutoff}.")
    return num_items if cutoff is None else min(cutoff, num_items)
