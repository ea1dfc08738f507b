"""What exhaustive indexes share: one code of fixed length an item, in one array, in the order of ids."""

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import faiss
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.files.indexes import Manifest
from retrieval.index.base import Index
from storage.faiss_index import read_faiss, write_faiss

FlatKind = TypeVar("FlatKind", bound="FlatCodesIndex")


class FlatCodesIndex(Index):
    """Keep items as rows of bytes in a faiss index whose ids are positions in `item_ids`.

    faiss owns the rows, so that there is one copy and appending is cheap; torch reads them in place. In the flat
    indexes used here faiss orders by distance and position, which is the order of ids.
    """

    _faiss_file = "index.faiss"

    def __init__(self) -> None:
        super().__init__()
        self._searcher: Any = None
        self._is_mapped = False
        self._cached: Tensor | None = None

    @property
    def faiss_index(self) -> Any:  # noqa: ANN401 - faiss ships no types
        """The faiss index beneath; its ids are positions in `item_ids`.

        Raises:
            RuntimeError: If no item was ever added.
        """
        if self._searcher is None:
            self._searcher = self._new_searcher()
        return self._searcher

    @property
    def bytes_per_item(self) -> float:
        """Bytes of a code, and 8 of the id."""
        return float(self._width + 8)

    def remove(self, item_ids: Int[Tensor, " item"]) -> None:
        """Remove items.

        Raises:
            ValueError: If an id is not in the index, which is then as it was.
        """
        positions = self._positions_of(item_ids)
        if len(positions):
            self._replace(np.delete(self._rows, positions, axis=0))
            self._id_blocks = [np.delete(self._ids, positions)]

    def merge(self, other: Index) -> None:
        """Take in the items of another index, which keeps them.

        Raises:
            ValueError: If it is of another kind, encodes otherwise, or shares an id; nothing has changed then.
        """
        self.check_mergeable(other)
        assert isinstance(other, FlatCodesIndex)
        if len(other):
            self._add_rows(other._rows, other.item_ids)

    def _add_rows(self, rows: np.ndarray, item_ids: Tensor) -> None:
        searcher = self.faiss_index  # raises where there is none, before ids are taken in
        order = self._take_in(item_ids, len(rows))
        if order is None and not self._is_mapped:
            self._append(searcher, rows)
        else:
            joined = np.concatenate([self._rows, rows])
            self._replace(joined if order is None else joined[order])
        self._cached = self._gpu_searcher = None

    def _replace(self, rows: np.ndarray) -> None:
        searcher = self._new_searcher()
        self._append(searcher, rows)
        self._searcher, self._is_mapped = searcher, False
        self._cached = self._gpu_searcher = None

    def _append(self, searcher: Any, rows: np.ndarray) -> None:  # noqa: ANN401
        if len(rows):
            flat = _flat_part(searcher)
            flat.add_sa_codes(np.ascontiguousarray(rows))
            searcher.ntotal = flat.ntotal

    @property
    def _width(self) -> int:
        return int(_flat_part(self.faiss_index).code_size)

    @property
    def _rows(self) -> np.ndarray:
        """Codes as faiss holds them, uint8 [item, byte]; a view that the next change makes invalid."""
        rows = self._bytes_of(_flat_part(self.faiss_index))
        size = rows.size()
        taken = faiss.rev_swig_ptr(rows.data(), size) if size else np.empty(0, dtype=np.uint8)
        return np.asarray(taken).reshape(-1, self._width)

    def _bytes_of(self, flat: Any) -> Any:  # noqa: ANN401
        return flat.codes

    def _on(self, device: torch.device) -> Tensor:
        """Return all rows as `_unpack` makes them, on a device; the last device's are kept."""
        if self._cached is None or self._cached.device != device:
            self._cached = self._unpack(torch.from_numpy(self._rows)).to(device)
        return self._cached

    @abstractmethod
    def _unpack(self, rows: Tensor) -> Tensor:
        """Turn bytes into what `distances` computes with."""

    @abstractmethod
    def _new_searcher(self) -> Any:  # noqa: ANN401
        """Make an empty faiss index.

        Raises:
            RuntimeError: If it is not known yet what of.
        """

    def _to_ids(self, found: np.ndarray) -> np.ndarray:
        return np.asarray(self._ids[found])

    def _write(self, folder: Path) -> None:
        write_faiss(folder / self._faiss_file, self.faiss_index)

    @classmethod
    def _read(cls: type[FlatKind], folder: Path, manifest: Manifest) -> FlatKind:
        index = cls._read_empty(folder, manifest)
        index._searcher, index._is_mapped = cls._read_searcher(folder / cls._faiss_file), True
        return index

    @classmethod
    @abstractmethod
    def _read_empty(cls: type[FlatKind], folder: Path, manifest: Manifest) -> FlatKind:
        """Make the index that was written, without its items."""

    _read_searcher: Callable[[Path], Any] = staticmethod(read_faiss)


def sum_lookups(
    table: Float[Tensor, "query book word"], codes: Int[Tensor, "book item"]
) -> Float[Tensor, "query item"]:
    """Sum one table entry a book, in the order of books, so that equal codes give equal values."""
    total = table[:, 0].index_select(1, codes[0])
    for book in range(1, len(codes)):
        total += table[:, book].index_select(1, codes[book])
    return total


def _flat_part(searcher: Any) -> Any:  # noqa: ANN401
    return faiss.downcast_index(searcher.index) if isinstance(searcher, faiss.IndexPreTransform) else searcher
