"""Laws of the balanced residual hash: nearest sums of codewords, full shares, and the order of buckets."""

import pytest
import torch
from torch import Tensor

from retrieval.codes import BalancedResidualHash, BucketHash, CrossPolytopeHash, bucket_bits, bucket_codes
from tests.draws import draw_double as draw
from tests.retrieval.codes.makers import clusters, fitted_on


def fitted(num_bits: int, num_rounds: int = 12, num_items: int = 4000, dim: int = 6) -> BalancedResidualHash:
    return fitted_on(uneven(num_items, dim), BalancedResidualHash(dim, num_bits, 8, 10, num_rounds))


def uneven(num_items: int, dim: int) -> Tensor:
    """Vectors of which half lie close together."""
    vectors = draw(num_items, dim)
    vectors[::2] = 0.2 * vectors[::2] + 1
    return vectors


def every_cost(coder: BucketHash, vectors: Tensor) -> Tensor:
    return coder.costs(vectors, bucket_bits(torch.arange(2**coder.num_bits), coder.num_bits))


@pytest.mark.parametrize("num_bits", [1, 5, 9, 10, 12])
def test_buckets_are_visited_in_the_order_of_their_costs(num_bits: int) -> None:
    coder, vectors = fitted(num_bits, num_items=600), draw(20, 6, seed=1)
    costs = every_cost(coder, vectors)
    found = coder.probe(vectors, 2**num_bits)
    assert torch.equal(found.sort(dim=1).values, torch.arange(2**num_bits).expand(20, -1))
    assert bool((costs.gather(1, found).diff(dim=1) >= -1e-12).all())
    assert torch.equal(bucket_codes(coder.encode(vectors)), found[:, 0])


@pytest.mark.parametrize(("num_bits", "sizes"), [(8, [256]), (10, [32, 32]), (11, [64, 32]), (17, [64, 64, 32])])
def test_costs_are_squared_distances_to_sums_of_words_and_prices(num_bits: int, sizes: list[int]) -> None:
    coder, vectors = fitted(num_bits, num_rounds=1, num_items=600), draw(5, 6, seed=1)
    books = [coder.get_buffer(f"codebook_{book}") for book in range(len(sizes))]
    assert [len(book) for book in books] == sizes
    words = [torch.randint(size, (40,), generator=torch.Generator().manual_seed(size)) for size in sizes]
    numbers, radix = torch.zeros(40, dtype=torch.int64), 1
    for word, size in zip(words, sizes, strict=True):
        numbers, radix = numbers + radix * word, radix * size
    sums = torch.stack([book[word] for book, word in zip(books, words, strict=True)]).sum(dim=0)
    joint = torch.stack([book[word] for book, word in zip(books[:2], words[:2], strict=True)]).sum(dim=0)
    price = coder.offset[numbers % len(coder.offset)] - joint.square().sum(dim=1)
    expected = torch.cdist(vectors, sums).square() + price - vectors.square().sum(dim=1, keepdim=True)
    found = coder.costs(vectors, bucket_bits(numbers, num_bits))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("num_bits", [14, 18])
def test_a_beam_meets_the_cheapest_bucket_of_nearly_all(num_bits: int) -> None:
    coder, vectors = fitted(num_bits, num_rounds=2, num_items=2000), draw(20, 6, seed=1)
    costs = torch.stack([every_cost(coder, vector[None])[0] for vector in vectors])
    found = coder.probe(vectors, 50)
    assert found.shape == (20, 50)
    assert all(len(row.unique()) == 50 for row in found)
    own = costs.gather(1, found)
    assert bool((own.diff(dim=1) >= -1e-9).all())
    assert int((own[:, 0] <= costs.min(dim=1).values + 1e-9).sum()) >= 19


def test_prices_give_every_bucket_its_share() -> None:
    vectors = uneven(4000, 6)
    counts = {
        rounds: torch.bincount(bucket_codes(fitted(6, rounds).encode(vectors)), minlength=64) for rounds in (0, 40)
    }
    share = 4000 / 64
    assert float(counts[0].min()) < share / 2
    assert share / 2 < float(counts[40].min()) <= float(counts[40].max()) < 2 * share


def test_noise_moves_fewer_vectors_to_other_buckets_than_signs_do() -> None:
    vectors, _ = clusters(64, 60, 16, 0.05)
    coder = fitted_on(vectors.float(), BalancedResidualHash(16, 6))
    noisy = (vectors + 0.2 * draw(*vectors.shape, seed=3)).float()
    assert bool((coder.encode(vectors.float()) == coder.encode(noisy)).all(dim=1).float().mean() > 0.9)


def test_a_polytope_costs_its_vertices_in_the_order_that_it_probes() -> None:
    coder = fitted_on(draw(100, 4), CrossPolytopeHash(4, 6))
    vectors = draw(10, 4, seed=1)
    costs = every_cost(coder, vectors)
    found = coder.probe(vectors, 64)
    assert bool((costs.gather(1, found).diff(dim=1) >= -1e-12).all())
    assert float(costs.gather(1, found[:, :1]).max()) == 0.0


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one probe"):
        fitted(5, 0, 300).probe(draw(2, 6), 0)
    with pytest.raises(ValueError, match="needs at least 64 vectors; got 63"):
        BalancedResidualHash(6, 12).fit(draw(63, 6))
