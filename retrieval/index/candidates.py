"""Two stages of search: a cheap similarity chooses candidates, which something better ranks."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def nearest_candidates(similarity: Float[Tensor, "query item"], num_candidates: int) -> Bool[Tensor, "query item"]:
    """Choose the items of the highest similarity to each query; all where there are no more."""
    num_chosen = min(num_candidates, similarity.shape[1])
    chosen = torch.zeros_like(similarity, dtype=torch.bool)
    chosen.scatter_(1, similarity.topk(num_chosen, dim=1).indices, True)
    return chosen


def rank_candidates_first(
    level: Float[Tensor, "query item"], similarity: Float[Tensor, "query item"]
) -> Float[Tensor, "query item"]:
    """Return distances by which candidates come first, by their level, and the rest follow by their similarity.

    Args:
        level: Of a candidate, at least 0, larger is closer; NaN for the rest.
        similarity: In [-1, 1], larger is closer.
    """
    return torch.where(level.isnan(), 2 - similarity, -level)
