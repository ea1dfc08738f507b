"""Precision, recall and hit rate among the first k items, ties in expectation."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retrieval.metrics.ties import find_tie_runs, log_hypergeometric


@dataclass(frozen=True)
class CutoffScores:
    """Scores of each query at one cut-off k, all in [0, 1], larger is better.

    Attributes:
        precision: Relevant items among the first k, divided by k (or by the list's length, if it is shorter).
        recall: Relevant items among the first k, divided by all relevant items; 0 where there are none.
        hit: Probability that a relevant item is among the first k.
    """

    precision: Float[Tensor, " query"]
    recall: Float[Tensor, " query"]
    hit: Float[Tensor, " query"]


def cutoff_scores(
    distances: Float[Tensor, "query item"], relevance: Bool[Tensor, "query item"], cutoff: int
) -> CutoffScores:
    """Score the first `cutoff` items; where the cut falls into tied items, over all their orders.

    Args:
        distances: In ranked order, never falling along a row; infinity marks an item that is not in the list.
        relevance: Whether the item at a rank is relevant.
        cutoff: k; beyond the list it is the list's length.

    Raises:
        ValueError: If the cut-off is under 1.
    """
    if cutoff < 1:
        raise ValueError(f"A cut-off counts items and is at least 1; got {cutoff}.")
    listed = torch.isfinite(distances)
    relevance = relevance & listed
    depth = min(cutoff, distances.shape[1])
    runs = find_tie_runs(distances, relevance)
    size, hits, before = (column[:, depth - 1].double() for column in (runs.size, runs.hits, runs.hits_before))
    drawn = depth - runs.start[:, depth - 1].double()
    expected_hits = before + hits * drawn / size
    length = listed.sum(dim=1).clamp(min=1, max=depth)
    no_hit = torch.where(before > 0, 0.0, log_hypergeometric(torch.zeros_like(hits), hits, size, drawn).exp())
    return CutoffScores(
        precision=expected_hits / length,
        recall=expected_hits / relevance.sum(dim=1).clamp(min=1),
        hit=1 - no_hit,
    )
