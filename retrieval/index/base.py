"""The contract of an index: items with ids in, rankings in a total order out."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import faiss
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.files.indexes import ITEM_IDS, IndexFileError, Manifest, read_item_ids, read_manifest, write_index_folder
from retrieval.index.order import search_in_total_order
from retrieval.index.ranking import Ranking
from storage.atomic import write_array

IndexKind = TypeVar("IndexKind", bound="Index")
Options = Mapping[str, int | float | str | None]
# faiss's searches on a GPU find so many items at most, and visit so many cells.
MAX_GPU_ITEMS = 2048


class Index(ABC):
    """A searchable set of items, kept in ascending order of their ids; faiss holds them, once, on the host.

    Vectors and queries may be on any device; results are on the queries'. `search` measures in float32, by faiss;
    `distances` in the precision of the queries, by torch, and on their device where search is exhaustive.
    """

    # Whether faiss, asked for k items, gives the first k in order of distance and position.
    _keeps_order = True

    def __init__(self) -> None:
        self._id_blocks = [np.empty(0, dtype=np.int64)]  # joined when they are read
        self._gpu_searcher: Any = None

    def __len__(self) -> int:
        return len(self._id_blocks[0]) if len(self._id_blocks) == 1 else sum(map(len, self._id_blocks))

    @property
    def item_ids(self) -> Int[Tensor, " item"]:
        """Ids in ascending order, on the host; a view that is not to be changed."""
        return torch.from_numpy(self._ids)

    @property
    @abstractmethod
    def faiss_index(self) -> Any:  # noqa: ANN401 - faiss's types lack members
        """The faiss index beneath, which stays ours; see the class for what its ids are."""

    @property
    @abstractmethod
    def bytes_per_item(self) -> float:
        """Memory of one item: its code and the ids kept for it, without codebooks and centroids."""

    @abstractmethod
    def add(self, vectors: Float[Tensor, "item feature"], item_ids: Int[Tensor, " item"]) -> None:
        """Add items; cheapest where ids ascend from one call to the next.

        Args:
            vectors: One vector an item; an index that stores codes encodes it.
            item_ids: Not negative, unique and not yet in the index.

        Raises:
            ValueError: If an id is negative or there twice, there isn't one id a vector, or the vectors have another
                size than the index's or one is not finite. The index is then as it was.
            RuntimeError: If what encodes vectors is not fitted.
        """

    @abstractmethod
    def remove(self, item_ids: Int[Tensor, " item"]) -> None:
        """Remove items.

        Raises:
            ValueError: If an id is not in the index, which is then as it was.
        """

    @abstractmethod
    def merge(self, other: "Index") -> None:
        """Take in the items of another index, which keeps them.

        Raises:
            ValueError: If it is of another kind, encodes otherwise, or shares an id; nothing has changed then.
        """

    def check_mergeable(self, other: "Index") -> None:
        """Check that another index is built like this one; its ids are not looked at.

        Raises:
            ValueError: If it is of another kind, or encodes otherwise.
        """
        if type(other) is not type(self) or other._options() != self._options():
            raise ValueError(
                f"Only indexes of one kind can be merged; got {type(self).__name__}({dict(self._options())}) and "
                f"{type(other).__name__}({dict(other._options())}). Build both alike."
            )

    @abstractmethod
    def distances(self, queries: Float[Tensor, "query feature"]) -> Float[Tensor, "query item"]:
        """Measure every item, in the order of `item_ids`; items with the same code get the same value.

        Items that a search which is not exhaustive does not reach are infinitely far.

        Raises:
            RuntimeError: If the index is empty.
            ValueError: If the queries have another size than the items.
        """

    @abstractmethod
    def faiss_queries(self, queries: Float[Tensor, "query feature"]) -> np.ndarray:
        """Return queries as `faiss_index` takes them.

        Raises:
            ValueError: If the queries have another size than the items, or one is not finite.
        """

    def search(self, queries: Float[Tensor, "query feature"], num_items: int | None = None) -> Ranking:
        """Rank the items of the index.

        Args:
            queries: Vectors as they were added, not yet encoded.
            num_items: Items to return a query; None, or more than there are, returns all.

        Raises:
            ValueError: If `num_items` is under 1, or the queries have another size than the items or one is not finite.
            RuntimeError: If the index is empty.
        """
        if num_items is not None and num_items < 1:
            raise ValueError(f"A search returns at least one item; got {num_items}. Leave it out for all.")
        self._check_has_items()
        rows, num_total = self.faiss_queries(queries), len(self)
        num_items = num_total if num_items is None else min(num_items, num_total)
        if self._gpu_searcher is None and self._keeps_order:
            found = self.faiss_index.search(rows, num_items)
        else:
            found = search_in_total_order(self._searcher_for, rows, num_items, num_total)
        item_ids, distances = torch.from_numpy(self._to_ids(found[1])), torch.from_numpy(self._to_distances(found[0]))
        if queries.is_cpu:
            return Ranking(item_ids, distances)
        return Ranking(item_ids.to(queries.device), distances.to(queries.device))

    def to_gpus(self) -> None:
        """Search on all GPUs from now on, until items are added or removed.

        faiss finds no more than 2048 items there: a search for as many or more, and what ties with the last one beyond
        them, goes on on the host, with the same result.

        Raises:
            RuntimeError: If the installed faiss sees no GPU, or has no GPU search for this index.
        """
        num_gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
        if num_gpus == 0:
            raise RuntimeError(
                f"Expected a faiss that sees a GPU; found faiss {faiss.__version__} with none. Install the gpu extra, "
                "or take `distances` of queries on the GPU."
            )
        self._gpu_searcher = faiss.index_cpu_to_all_gpus(self.faiss_index)

    def save(self, folder: Path) -> None:
        """Write the index; the folder appears, or replaces an earlier index, only when complete.

        Raises:
            IndexFileError: If there is something else than an index in the folder's place.
            RuntimeError: If the index has nothing to save yet: no vector to know its size from, or no fit.
        """
        _ = self.faiss_index  # raises where there is none

        def write(partial: Path) -> None:
            write_array(partial / ITEM_IDS, self._ids)
            self._write(partial)

        write_index_folder(folder, Manifest(type(self).__name__, dict(self._options()), len(self)), write)

    @classmethod
    def load(cls: type[IndexKind], folder: Path) -> IndexKind:
        """Open an index that `save` wrote; items are mapped into memory and read as searches need them.

        Adding to it or removing from it copies them into memory; its files stay as they are.

        Raises:
            IndexFileError: If a file is missing, damaged, of a later version, or holds another kind of index.
        """
        manifest = read_manifest(folder)
        kind = {kind.__name__: kind for kind in _all_subclasses(Index)}.get(manifest.kind)  # type: ignore[type-abstract]
        if kind is None or not issubclass(kind, cls):
            raise IndexFileError(
                f"{folder}: expected {cls.__name__}, found {manifest.kind}. Open it with Index.load, or update this "
                "project."
            )
        try:
            index = kind._read(folder, manifest)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise IndexFileError(
                f"{folder}: expected files of {manifest.kind} as written, found damaged ones ({error}). Build it again."
            ) from error
        index._id_blocks = [read_item_ids(folder / ITEM_IDS)]
        counts = manifest.num_items, len(index), int(index.faiss_index.ntotal)
        if len(set(counts)) > 1:
            raise IndexFileError(f"{folder}: expected one number of items, found {counts}. Build it again.")
        return index

    @abstractmethod
    def _to_ids(self, found: np.ndarray) -> np.ndarray:
        """Map what faiss calls an id to ours."""

    def _to_distances(self, found: np.ndarray) -> np.ndarray:
        """Map what faiss calls a distance to ours."""
        return found

    @abstractmethod
    def _options(self) -> Options:
        """Return the constructor's arguments that a file keeps."""

    @abstractmethod
    def _write(self, folder: Path) -> None:
        """Write everything but ids and options."""

    @classmethod
    @abstractmethod
    def _read(cls: type[IndexKind], folder: Path, manifest: Manifest) -> IndexKind:
        """Read what `_write` wrote."""

    def _searcher_for(self, num_items: int) -> Any:  # noqa: ANN401
        """Return the faiss index to ask for so many items: on GPUs as far as they go."""
        return self.faiss_index if self._gpu_searcher is None or num_items > MAX_GPU_ITEMS else self._gpu_searcher

    @property
    def _ids(self) -> np.ndarray:
        if len(self._id_blocks) > 1:
            self._id_blocks = [np.concatenate(self._id_blocks)]
        return self._id_blocks[0]

    def _check_has_items(self) -> None:
        if len(self) == 0:
            raise RuntimeError("The index is empty; add items before searching.")

    def _take_in(self, item_ids: Tensor, num_rows: int) -> np.ndarray | None:
        """Take ids in; return the order that sorts old and new, in this sequence, or None where they are sorted."""
        new = item_ids.detach().cpu().numpy().astype(np.int64)
        if len(new) != num_rows:
            raise ValueError(f"Expected one id an item; got {len(new)} ids for {num_rows} items.")
        if len(new) and new.min() < 0:
            raise ValueError(f"Item ids can't be negative, since -1 stands for no item; got {new.min()}.")
        last = next((block[-1] for block in reversed(self._id_blocks) if len(block)), -1)
        order = None
        if len(new) == 0 or (new[0] > last and bool((new[1:] > new[:-1]).all())):
            self._id_blocks.append(new.copy())
        else:
            merged = np.concatenate([self._ids, new])
            order = np.argsort(merged, kind="stable")
            merged = merged[order]
            repeated = np.flatnonzero(merged[1:] == merged[:-1])
            if len(repeated):
                raise ValueError(f"Item ids must be unique; id {merged[repeated[0]]} is there twice.")
            self._id_blocks = [merged]
        return order

    def _positions_of(self, item_ids: Tensor) -> np.ndarray:
        """Find items by id."""
        wanted = np.unique(item_ids.detach().cpu().numpy().astype(np.int64))
        positions = np.searchsorted(self._ids, wanted)
        known = positions < len(self)
        known[known] = self._ids[positions[known]] == wanted[known]
        if not known.all():
            raise ValueError(f"Expected ids of items in the index; id {wanted[~known][0]} is not there.")
        return positions


def _all_subclasses(kind: type[Index]) -> list[type[Index]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _all_subclasses(child))]


def to_float_rows(vectors: Float[Tensor, "item feature"], dim: int) -> np.ndarray:
    """Return vectors as faiss takes them: float32, contiguous, on the host.

    Raises:
        ValueError: If they have another size than `dim`, or one is not finite.
    """
    if vectors.shape[1] != dim:
        raise ValueError(f"Expected vectors of {dim} dimensions; got {vectors.shape[1]}.")
    if vectors.requires_grad or vectors.dtype != torch.float32 or not vectors.is_cpu:
        vectors = vectors.detach().float().cpu()
    rows: np.ndarray = np.ascontiguousarray(vectors.numpy())
    flat = rows.ravel()
    # NaN and infinity survive a dot product, which is quicker than a look at each; an overflow does so too
    if not math.isfinite(flat.dot(flat)) and not np.isfinite(flat).all():
        row = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise ValueError(f"Expected finite vectors; row {row} has NaN or infinity. Look at its clip and the front end.")
    return rows
