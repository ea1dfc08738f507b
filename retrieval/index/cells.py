"""What indexes share that search some cells of space only: a coarse quantizer, and residuals product-quantized.

Jegou, Douze and Schmid (2011), section IV: an item lies in the list of its nearest centroid, as the code of what the
centroid leaves over; a query visits the lists of its nearest centroids.
"""

import math
from abc import abstractmethod
from pathlib import Path
from typing import Any, TypeVar

import faiss
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.files.indexes import Manifest
from retrieval.index.base import MAX_GPU_ITEMS, Index, to_float_rows
from storage.faiss_index import read_faiss, write_faiss

CellKind = TypeVar("CellKind", bound="CellIndex")


class CellIndex(Index):
    """Visit the `num_probes` cells nearest to a query, and rank their items by asymmetric distance.

    Args:
        dim: Size of the vectors; filled up with zeros where books don't divide it.
        num_cells: Cells there are.
        num_probes: Cells that a query visits; may be changed at any time.
        num_bits: Length of a residual's code.
        num_codewords: Codewords a book; a power of two.
        seed: Seed of k-means.

    Raises:
        ValueError: If a number is not positive, there are more probes than cells or more books than dimensions,
            `num_codewords` is not a power of two, or `num_bits` not a multiple of its logarithm.
    """

    _keeps_order = False

    def __init__(self, dim: int, num_cells: int, num_probes: int, num_bits: int, num_codewords: int, seed: int) -> None:
        super().__init__()
        if min(dim, num_cells, num_bits) < 1 or not 1 <= num_probes <= num_cells:
            raise ValueError(
                f"Expected at least one dimension, cell and bit, and between one probe and a probe a cell; got {dim} "
                f"dimensions, {num_cells} cells, {num_bits} bits, {num_probes} probes."
            )
        if num_codewords < 2 or num_codewords & (num_codewords - 1) or num_bits % bits_per_book(num_codewords):
            raise ValueError(
                f"num_codewords must be a power of two, and num_bits a multiple of its logarithm; got {num_codewords} "
                f"and {num_bits}. Try 256 and a multiple of 8."
            )
        self.dim = dim
        self.num_bits = num_bits
        self.num_codewords = num_codewords
        self.seed = seed
        self._num_cells = num_cells
        self._num_books = num_bits // bits_per_book(num_codewords)
        if self._num_books > dim:
            raise ValueError(f"A book needs at least one dimension; got {self._num_books} books for {dim} dimensions.")
        self._searcher: Any = None
        self._is_mapped = False
        self.num_probes = num_probes

    @property
    def num_probes(self) -> int:
        """Cells that a query visits; more than 2048 are visited on the host, after `to_gpus` too."""
        return self._num_probes

    @num_probes.setter
    def num_probes(self, num_probes: int) -> None:
        self._num_probes = num_probes
        if self._searcher is not None:
            self._searcher.nprobe = num_probes
        if self._gpu_searcher is not None and num_probes <= MAX_GPU_ITEMS:
            # a faiss without GPUs lacks the former, which knows the latter's indexes too
            parameters = getattr(faiss, "GpuParameterSpace", faiss.ParameterSpace)()
            parameters.set_index_parameter(self._gpu_searcher, "nprobe", num_probes)

    @property
    def is_fitted(self) -> bool:
        """Whether there are centroids and codebooks."""
        return self._searcher is not None

    @property
    def faiss_index(self) -> Any:  # noqa: ANN401 - faiss's types lack members
        """The faiss index beneath; its ids are the items'.

        Raises:
            RuntimeError: If it is not fitted.
        """
        if self._searcher is None:
            raise RuntimeError(
                f"{type(self).__name__} is not fitted; call fit(vectors) with at least a sample of the items."
            )
        return self._searcher

    @property
    def bytes_per_item(self) -> float:
        """Bytes of a code, and twice 8 of the id: in its list and in `item_ids`."""
        return math.ceil(self.num_bits / 8) + 16.0

    def fit(self, vectors: Float[Tensor, "item feature"]) -> None:
        """Fit centroids to vectors, and codebooks to what the centroids leave over.

        Raises:
            ValueError: If there are fewer vectors than centroids or codewords, or they have another size than `dim`,
                or one is not finite.
            RuntimeError: If it holds items, which are encoded by the earlier fit.
        """
        if len(self):
            raise RuntimeError(f"{type(self).__name__} holds {len(self)} items of an earlier fit; fit a new index.")
        rows = self.faiss_queries(vectors)
        least = max(self._num_centroids, self.num_codewords)
        if len(rows) < least:
            raise ValueError(
                f"{type(self).__name__} needs at least {least} vectors to fit; got {len(rows)}. Use fewer cells."
            )
        searcher = self._new_searcher()
        for clustering in (searcher.cp, searcher.pq.cp):
            clustering.seed = self.seed + 1
            clustering.min_points_per_centroid = 1
        searcher.train(rows)
        self._gpu_searcher = None
        self._keep(searcher, is_mapped=False)

    def add(self, vectors: Float[Tensor, "item feature"], item_ids: Int[Tensor, " item"]) -> None:
        """Encode and store items, each in the list of its cell.

        Raises:
            ValueError: If an id is negative or there twice, there isn't one id a vector, or the vectors have another
                size than `dim` or one is not finite.
            RuntimeError: If it is not fitted.
        """
        rows = self.faiss_queries(vectors)
        self._own()
        searcher = self.faiss_index  # raises where there is none, before ids are taken in
        self._take_in(item_ids, len(rows))
        if len(rows):
            searcher.add_with_ids(rows, item_ids.detach().cpu().numpy().astype(np.int64))

    def remove(self, item_ids: Int[Tensor, " item"]) -> None:
        """Remove items.

        Raises:
            ValueError: If an id is not in the index, which is then as it was.
        """
        positions = self._positions_of(item_ids)
        if len(positions):
            self._own()
            self.faiss_index.remove_ids(faiss.IDSelectorBatch(self._ids[positions]))
            self._id_blocks = [np.delete(self._ids, positions)]

    def merge(self, other: Index) -> None:
        """Take in the items of another index, which keeps them.

        Raises:
            ValueError: If it is of another kind, was fitted otherwise, or shares an id; nothing has changed then.
            RuntimeError: If either is not fitted.
        """
        self.check_mergeable(other)
        self._own()
        self._take_in(other.item_ids, len(other))
        by_id = faiss.InvertedLists.SUBSET_TYPE_ID_RANGE  # type: ignore[attr-defined]
        other.faiss_index.copy_subset_to(self.faiss_index, by_id, 0, 2**63 - 1)

    def check_mergeable(self, other: Index) -> None:
        """Check that another index is built like this one, with the same centroids and codebooks.

        Raises:
            ValueError: If it is of another kind, or encodes otherwise.
            RuntimeError: If either is not fitted.
        """
        super().check_mergeable(other)
        assert isinstance(other, CellIndex)
        pairs = zip(self._trained_arrays(), other._trained_arrays(), strict=True)
        if not all(np.array_equal(ours, theirs) for ours, theirs in pairs):
            raise ValueError(
                "Only indexes of one fit can be merged; these have other centroids. Fit once, save, load twice."
            )

    def distances(self, queries: Float[Tensor, "query feature"]) -> Float[Tensor, "query item"]:
        """Measure the items of the cells visited, in float32 on the host; the others are infinitely far.

        Raises:
            RuntimeError: If the index is empty, or not fitted.
            ValueError: If the queries have another size than `dim`, or one is not finite.
        """
        self._check_has_items()
        limits, found, item_ids = self.faiss_index.range_search(self.faiss_queries(queries), np.inf)
        distances = np.full((len(queries), len(self)), np.inf, dtype=np.float32)
        lengths: np.ndarray = np.diff(np.asarray(limits, dtype=np.int64))
        rows = np.repeat(np.arange(len(queries)), lengths)
        distances[rows, np.searchsorted(self._ids, item_ids)] = found
        return torch.from_numpy(distances).to(queries.device)

    @property
    @abstractmethod
    def _num_centroids(self) -> int:
        """Centroids that k-means fits at once."""

    @abstractmethod
    def _new_searcher(self) -> Any:  # noqa: ANN401
        """Make a faiss index that is not fitted."""

    @abstractmethod
    def _trained_arrays(self) -> list[np.ndarray]:
        """Return all that a fit finds."""

    @property
    def _filled_dim(self) -> int:
        """Dimension after filling up with zeros, so that books and halves divide it."""
        return math.ceil(self.dim / self._slices) * self._slices

    @property
    def _slices(self) -> int:
        """Number that the filled dimension is a multiple of."""
        return self._num_books

    def faiss_queries(self, queries: Float[Tensor, "query feature"]) -> np.ndarray:
        """Return vectors filled up with zeros.

        Raises:
            ValueError: If the queries have another size than the items, or one is not finite.
        """
        rows = to_float_rows(queries, self.dim)
        return np.pad(rows, ((0, 0), (0, self._filled_dim - self.dim))) if self._filled_dim > self.dim else rows

    def _to_ids(self, found: np.ndarray) -> np.ndarray:
        return found

    def _own(self) -> None:
        """Copy what is mapped from a file into memory, before it changes."""
        self._gpu_searcher = None
        if self._is_mapped:
            self._keep(faiss.deserialize_index(faiss.serialize_index(self.faiss_index)), is_mapped=False)

    def _keep(self, searcher: Any, *, is_mapped: bool) -> None:  # noqa: ANN401
        searcher.nprobe = self.num_probes
        self._searcher, self._is_mapped = searcher, is_mapped

    def _searcher_for(self, num_items: int) -> Any:  # noqa: ANN401
        return self.faiss_index if self.num_probes > MAX_GPU_ITEMS else super()._searcher_for(num_items)

    def _write(self, folder: Path) -> None:
        write_faiss(folder / "index.faiss", self.faiss_index)

    @classmethod
    def _read(cls: type[CellKind], folder: Path, manifest: Manifest) -> CellKind:
        index = cls(**manifest.options)  # type: ignore[arg-type]
        index._keep(read_faiss(folder / "index.faiss"), is_mapped=True)
        if index._searcher.d != index._filled_dim or index._searcher.nlist != index._num_cells:
            raise ValueError(f"index.faiss has {index._searcher.d} dimensions and {index._searcher.nlist} cells")
        return index


def bits_per_book(num_codewords: int) -> int:
    """Return the bits that name a codeword."""
    return num_codewords.bit_length() - 1
