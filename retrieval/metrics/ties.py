"""Runs of equally distant items in a ranking, and the probability of hits among the first of them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class TieRuns:
    """For each rank, the run of tied items it lies in. Ranks count from 0.

    Attributes:
        start: Rank at which the run begins.
        size: Items in the run, g.
        hits: Relevant items in the run, r.
        hits_before: Relevant items ranked before the run, h.
    """

    start: Int[Tensor, "query item"]
    size: Int[Tensor, "query item"]
    hits: Int[Tensor, "query item"]
    hits_before: Int[Tensor, "query item"]


def find_tie_runs(distances: Float[Tensor, "query item"], relevance: Bool[Tensor, "query item"]) -> TieRuns:
    """Describe the runs of equal distance in rankings.

    Args:
        distances: In ranked order, never falling along a row.
        relevance: Whether the item at a rank is relevant.
    """
    num_items = distances.shape[1]
    rank = torch.arange(num_items, device=distances.device).expand_as(relevance)
    begins = torch.ones_like(relevance)
    begins[:, 1:] = distances[:, 1:] != distances[:, :-1]
    ends = torch.ones_like(relevance)
    ends[:, :-1] = begins[:, 1:]
    start = torch.where(begins, rank, 0).cummax(dim=1).values
    stop = torch.where(ends, rank + 1, num_items).flip(1).cummin(dim=1).values.flip(1)
    cumulative = torch.nn.functional.pad(relevance.cumsum(dim=1), (1, 0))
    hits_before = cumulative.gather(1, start)
    return TieRuns(start, stop - start, cumulative.gather(1, stop) - hits_before, hits_before)


def log_hypergeometric(
    drawn_hits: Float[Tensor, "*batch"],
    hits: Float[Tensor, "*batch"],
    size: Float[Tensor, "*batch"],
    drawn: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"]:
    """Log-probability of `drawn_hits` hits among `drawn` items taken from `size` items of which `hits` are hits.

    Returns:
        Minus infinity where it can't happen.
    """
    return _log_binomial(hits, drawn_hits) + _log_binomial(size - hits, drawn - drawn_hits) - _log_binomial(size, drawn)


def _log_binomial(total: Tensor, chosen: Tensor) -> Tensor:
    possible = (chosen >= 0) & (chosen <= total)
    inside = chosen.clamp(min=0).minimum(total.clamp(min=0))
    value = torch.lgamma(total + 1) - torch.lgamma(inside + 1) - torch.lgamma(total - inside + 1)
    return torch.where(possible, value, -torch.inf)
