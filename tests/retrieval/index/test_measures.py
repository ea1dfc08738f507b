"""What each index measures: brute force in float64, and raw faiss."""

from typing import Any

import faiss
import numpy as np
import pytest
import torch
from torch import Tensor

from retrieval.codes import ProductQuantizer, Quantizer, ResidualQuantizer, VectorQuantizer
from retrieval.index import AsymmetricIndex, ExactIndex, HammingIndex, Index, InvertedIndex
from tests.draws import draw
from tests.retrieval.codes.makers import fitted_on
from tests.retrieval.index.makers import (
    DIM,
    assert_same_search,
    asymmetric,
    bit_hash,
    cells,
    cosine,
    euclidean,
    filled,
    hamming,
    inverted,
    product_quantizer,
    put,
    residual_quantizer,
    rotated_quantizer,
    squared_distances,
)

QUANTIZERS = [product_quantizer, rotated_quantizer, residual_quantizer]
quantized = pytest.mark.parametrize("make_quantizer", QUANTIZERS)


def assert_ranks_by(index: Index, queries: Tensor, expected: Tensor, atol: float = 1e-5) -> None:
    """Both ways to measure agree with the oracle, and rankings with its order wherever it is clear."""
    torch.testing.assert_close(index.distances(queries).double(), expected, rtol=1e-5, atol=atol)
    ranking = index.search(queries)
    torch.testing.assert_close(ranking.distances.double(), expected.sort(dim=1).values, rtol=1e-5, atol=atol)
    position = torch.searchsorted(index.item_ids, ranking.item_ids)
    torch.testing.assert_close(expected.gather(1, position), expected.sort(dim=1).values, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("num_queries", [3, 120])
@pytest.mark.parametrize("dim", [1, 5, 64, 300])
def test_exact_euclidean_distance_is_the_squared_norm_of_the_difference(num_queries: int, dim: int) -> None:
    vectors, queries = draw(200, dim), draw(num_queries, dim, seed=1)
    assert_ranks_by(filled(euclidean, vectors), queries, squared_distances(queries, vectors), atol=2e-4)
    assert bool((filled(euclidean, vectors).distances(vectors) >= 0).all())
    precise = filled(euclidean, vectors).distances(queries.double())
    torch.testing.assert_close(precise, squared_distances(queries, vectors), rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("dim", [5, 64, 300])
def test_equal_vectors_are_equally_far_in_batches_too(dim: int) -> None:
    vectors, queries = draw(50, dim).repeat(30, 1), draw(150, dim, seed=1)
    ranking = filled(euclidean, vectors).search(queries, 1000)
    tied = ranking.distances[:, 1:] == ranking.distances[:, :-1]
    assert bool((ranking.item_ids[:, 1:] > ranking.item_ids[:, :-1])[tied].all())
    same = ranking.item_ids[:, 1:] % 50 == ranking.item_ids[:, :-1] % 50
    assert bool(tied[same].all())


def test_exact_cosine_distance_is_one_minus_cosine_whatever_the_lengths() -> None:
    vectors, queries = draw(40, DIM), draw(9, DIM, seed=1)
    expected = 1 - torch.nn.functional.cosine_similarity(queries.double()[:, None], vectors.double()[None], dim=2)
    assert_ranks_by(filled(cosine, vectors), queries, expected)
    assert_ranks_by(filled(cosine, vectors * torch.arange(1, 41)[:, None]), queries * 7, expected)
    extremes = filled(cosine, torch.cat([queries[:1], -queries[:1]]))
    assert_ranks_by(extremes, queries[:1], torch.tensor([[0.0, 2.0]], dtype=torch.float64))


def test_a_vector_without_direction_has_no_cosine() -> None:
    index = filled(cosine, draw(3, DIM))
    with pytest.raises(ValueError, match="needs a direction; row 1 is all zeros"):
        index.add(torch.eye(2, DIM) * torch.tensor([[1], [0]]), torch.tensor([7, 8]))
    assert len(index) == 3
    silent = torch.zeros(1, DIM)
    for distances in (index.search(silent).distances, index.distances(silent)):
        torch.testing.assert_close(distances, torch.full((1, 3), 0.5))
    filled(euclidean, silent)


def test_hamming_distance_counts_differing_bits() -> None:
    vectors, queries, coder = draw(300, DIM), draw(20, DIM, seed=1), bit_hash()
    index = put(vectors, HammingIndex(coder))
    expected = (coder.encode(queries)[:, None] != coder.encode(vectors)[None]).sum(dim=2)
    assert torch.equal(index.distances(queries), expected.float())
    ranking, order = index.search(queries), expected.sort(dim=1, stable=True)
    assert torch.equal(ranking.item_ids, order.indices)
    assert torch.equal(ranking.distances, order.values.float())
    assert torch.equal(index.codes, coder.encode(vectors))


@quantized
def test_asymmetric_distance_is_the_exact_distance_to_the_decoded_vector(make_quantizer: Any) -> None:
    quantizer: Quantizer = make_quantizer()
    vectors, queries = draw(80, DIM), draw(30, DIM, seed=1)
    index = put(vectors, AsymmetricIndex(quantizer))
    codes = quantizer.encode(vectors)
    assert torch.equal(index.codes, codes)
    assert_ranks_by(index, queries, squared_distances(queries, quantizer.decode(codes)), atol=1e-4)


@quantized
def test_equal_codes_get_the_same_bits_of_distance_anywhere_in_the_index(make_quantizer: Any) -> None:
    quantizer: Quantizer = make_quantizer()
    index = AsymmetricIndex(quantizer)
    codes = torch.randint(0, 3, (1003, quantizer.num_books), generator=torch.Generator().manual_seed(0))
    index.add_codes(codes, torch.arange(1003))
    queries = draw(30, DIM)
    groups = torch.unique(codes, dim=0, return_inverse=True)[1]
    ranking = index.search(queries)
    searched = torch.empty_like(ranking.distances).scatter_(1, ranking.item_ids, ranking.distances)
    for distances in (index.distances(queries), searched):
        highest, lowest = (
            distances.new_zeros(30, int(groups.max()) + 1).scatter_reduce(
                1, groups.expand(30, -1), distances, reduce=reduce, include_self=False
            )
            for reduce in ("amax", "amin")
        )
        assert torch.equal(highest, lowest)


def test_codes_may_be_added_instead_of_vectors() -> None:
    vectors, item_ids = draw(20, DIM), torch.arange(20).flip(0)
    quantized, hashed = AsymmetricIndex(product_quantizer()), HammingIndex(bit_hash())
    quantized.add_codes(product_quantizer().encode(vectors), item_ids)
    hashed.add_codes(bit_hash().encode(vectors), item_ids)
    assert_same_search(quantized, filled(asymmetric, vectors, item_ids), draw(3, DIM, seed=1))
    assert_same_search(hashed, filled(hamming, vectors, item_ids), draw(3, DIM, seed=1))


def test_codes_of_other_books_words_or_bits_are_refused() -> None:
    index = AsymmetricIndex(product_quantizer())
    for codes in (torch.zeros(1, 2, dtype=torch.int64), torch.tensor([[0, 0, 16]]), torch.tensor([[0, -1, 0]])):
        with pytest.raises(ValueError, match="3 books of 16 codewords"):
            index.add_codes(codes, torch.arange(1))
    with pytest.raises(ValueError, match="Expected codes of 12 bits; got 13"):
        HammingIndex(bit_hash()).add_codes(torch.zeros(1, 13, dtype=torch.bool), torch.arange(1))


def test_a_quantizer_that_is_not_fitted_is_refused() -> None:
    index = AsymmetricIndex(ProductQuantizer(DIM, 12, 16))
    with pytest.raises(RuntimeError, match="not fitted"):
        index.add(draw(3, DIM), torch.arange(3))
    with pytest.raises(RuntimeError, match="not fitted"):
        index.add_codes(torch.zeros(1, 3, dtype=torch.int64), torch.arange(1))


@pytest.mark.usefixtures("unchecked_types")
def test_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="metric must be cosine or euclidean; got 'hamming'"):
        ExactIndex("hamming")  # type: ignore[arg-type]


@pytest.mark.parametrize("num_items", [1, 7, 100, 300])
@pytest.mark.parametrize("num_queries", [1, 40])
def test_exact_search_is_that_of_faiss(num_items: int, num_queries: int) -> None:
    vectors, queries = draw(300, DIM), draw(num_queries, DIM, seed=1)
    flat = faiss.IndexFlatL2(DIM)
    flat.add(vectors.numpy())
    distances, item_ids = flat.search(queries.numpy(), num_items)
    ranking = filled(euclidean, vectors).search(queries, num_items)
    np.testing.assert_array_equal(ranking.distances.numpy(), distances)
    np.testing.assert_array_equal(ranking.item_ids.numpy(), item_ids)


@pytest.mark.parametrize(("num_bits", "num_codewords"), [(12, 16), (24, 256), (2, 2), (4, 4), (9, 512)])
def test_asymmetric_search_is_that_of_faiss(num_bits: int, num_codewords: int) -> None:
    vectors, queries = draw(600, DIM), draw(20, DIM, seed=1)
    quantizer = fitted_on(vectors, ProductQuantizer(DIM, num_bits, num_codewords, num_iterations=3))
    index = put(vectors, AsymmetricIndex(quantizer))
    oracle = faiss.IndexPQ(DIM, quantizer.num_books, num_codewords.bit_length() - 1)
    faiss.copy_array_to_vector(quantizer.codebooks.numpy().ravel(), oracle.pq.centroids)
    oracle.is_trained = True
    oracle.add(vectors.numpy())
    np.testing.assert_array_equal(oracle.reconstruct_n(0, 600), quantizer.decode(quantizer.encode(vectors)).numpy())
    for num_items in (1, 10, 600):
        distances, item_ids = oracle.search(queries.numpy(), num_items)
        ranking = index.search(queries, num_items)
        np.testing.assert_array_equal(ranking.distances.numpy(), distances)
        np.testing.assert_array_equal(ranking.item_ids.numpy(), item_ids)


@pytest.mark.parametrize(
    "quantizer",
    [
        # faiss alone refuses slices of two dimensions where codewords are no multiple of 8
        *[ProductQuantizer(DIM, bits, words, num_iterations=2) for bits, words in [(3, 2), (6, 4), (2, 2), (5, 2)]],
        # one book of many words
        VectorQuantizer(DIM, 9, num_iterations=2),
        # residual codes of any length keep their norm
        *[ResidualQuantizer(DIM, bits, words, num_iterations=2) for bits, words in [(6, 4), (10, 32), (16, 256)]],
    ],
)
def test_books_of_any_shape_are_searched(quantizer: Quantizer) -> None:
    vectors, queries = draw(600, DIM), draw(20, DIM, seed=1)
    index = put(vectors, AsymmetricIndex(fitted_on(vectors, quantizer)))
    assert_ranks_by(index, queries, squared_distances(queries, quantizer.decode(quantizer.encode(vectors))), atol=1e-4)


def test_indexes_that_encode_otherwise_are_not_merged() -> None:
    other_quantizer = fitted_on(draw(100, DIM, seed=8), ProductQuantizer(DIM, 12, 16, num_iterations=5))
    other_hash = fitted_on(draw(100, DIM, seed=9), type(bit_hash())(DIM, 12, seed=1))
    other_cells = cells(InvertedIndex(DIM, 5, 5, 16, num_codewords=16), seed=8)
    for index, other, message in [
        (cosine(), euclidean(), "of one kind can be merged; got ExactIndex.*cosine.* and ExactIndex.*euclidean"),
        (AsymmetricIndex(product_quantizer()), HammingIndex(bit_hash()), "of one kind"),
        (AsymmetricIndex(product_quantizer()), AsymmetricIndex(other_quantizer), "other codebooks"),
        (HammingIndex(bit_hash()), HammingIndex(other_hash), "encode otherwise"),
        (inverted(), other_cells, "other centroids"),
        (inverted(4), inverted(5), "of one kind"),
    ]:
        for part in (index, other):
            part.add(draw(3, DIM), torch.arange(3) + (5 if part is other else 0))
        with pytest.raises(ValueError, match=message):
            index.merge(other)
        assert index.item_ids.tolist() == [0, 1, 2]
    narrow = ExactIndex("euclidean")
    narrow.add(draw(2, 3), torch.arange(2))
    with pytest.raises(ValueError, match="Expected vectors of 3 dimensions; got 6"):
        narrow.merge(filled(euclidean, draw(2, DIM), torch.tensor([7, 8])))


def test_a_quantizer_faiss_has_no_search_for_is_refused() -> None:
    class Halves(Quantizer):
        def __init__(self) -> None:
            super().__init__(DIM, 4, 4)
            self.register_buffer("codebooks", torch.zeros(2, 4, 3))

        def encode(self, vectors: Tensor) -> Tensor:
            raise NotImplementedError

        def decode(self, codes: Tensor) -> Tensor:
            raise NotImplementedError

        def lookup_distances(self, queries: Tensor) -> Tensor:
            raise NotImplementedError

        def _fit(self, vectors: Tensor) -> None:
            raise NotImplementedError

    with pytest.raises(ValueError, match=r"codebooks of shape \(2, 4, 6\).*got Halves with \(2, 4, 3\)"):
        AsymmetricIndex(Halves())
