"""Exhaustive search over the vectors themselves: the oracle of every other index."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.index.base import Index


class ExactIndex(Index):
    """Compare queries with every stored vector.

    Args:
        metric: `cosine` distance, 1 - cos, in [0, 2]; or `euclidean`, squared.
    """

    def __init__(self, metric: Literal["cosine", "euclidean"] = "cosine") -> None:
        super().__init__()
        if metric not in ("cosine", "euclidean"):
            raise ValueError(f"metric must be cosine or euclidean; got {metric!r}.")
        self.metric = metric
        self._vectors: Tensor | None = None

    def add(self, vectors: Float[Tensor, "item feature"], item_ids: Int[Tensor, " item"]) -> None:
        """Store vectors.

        Raises:
            ValueError: If an id is there twice, or the vectors have another size than those stored.
        """
        if self._vectors is not None and vectors.shape[1] != self._vectors.shape[1]:
            raise ValueError(f"Expected vectors of {self._vectors.shape[1]} dimensions; got {vectors.shape[1]}.")
        order = self._merge_ids(item_ids)
        known = vectors if self._vectors is None else torch.cat([self._vectors, vectors])
        self._vectors = known[order]

    def distances(self, queries: Float[Tensor, "query feature"]) -> Float[Tensor, "query item"]:
        """Measure every item.

        Raises:
            RuntimeError: If the index is empty.
        """
        if self._vectors is None:
            raise RuntimeError("The index is empty; add items before searching.")
        if self.metric == "cosine":
            return (
                1
                - torch.nn.functional.normalize(queries, dim=1) @ torch.nn.functional.normalize(self._vectors, dim=1).T
            )
        squares = queries.square().sum(dim=1, keepdim=True) + self._vectors.square().sum(dim=1)
        return (squares - 2 * queries @ self._vectors.T).clamp(min=0)
