"""Laws of product quantization: fit, encode, decode, tables of distances."""

import itertools

import faiss
import numpy as np
import pytest
import torch
from torch import Tensor

from retrieval.codes import ProductQuantizer
from retrieval.codes.product import _repair_empty
from tests.draws import draw
from tests.retrieval.codes.makers import fitted_on


def fitted(dim: int = 6, num_books: int = 2, num_codewords: int = 8, seed: int = 0) -> ProductQuantizer:
    num_bits = num_books * (num_codewords.bit_length() - 1)
    return fitted_on(
        draw(200, dim, seed=seed), ProductQuantizer(dim, num_bits, num_codewords, num_iterations=8, seed=seed)
    )


def planted(codebooks: Tensor, dim: int | None = None) -> ProductQuantizer:
    """A quantizer with given codebooks, in their precision."""
    num_books, num_codewords, sub_dim = codebooks.shape
    num_bits = num_books * (num_codewords.bit_length() - 1)
    quantizer = ProductQuantizer(dim or num_books * sub_dim, num_bits, num_codewords).to(codebooks.dtype)
    quantizer.codebooks.copy_(codebooks)
    quantizer._is_fitted.fill_(True)
    return quantizer


@pytest.mark.parametrize("seed", range(5))
def test_refit_never_raises_distortion(seed: int) -> None:
    vectors = draw(150, 6, seed=seed)
    quantizer = ProductQuantizer(6, 8, 16, num_iterations=1, num_refit_iterations=1, seed=seed)
    distortions = [quantizer.fit(vectors).distortion for _ in range(6)]
    # float32 means of 150 numbers of order one
    assert all(after <= before * (1 + 1e-5) for before, after in itertools.pairwise(distortions))
    assert distortions[-1] < distortions[0]


def test_a_start_that_splitting_would_spoil_is_kept() -> None:
    # faiss fills an empty cluster by pulling the codeword of the largest off its 300 equal vectors
    far, near = torch.full((300, 2), 1000.0), draw(40, 2)
    vectors, useless = torch.cat([far, near]), torch.tensor([[-5000.0, 0.0]])
    quantizer = planted(torch.cat([far[:1], near[:6], useless])[None])
    quantizer.num_refit_iterations = 1
    before = quantizer.describe_fit(vectors).distortion
    assert quantizer.fit(vectors).distortion <= before


def test_refit_starts_from_the_present_codebooks() -> None:
    codebooks = draw(2, 4, 3, seed=1) * 10
    vectors = codebooks.repeat_interleave(8, dim=1).transpose(0, 1).flatten(1)
    quantizer = planted(codebooks)
    assert quantizer.fit(vectors).distortion < 1e-9
    # a first fit would shuffle the codewords
    torch.testing.assert_close(quantizer.codebooks, codebooks, rtol=0, atol=1e-5)


def test_kmeans_recovers_planted_clusters() -> None:
    centers = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    labels = torch.arange(400) % 4
    first, second = centers[labels], centers[labels.flip(0) // 2 * 2 % 4]
    vectors = torch.cat([first, second], dim=1) + 0.01 * draw(400, 4)
    quantizer = ProductQuantizer(4, 4, 4, seed=3)
    fit = quantizer.fit(vectors)
    found = quantizer.codebooks[0][torch.cdist(centers, quantizer.codebooks[0]).argmin(dim=1)]
    torch.testing.assert_close(found, centers, rtol=0, atol=0.01)
    # two dimensions a book, each with a variance of 1e-4
    assert fit.distortion < 4 * 1e-4 * 1.5
    codes = quantizer.encode(vectors)[:, 0]
    assert all(len(codes[labels == label].unique()) == 1 for label in range(4))


@pytest.mark.parametrize(("dim", "num_books"), [(6, 2), (7, 3), (5, 5), (4, 1)])
def test_codes_survive_decoding_and_encoding(dim: int, num_books: int) -> None:
    quantizer = fitted(dim, num_books)
    codes = torch.randint(0, 8, (100, num_books), generator=torch.Generator().manual_seed(1))
    assert torch.equal(quantizer.encode(quantizer.decode(codes)), codes)


def test_encode_takes_the_nearest_codeword_and_of_equals_the_first() -> None:
    codebook = torch.tensor([[[0.0], [1.0], [1.0], [4.0]]], dtype=torch.float64)
    vectors = torch.tensor([[-3.0], [0.5], [0.9], [2.4], [2.6]], dtype=torch.float64)
    assert planted(codebook).encode(vectors)[:, 0].tolist() == [0, 0, 1, 1, 3]


@pytest.mark.parametrize(("num_books", "num_codewords"), [(4, 16), (2, 256), (3, 8)])
def test_codes_are_those_of_faiss_for_the_same_codebooks(num_books: int, num_codewords: int) -> None:
    codebooks, vectors = draw(num_books, num_codewords, 3), draw(200, 3 * num_books, seed=1)
    bits_per_book = num_codewords.bit_length() - 1
    foreign = faiss.ProductQuantizer(3 * num_books, num_books, bits_per_book)
    faiss.copy_array_to_vector(codebooks.numpy().ravel(), foreign.centroids)
    expected = faiss.unpack_bitstrings(foreign.compute_codes(vectors.numpy()), num_books, bits_per_book)
    np.testing.assert_array_equal(planted(codebooks).encode(vectors).numpy(), expected)


def test_uneven_slices_are_filled_with_zeros() -> None:
    vectors = draw(100, 5)
    uneven = ProductQuantizer(5, 6, 8, seed=4)
    even = ProductQuantizer(6, 6, 8, seed=4)
    padded = torch.nn.functional.pad(vectors, (0, 1))
    assert uneven.fit(vectors) == even.fit(padded)
    assert torch.equal(uneven.lookup_distances(vectors), even.lookup_distances(padded))
    assert torch.equal(uneven.decode(uneven.encode(vectors)), even.decode(even.encode(padded))[:, :5])
    assert uneven.cut(vectors)[:, 1, 2].abs().max() == 0


@pytest.mark.parametrize("seed", range(6))
def test_no_codeword_is_wasted_on_duplicates(seed: int) -> None:
    distinct = draw(8, 4, seed=seed)
    repeats = torch.randint(0, 8, (200,), generator=torch.Generator().manual_seed(seed))
    fit = ProductQuantizer(4, 3, 8, num_iterations=2, seed=seed).fit(torch.cat([distinct, distinct[repeats]]))
    assert fit.used_fraction == 1


def test_empty_clusters_are_repaired_after_a_bad_start() -> None:
    quantizer = planted(torch.full((1, 8, 2), 100.0))
    quantizer.num_refit_iterations = 1
    distinct = torch.arange(16.0).reshape(8, 2)
    fit = quantizer.fit(torch.cat([distinct[:1].expand(100, 2), distinct]))
    assert fit.used_fraction == 1
    assert fit.distortion < 1


def test_repair_moves_only_empty_codewords_and_onto_distinct_vectors() -> None:
    vectors = np.array([[0.0], [0.0], [7.0], [7.0], [9.0]], dtype=np.float32)
    codebook = np.array([[0.0], [100.0], [200.0], [6.0]], dtype=np.float32)
    repaired, squared_error = _repair_empty(codebook, vectors)
    # the last was nearest to the sevens until one moved onto them; nothing is left for it to serve
    assert repaired[:, 0].tolist() == [0, 9, 7, 6]
    assert squared_error == 0


def test_fewer_distinct_vectors_than_codewords_leave_codewords_unused() -> None:
    vectors = torch.tensor([[0.0, 1.0], [5.0, 5.0]]).repeat(4, 1)
    fit = ProductQuantizer(2, 3, 8).fit(vectors)
    assert fit.distortion == 0
    assert fit.used_fraction == 2 / 8
    assert fit.perplexity == pytest.approx(2)


def test_fit_is_described_by_hand_worked_numbers() -> None:
    codebook = torch.tensor([[[0.0], [10.0]], [[0.0], [1.0]]], dtype=torch.float64)
    vectors = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [2.0, 0.0], [10.0, 0.0]], dtype=torch.float64)
    fit = planted(codebook).describe_fit(vectors)
    assert fit.distortion == pytest.approx((1 + 1 + 4 + 0) / 4)
    assert fit.used_fraction == 3 / 4
    # book 0 has frequencies 3/4 and 1/4, book 1 uses one codeword
    assert fit.perplexity == pytest.approx(((4 / 3) ** 0.75 * 4**0.25 + 1) / 2)
    assert fit.samples_per_codeword == 2


@pytest.mark.parametrize(
    ("num_books", "num_codewords", "num_bits"), [(8, 64, 48), (6, 256, 48), (1, 2, 1), (3, 16, 12)]
)
def test_num_bits_is_books_times_log_of_codewords(num_books: int, num_codewords: int, num_bits: int) -> None:
    quantizer = ProductQuantizer(96, num_bits, num_codewords)
    assert quantizer.num_books == num_books
    assert quantizer.num_bits == num_bits


def test_a_book_may_have_one_dimension() -> None:
    assert ProductQuantizer(4, 8, 4).sub_dim == 1


def test_fit_refuses_fewer_vectors_than_codewords() -> None:
    quantizer = ProductQuantizer(4, 6, 8)
    with pytest.raises(ValueError, match=r"needs at least 8 vectors; got 7\. Use fewer codewords than 8"):
        quantizer.fit(draw(7, 4))
    assert not quantizer.is_fitted
    assert quantizer.fit(draw(8, 4)).samples_per_codeword == 1
