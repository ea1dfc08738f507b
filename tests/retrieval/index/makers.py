"""Empty indexes of every kind, and vectors to put in."""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import faiss
import numpy as np
import pytest
import torch
from torch import Tensor

from retrieval.codes import OptimizedProductQuantizer, ProductQuantizer, RandomHyperplaneHash, ResidualQuantizer
from retrieval.index import (
    AsymmetricIndex,
    CellIndex,
    ExactIndex,
    HammingIndex,
    Index,
    InvertedIndex,
    InvertedMultiIndex,
)
from tests.draws import draw
from tests.retrieval.codes.makers import fitted_on

DIM = 6
MakeIndex = Callable[[], Index]
AnyIndex = TypeVar("AnyIndex", bound=Index)


def unit(*shape: int, seed: int = 0) -> Tensor:
    return torch.nn.functional.normalize(draw(*shape, seed=seed), dim=1)


@cache
def product_quantizer() -> ProductQuantizer:
    return fitted_on(draw(100, DIM, seed=9), ProductQuantizer(DIM, 12, 16, num_iterations=5))


@cache
def rotated_quantizer() -> OptimizedProductQuantizer:
    """Four books for six dimensions, so that vectors are filled up too."""
    quantizer = OptimizedProductQuantizer(DIM, 16, 16, num_rotations=3, num_iterations=3)
    return fitted_on(draw(100, DIM, seed=9), quantizer)


@cache
def residual_quantizer() -> ResidualQuantizer:
    return fitted_on(draw(100, DIM, seed=9), ResidualQuantizer(DIM, 12, 8, num_iterations=3))


@cache
def bit_hash() -> RandomHyperplaneHash:
    """Twelve bits, which don't fill two bytes."""
    return fitted_on(draw(100, DIM, seed=9), RandomHyperplaneHash(DIM, 12))


def cosine() -> Index:
    return ExactIndex("cosine")


def euclidean() -> Index:
    return ExactIndex("euclidean")


def hamming() -> Index:
    return HammingIndex(bit_hash())


def asymmetric() -> Index:
    return AsymmetricIndex(product_quantizer())


def rotated() -> Index:
    return AsymmetricIndex(rotated_quantizer())


def residual() -> Index:
    return AsymmetricIndex(residual_quantizer())


def cells(index: CellIndex, seed: int = 9) -> CellIndex:
    index.fit(draw(100, DIM, seed=seed))
    return index


def inverted(num_probes: int = 5) -> Index:
    return cells(InvertedIndex(DIM, 5, num_probes, 16, num_codewords=16))


def multi(num_probes: int = 16) -> Index:
    """Three books, whose multiple that two halves divide is not the dimension of the vectors."""
    return cells(InvertedMultiIndex(DIM, 4, num_probes, 20, num_codewords=16))


# of cells, all are visited, so that every item comes back
MAKERS = [cosine, euclidean, hamming, asymmetric, rotated, residual, inverted, multi]
contract = pytest.mark.parametrize("make", MAKERS)


class GpuStandIn:
    """What replaces faiss's GPU search: a copy on the host that orders equals by falling id and finds 2048 at most."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[int] = []
        monkeypatch.setattr("faiss.get_num_gpus", lambda: 1, raising=False)
        monkeypatch.setattr("faiss.index_cpu_to_all_gpus", self._copy, raising=False)

    def _copy(self, faiss_index: Any) -> Any:
        is_binary = isinstance(faiss_index, faiss.IndexBinary)
        clone = faiss.clone_binary_index if is_binary else faiss.clone_index  # type: ignore[attr-defined]
        copied: Any = clone(faiss_index)
        # a copy's rotation may lie, and round, otherwise; of cells, it is the copy that has the probes
        search_all = copied.search if isinstance(copied, faiss.IndexIVF) else faiss_index.search

        def search(rows: np.ndarray, num_items: int) -> tuple[np.ndarray, np.ndarray]:
            self.asked.append(num_items)
            if num_items > 2048:
                raise RuntimeError(f"GPU index only supports min/max-K selection up to 2048 (requested {num_items})")
            found, item_ids = search_all(rows, faiss_index.ntotal)
            order = np.lexsort((-item_ids, found), axis=1)[:, :num_items]
            return np.take_along_axis(found, order, axis=1), np.take_along_axis(item_ids, order, axis=1)

        copied.search = search
        return copied


def filled(make: MakeIndex, vectors: Tensor, item_ids: Tensor | None = None) -> Index:
    return put(vectors, make(), item_ids)


def put(vectors: Tensor, index: AnyIndex, item_ids: Tensor | None = None) -> AnyIndex:
    index.add(vectors, torch.arange(len(vectors)) if item_ids is None else item_ids)
    return index


def squared_distances(queries: Tensor, vectors: Tensor) -> Tensor:
    return (queries.double()[:, None] - vectors.double()[None]).square().sum(dim=2)


def shuffled(count: int, seed: int = 0) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def assert_same_search(found: Index, expected: Index, queries: Tensor) -> None:
    """Same items, same rankings to the last place, same bits of distance."""
    assert torch.equal(found.item_ids, expected.item_ids)
    assert len(found) == len(expected) == len(found.item_ids)
    assert torch.equal(found.distances(queries), expected.distances(queries))
    for num_items in (1, 3, None):
        ranking, wanted = found.search(queries, num_items), expected.search(queries, num_items)
        assert torch.equal(ranking.item_ids, wanted.item_ids)
        assert torch.equal(ranking.distances, wanted.distances)
