"""Exhaustive search over the vectors themselves: the oracle of every other index."""

from pathlib import Path
from typing import Literal

import faiss
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.files.indexes import Manifest
from retrieval.index.base import Index, Options, to_float_rows
from retrieval.index.flat_codes import FlatCodesIndex


class ExactIndex(FlatCodesIndex):
    """Compare queries with every stored vector, kept in float32.

    faiss orders equal inner products by falling position, so cosine search is euclidean search among vectors of unit
    length: 1 - cos = ||q - x||^2 / 2.

    Args:
        metric: `cosine` distance, 1 - cos, in [0, 2]; or `euclidean`, squared. Vectors of length zero have no cosine:
            items are refused, and a query is as far (1 / 2) from all.
    """

    def __init__(self, metric: Literal["cosine", "euclidean"] = "cosine") -> None:
        super().__init__()
        if metric not in ("cosine", "euclidean"):
            raise ValueError(f"metric must be cosine or euclidean; got {metric!r}.")
        self.metric = metric

    def add(self, vectors: Float[Tensor, "item feature"], item_ids: Int[Tensor, " item"]) -> None:
        """Store vectors.

        Raises:
            ValueError: If an id is negative or there twice, there isn't one id a vector, or the vectors have another
                size than those stored, or one is not finite, or of length zero where the metric is cosine.
        """
        if len(self) == 0:
            self._take_dim(vectors.shape[1])
        rows = to_float_rows(self._scaled(vectors), self.faiss_index.d)
        if self.metric == "cosine" and not bool(rows.any(axis=1).all()):
            row = int(np.flatnonzero(~rows.any(axis=1))[0])
            raise ValueError(f"A cosine needs a direction; row {row} is all zeros. Leave it out, or use euclidean.")
        self._add_rows(rows.view(np.uint8), item_ids)

    def merge(self, other: Index) -> None:
        """Take in the items of another index, which keeps them.

        Raises:
            ValueError: If it is of another kind, metric or dimension, or shares an id; nothing has changed then.
        """
        if len(self) == 0 and len(other):
            self._take_dim(other.faiss_index.d)
        super().merge(other)

    def check_mergeable(self, other: Index) -> None:
        """Check that another index has the same metric and, where both hold items, the same dimension.

        Raises:
            ValueError: If it has not, or is of another kind.
        """
        super().check_mergeable(other)
        if len(self) and len(other) and self.faiss_index.d != other.faiss_index.d:
            raise ValueError(f"Expected vectors of {self.faiss_index.d} dimensions; got {other.faiss_index.d}.")

    def distances(self, queries: Float[Tensor, "query feature"]) -> Float[Tensor, "query item"]:
        """Measure every item, in the precision of the queries, but at least float32.

        Raises:
            RuntimeError: If the index is empty.
            ValueError: If the queries have another size than the items.
        """
        self._check_has_items()
        if queries.shape[1] != self.faiss_index.d:
            raise ValueError(f"Expected vectors of {self.faiss_index.d} dimensions; got {queries.shape[1]}.")
        queries = self._scaled(queries.to(torch.promote_types(queries.dtype, torch.float32)))
        items = self._on(queries.device).to(queries.dtype)
        squares = queries.square().sum(dim=1, keepdim=True) + items.square().sum(dim=1)
        distances = (squares - 2 * queries @ items.T).clamp(min=0)
        return distances / 2 if self.metric == "cosine" else distances

    def _take_dim(self, dim: int) -> None:
        """Let an empty index hold vectors of this size."""
        self._searcher, self._is_mapped = faiss.IndexFlatL2(dim), False

    def _scaled(self, vectors: Tensor) -> Tensor:
        return torch.nn.functional.normalize(vectors, dim=1) if self.metric == "cosine" else vectors

    def _unpack(self, rows: Tensor) -> Tensor:
        return rows.view(torch.float32)

    def _new_searcher(self) -> faiss.IndexFlatL2:
        if self._searcher is None:
            raise RuntimeError("The index is empty and doesn't know its dimension; add items first.")
        return faiss.IndexFlatL2(self._searcher.d)

    def faiss_queries(self, queries: Float[Tensor, "query feature"]) -> np.ndarray:
        """Return vectors, of unit length for cosine.

        Raises:
            ValueError: If the queries have another size than the items, or one is not finite.
        """
        return to_float_rows(self._scaled(queries), self.faiss_index.d)

    def _to_distances(self, found: np.ndarray) -> np.ndarray:
        return found / 2 if self.metric == "cosine" else found

    def _options(self) -> Options:
        return {"metric": self.metric}

    @classmethod
    def _read_empty(cls, folder: Path, manifest: Manifest) -> "ExactIndex":
        return cls(**manifest.options)  # type: ignore[arg-type]
