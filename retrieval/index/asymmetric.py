"""Exhaustive search over codes by asymmetric quantizer distance (Jegou et al., 2011; eq. 13 of Jati et al., 2020)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.codes.product import ProductQuantizer
from retrieval.index.base import Index


class AsymmetricIndex(Index):
    """Rank items by ||q - C h||^2: the query stays continuous, an item is what its code decodes to.

    Args:
        quantizer: Fitted codebooks, shared with the caller and not changed.
    """

    def __init__(self, quantizer: ProductQuantizer) -> None:
        super().__init__()
        self.quantizer = quantizer
        self.codes = torch.empty(0, quantizer.num_books, dtype=torch.int64)

    def add(self, vectors: Float[Tensor, "item feature"], item_ids: Int[Tensor, " item"]) -> None:
        """Encode and store items."""
        self.add_codes(self.quantizer.encode(vectors), item_ids)

    def add_codes(self, codes: Int[Tensor, "item book"], item_ids: Int[Tensor, " item"]) -> None:
        """Store items that are encoded already.

        Raises:
            ValueError: If an id is there twice.
        """
        order = self._merge_ids(item_ids)
        self.codes = torch.cat([self.codes.to(codes.device), codes])[order]

    def distances(self, queries: Float[Tensor, "query feature"]) -> Float[Tensor, "query item"]:
        """Sum one table entry a book, in the order of books, so that equal codes give equal values."""
        table = self.quantizer.lookup_distances(queries)
        total = table[:, 0].index_select(1, self.codes[:, 0])
        for book in range(1, self.quantizer.num_books):
            total += table[:, book].index_select(1, self.codes[:, book])
        return total
