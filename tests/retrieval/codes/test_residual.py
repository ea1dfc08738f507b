"""Laws of residual quantization: sums of codewords, greedy and beam search, distances."""

import itertools

import pytest
import torch
from torch import Tensor

from retrieval.codes import ResidualQuantizer
from tests.draws import draw_double as draw
from tests.retrieval.codes.makers import fitted_on


def fitted(num_books: int = 3, beam_size: int = 5, num_codewords: int = 8, dim: int = 6) -> ResidualQuantizer:
    num_bits = num_books * (num_codewords.bit_length() - 1)
    return fitted_on(draw(300, dim), ResidualQuantizer(dim, num_bits, num_codewords, beam_size, 10))


def greedy(quantizer: ResidualQuantizer, vectors: Tensor) -> Tensor:
    """Take the nearest codeword of each book in turn, one vector at a time."""
    codes = []
    for vector in vectors:
        rest, code = vector, []
        for book in quantizer.codebooks:
            code.append(int((rest - book).square().sum(dim=1).argmin()))
            rest = rest - book[code[-1]]
        codes.append(code)
    return torch.tensor(codes)


def test_decoding_adds_codewords_up() -> None:
    quantizer, codes = fitted(), torch.tensor([[0, 3, 7], [5, 5, 5]])
    for code, found in zip(codes, quantizer.decode(codes), strict=True):
        expected = quantizer.codebooks[0, code[0]] + quantizer.codebooks[1, code[1]] + quantizer.codebooks[2, code[2]]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_books", [1, 2, 4])
def test_a_beam_of_one_is_greedy(num_books: int) -> None:
    quantizer, vectors = fitted(num_books, beam_size=1), draw(200, 6, seed=1)
    assert torch.equal(quantizer.encode(vectors), greedy(quantizer, vectors))


@pytest.mark.parametrize(("num_codewords", "beam_size"), [(2, 1), (8, 5), (32, 5), (128, 3)])
def test_codes_of_one_book_are_nearest_codewords(num_codewords: int, beam_size: int) -> None:
    quantizer, vectors = fitted(1, beam_size, num_codewords), draw(200, 6, seed=1)
    assert torch.equal(quantizer.encode(vectors)[:, 0], torch.cdist(vectors, quantizer.codebooks[0]).argmin(dim=1))


def test_a_full_beam_finds_the_best_of_all_codes() -> None:
    quantizer, vectors = fitted(2, beam_size=8), draw(100, 6, seed=1)
    every = torch.cartesian_prod(torch.arange(8), torch.arange(8))
    best = every[torch.cdist(vectors, quantizer.decode(every)).argmin(dim=1)]
    assert torch.equal(quantizer.encode(vectors), best)


def test_a_wider_beam_encodes_no_worse() -> None:
    quantizer, vectors = fitted(4, beam_size=1), draw(200, 6, seed=1)
    distortions = []
    for beam_size in (1, 4, 32):
        quantizer.beam_size = beam_size
        distortions.append(quantizer.describe_fit(vectors).distortion)
    assert distortions[0] > distortions[1] > distortions[2]


def test_distortion_falls_with_books() -> None:
    vectors = draw(300, 6)
    distortions = [
        ResidualQuantizer(6, 3 * books, 8, num_iterations=10).double().fit(vectors).distortion for books in range(1, 6)
    ]
    assert all(after < 0.9 * before for before, after in itertools.pairwise(distortions))


def test_planted_sums_are_recovered() -> None:
    # each book ten times finer than the one before it
    codebooks = draw(3, 2, 6) * torch.tensor([10.0, 1.0, 0.1])[:, None, None]
    every = torch.cartesian_prod(*[torch.arange(2)] * 3).repeat(20, 1)
    vectors = codebooks[torch.arange(3), every].sum(dim=1)
    # a wider beam trains later books on its rejected codes too, which with two codewords are far off
    quantizer = ResidualQuantizer(6, 3, 2, beam_size=1).double()
    # numbers of order 10 in float32
    assert quantizer.fit(vectors).distortion < 1e-8
    assert len(quantizer.encode(vectors).unique(dim=0)) == 8


def test_books_may_outnumber_dimensions() -> None:
    assert fitted(5, dim=2).encode(draw(10, 2)).shape == (10, 5)
