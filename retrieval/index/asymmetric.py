"""Exhaustive search over codes by asymmetric quantizer distance (Jegou et al., 2011; eq. 13 of Jati et al., 2020)."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.codes import ProductQuantizer, Quantizer, encode_in_chunks
from retrieval.files.indexes import Manifest
from retrieval.index.base import Index, Options, to_float_rows
from retrieval.index.coder import has_equal_state, read_coder, write_coder
from retrieval.index.flat_codes import FlatCodesIndex, sum_lookups


class AsymmetricIndex(FlatCodesIndex):
    """Rank items by ||q - decode(code)||^2: the query stays continuous, an item is what its code decodes to.

    Codes are packed to `num_bits` bits. Where codewords of different books are not orthogonal (residual quantizers),
    the squared norm of the decoded vector is kept with the code, in 4 bytes.

    Args:
        quantizer: Fitted codebooks, shared with the caller and not changed as long as the index is in use.

    Raises:
        ValueError: If it is neither a product quantizer nor a sum of codewords as long as the vectors.
    """

    def __init__(self, quantizer: Quantizer) -> None:
        super().__init__()
        full_length = (quantizer.num_books, quantizer.num_codewords, quantizer.dim)
        if not isinstance(quantizer, ProductQuantizer) and quantizer.codebooks.shape != full_length:
            raise ValueError(
                f"Expected a product quantizer, or codebooks of shape {full_length} whose codewords are added up; got "
                f"{type(quantizer).__name__} with {tuple(quantizer.codebooks.shape)}. Search what it decodes with "
                "ExactIndex."
            )
        self.quantizer = quantizer

    @property
    def codes(self) -> Int[Tensor, "item book"]:
        """A copy of the items' codes, in the order of `item_ids`."""
        return _unpack_codes(self._rows, self.quantizer)

    def add(self, vectors: Float[Tensor, "item feature"], item_ids: Int[Tensor, " item"]) -> None:
        """Encode and store items.

        Raises:
            ValueError: If an id is negative or there twice, there isn't one id a vector, or the vectors have another
                size than the quantizer's or one is not finite.
            RuntimeError: If the quantizer is not fitted.
        """
        self.add_codes(encode_in_chunks(self.quantizer, vectors.to(self.quantizer.codebooks)), item_ids)

    def add_codes(self, codes: Int[Tensor, "item book"], item_ids: Int[Tensor, " item"]) -> None:
        """Store items that are encoded already.

        Raises:
            ValueError: If an id is negative or there twice, there isn't one id a code, or a code names no codeword.
            RuntimeError: If the quantizer is not fitted.
        """
        self.quantizer.check_is_fitted()
        num_books, num_codewords = self.quantizer.num_books, self.quantizer.num_codewords
        if codes.shape[1] != num_books or (
            len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < num_codewords
        ):
            raise ValueError(
                f"Expected codes of {num_books} books of {num_codewords} codewords; got {codes.shape[1]} books and "
                f"codewords up to {int(codes.max()) if len(codes) else 0}. Encode with the index's quantizer."
            )
        self._add_rows(self._pack_codes(codes), item_ids)

    @torch.no_grad()
    def distances(self, queries: Float[Tensor, "query feature"]) -> Float[Tensor, "query item"]:
        """Sum one table entry a book, and the code's offset.

        Raises:
            RuntimeError: If the index is empty.
            ValueError: If the queries have another size than the quantizer's.
        """
        self._check_has_items()
        table = self.quantizer.lookup_distances(queries.to(self.quantizer.codebooks))
        codes = self._on(table.device)
        total = sum_lookups(table, codes)
        if not isinstance(self.quantizer, ProductQuantizer):
            total += self.quantizer.offsets(codes.T.long())
        return total.to(queries.device)

    def _unpack(self, rows: Tensor) -> Tensor:
        return _unpack_codes(rows.numpy(), self.quantizer).T.int().contiguous()

    def _pack_codes(self, codes: Tensor) -> np.ndarray:
        words = np.ascontiguousarray(codes.cpu().numpy().astype(np.int32))
        if isinstance(self.quantizer, ProductQuantizer):
            return np.asarray(faiss.pack_bitstrings(words, self.quantizer.bits_per_book))
        with torch.no_grad():
            norms = self.quantizer.offsets(codes.to(self.quantizer.codebooks.device)).float().cpu().numpy()
        rows = np.zeros((len(words), self._width), dtype=np.uint8)
        residual = self.faiss_index.rq
        residual.pack_codes(len(words), faiss.swig_ptr(words), faiss.swig_ptr(rows), -1, faiss.swig_ptr(norms))
        return rows

    def _new_searcher(self) -> Any:  # noqa: ANN401 - faiss's types lack members
        self.quantizer.check_is_fitted()
        if isinstance(self.quantizer, ProductQuantizer):
            return _product_searcher(self.quantizer)
        return _additive_searcher(self.quantizer)

    def faiss_queries(self, queries: Float[Tensor, "query feature"]) -> np.ndarray:
        """Return vectors as they are: faiss cuts and rotates.

        Raises:
            ValueError: If the queries have another size than the items, or one is not finite.
        """
        return to_float_rows(queries, self.quantizer.dim)

    def _options(self) -> Options:
        return {"quantizer": type(self.quantizer).__name__, "num_bits": self.quantizer.num_bits}

    def check_mergeable(self, other: Index) -> None:
        """Check that another index has the same quantizer.

        Raises:
            ValueError: If it is of another kind, or encodes otherwise.
        """
        super().check_mergeable(other)
        if not (isinstance(other, AsymmetricIndex) and has_equal_state(self.quantizer, other.quantizer)):
            raise ValueError(
                "Only indexes of one quantizer can be merged; these have other codebooks. Fit once, then build both."
            )

    def _write(self, folder: Path) -> None:
        write_coder(self.quantizer, folder)
        super()._write(folder)

    @classmethod
    def _read_empty(cls, folder: Path, manifest: Manifest) -> "AsymmetricIndex":
        return cls(read_coder(folder, Quantizer))  # type: ignore[type-abstract]


def _unpack_codes(rows: np.ndarray, quantizer: Quantizer) -> Tensor:
    words = faiss.unpack_bitstrings(np.ascontiguousarray(rows), quantizer.num_books, quantizer.bits_per_book)
    return torch.from_numpy(words.astype(np.int64))


@torch.no_grad()
def _product_searcher(quantizer: ProductQuantizer) -> Any:  # noqa: ANN401
    """Put codebooks into a faiss index, behind the linear map from vector to slices where there is one."""
    dim, codebooks = quantizer.dim, quantizer.codebooks.detach()
    # filling up and rotating are linear, so the images of the unit vectors are the whole of it
    slices = quantizer.cut(torch.eye(dim).to(codebooks))
    if quantizer.sub_dim == 2 and quantizer.num_codewords % 8:  # a case of its own in faiss, which it refuses
        codebooks, slices = torch.nn.functional.pad(codebooks, (0, 1)), torch.nn.functional.pad(slices, (0, 1))
    to_slices = slices.flatten(1).T.cpu().float().contiguous()
    flat = faiss.IndexPQ(len(to_slices), quantizer.num_books, quantizer.bits_per_book)
    faiss.copy_array_to_vector(codebooks.cpu().float().numpy().ravel(), flat.pq.centroids)
    flat.is_trained = True
    if torch.equal(to_slices, torch.eye(dim)):
        return flat
    transform = faiss.LinearTransform(dim, len(to_slices), False)
    faiss.copy_array_to_vector(to_slices.numpy().ravel(), transform.A)
    transform.is_trained = True
    return faiss.IndexPreTransform(transform, flat)


def _additive_searcher(quantizer: Quantizer) -> Any:  # noqa: ANN401
    """Put codebooks whose codewords are added up into a faiss index that keeps exact norms."""
    make: Any = faiss.IndexResidualQuantizer
    bits, search_type = quantizer.bits_per_book, faiss.AdditiveQuantizer.ST_norm_float
    flat = make(quantizer.dim, quantizer.num_books, bits, faiss.METRIC_L2, search_type)
    faiss.copy_array_to_vector(quantizer.codebooks.detach().cpu().float().numpy().ravel(), flat.rq.codebooks)
    flat.is_trained = flat.rq.is_trained = True
    return flat
