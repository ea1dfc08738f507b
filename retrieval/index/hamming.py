"""Exhaustive search over bits by Hamming distance."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retrieval.codes import BinaryHash, encode_in_chunks
from retrieval.files.indexes import Manifest
from retrieval.index.base import Index, Options
from retrieval.index.coder import has_equal_state, read_coder, write_coder
from retrieval.index.flat_codes import FlatCodesIndex, sum_lookups
from storage.faiss_index import read_faiss_binary, write_faiss

# entry [a, b]: bits in which two bytes differ
_DIFFERING_BITS = torch.tensor([[(first ^ second).bit_count() for second in range(256)] for first in range(256)])


class HammingIndex(FlatCodesIndex):
    """Rank items by the number of bits in which their code differs from the query's.

    Bits are kept eight to a byte; the last byte is filled up with zeros, which never differ.

    Args:
        coder: Fitted; shared with the caller and not changed.
    """

    _faiss_file = "index.faissbinary"
    _read_searcher = staticmethod(read_faiss_binary)

    def __init__(self, coder: BinaryHash) -> None:
        super().__init__()
        self.coder = coder

    @property
    def codes(self) -> Bool[Tensor, "item bit"]:
        """A copy of the items' codes, in the order of `item_ids`."""
        return torch.from_numpy(
            np.unpackbits(self._rows, axis=1, count=self.coder.num_bits, bitorder="little").astype(bool)
        )

    def add(self, vectors: Float[Tensor, "item feature"], item_ids: Int[Tensor, " item"]) -> None:
        """Encode and store items.

        Raises:
            ValueError: If an id is negative or there twice, there isn't one id a vector, or the vectors have another
                size than the coder's or one is not finite.
            RuntimeError: If the coder is not fitted.
        """
        self.add_codes(encode_in_chunks(self.coder, vectors), item_ids)

    def add_codes(self, codes: Bool[Tensor, "item bit"], item_ids: Int[Tensor, " item"]) -> None:
        """Store items that are encoded already.

        Raises:
            ValueError: If an id is negative or there twice, there isn't one id a code, or codes have another length.
        """
        if codes.shape[1] != self.coder.num_bits:
            raise ValueError(f"Expected codes of {self.coder.num_bits} bits; got {codes.shape[1]}.")
        self._add_rows(_pack(codes), item_ids)

    def distances(self, queries: Float[Tensor, "query feature"]) -> Float[Tensor, "query item"]:
        """Count differing bits, by a look into a table for each byte.

        Raises:
            RuntimeError: If the index is empty.
            ValueError: If the queries have another size than the coder's, or one is not finite.
        """
        self._check_has_items()
        query_bytes = torch.from_numpy(self.faiss_queries(queries)).to(queries.device)
        table = _DIFFERING_BITS.to(queries.device, torch.float32)[query_bytes.long()]
        return sum_lookups(table, self._on(queries.device))

    def _unpack(self, rows: Tensor) -> Tensor:
        return rows.T.int().contiguous()

    def _new_searcher(self) -> faiss.IndexBinaryFlat:
        return faiss.IndexBinaryFlat(-(-self.coder.num_bits // 8) * 8)

    def _append(self, searcher: Any, rows: np.ndarray) -> None:  # noqa: ANN401 - faiss's types lack members
        searcher.add(np.ascontiguousarray(rows))

    def _bytes_of(self, flat: Any) -> Any:  # noqa: ANN401
        return flat.xb

    def faiss_queries(self, queries: Float[Tensor, "query feature"]) -> np.ndarray:
        """Return packed bits.

        Raises:
            ValueError: If the queries have another size than the items, or one is not finite.
        """
        return _pack(self.coder.encode(queries))

    def _to_distances(self, found: np.ndarray) -> np.ndarray:
        return found.astype(np.float32, copy=False)

    def _options(self) -> Options:
        return {"coder": type(self.coder).__name__, "num_bits": self.coder.num_bits}

    def check_mergeable(self, other: Index) -> None:
        """Check that another index has the same hash.

        Raises:
            ValueError: If it is of another kind, or encodes otherwise.
        """
        super().check_mergeable(other)
        if not (isinstance(other, HammingIndex) and has_equal_state(self.coder, other.coder)):
            raise ValueError(
                "Only indexes of one coder can be merged; these encode otherwise. Fit once, then build both."
            )

    def _write(self, folder: Path) -> None:
        write_coder(self.coder, folder)
        write_faiss(folder / self._faiss_file, self.faiss_index)

    @classmethod
    def _read_empty(cls, folder: Path, manifest: Manifest) -> "HammingIndex":
        return cls(read_coder(folder, BinaryHash))  # type: ignore[type-abstract]


def _pack(codes: Bool[Tensor, "item bit"]) -> np.ndarray:
    return np.packbits(codes.cpu().numpy(), axis=1, bitorder="little")
