"""Laws of optimized product quantization: descent, an orthonormal rotation, a planted one undone."""

import itertools

import pytest
import torch
from torch import Tensor

from retrieval.codes import OptimizedProductQuantizer, ProductQuantizer
from tests.draws import draw_double as draw
from tests.retrieval.codes.makers import fitted_on, rotation


def fitted(vectors: Tensor, num_rotations: int = 5, num_bits: int = 6, seed: int = 0) -> OptimizedProductQuantizer:
    return fitted_on(vectors, OptimizedProductQuantizer(vectors.shape[1], num_bits, 8, num_rotations, 10, seed=seed))


def correlated(num_items: int = 300, dim: int = 6, seed: int = 0) -> Tensor:
    return draw(num_items, dim, seed=seed) * 1.7 ** torch.arange(dim) @ rotation(dim, seed=seed + 1)


def planted(seed: int, turn: float) -> Tensor:
    """Pairs of one of two codewords each, in axis-aligned planes, then turned by about `turn` radians."""
    codebooks = draw(2, 2, 2, seed=seed)
    words = torch.randint(0, 2, (600, 2), generator=torch.Generator().manual_seed(seed))
    generator = draw(4, 4, seed=seed + 9)
    turned: Tensor = codebooks[torch.arange(2), words].flatten(1) @ torch.linalg.matrix_exp(
        turn * (generator - generator.T)
    )
    return turned


@pytest.mark.parametrize(("dim", "num_bits"), [(6, 6), (7, 9), (8, 3)])
def test_rotation_is_orthonormal(dim: int, num_bits: int) -> None:
    quantizer = fitted(correlated(dim=dim), num_bits=num_bits)
    size = quantizer.num_books * quantizer.sub_dim
    gram = quantizer.rotation.T @ quantizer.rotation
    torch.testing.assert_close(gram, torch.eye(size, dtype=torch.float64), rtol=0, atol=1e-10)
    assert not torch.allclose(quantizer.rotation, torch.eye(size, dtype=torch.float64), atol=0.01)


@pytest.mark.parametrize(("dim", "num_bits"), [(6, 6), (7, 9)])
@pytest.mark.parametrize("seed", range(3))
def test_distortion_is_below_that_of_product_quantization(dim: int, num_bits: int, seed: int) -> None:
    vectors = correlated(dim=dim, seed=seed)
    plain = ProductQuantizer(dim, num_bits, 8, 10, seed=seed).double()
    without = plain.fit(vectors).distortion
    assert fitted(vectors, 5, num_bits, seed).describe_fit(vectors).distortion < 0.98 * without


@pytest.mark.parametrize("seed", range(3))
def test_distortion_never_rises_with_rotations(seed: int) -> None:
    vectors = correlated(seed=seed)
    distortions = [
        fitted(vectors, num_rotations, seed=seed).describe_fit(vectors).distortion for num_rotations in range(1, 8)
    ]
    # k-means works in float32
    assert all(after <= before * (1 + 1e-5) for before, after in itertools.pairwise(distortions))
    assert distortions[-1] < distortions[0]


def test_a_refit_never_raises_distortion() -> None:
    vectors = correlated()
    quantizer = fitted(vectors, num_rotations=1)
    distortions = [quantizer.describe_fit(vectors).distortion, *[quantizer.fit(vectors).distortion for _ in range(4)]]
    assert all(after <= before * (1 + 1e-5) for before, after in itertools.pairwise(distortions))


@pytest.mark.parametrize("seed", range(4))
def test_a_planted_rotation_is_undone(seed: int) -> None:
    vectors = planted(seed, turn=0.1)
    plain = ProductQuantizer(4, 2, 2).double().fit(vectors).distortion
    optimized = OptimizedProductQuantizer(4, 2, 2, num_rotations=60).double().fit(vectors).distortion
    assert optimized < 1e-3 * plain
    assert optimized < 1e-4


def test_one_book_gains_nothing_by_rotation() -> None:
    vectors = draw(200, 4)
    # as many k-means iterations: the first ten, and five after each rotation
    plain = ProductQuantizer(4, 3, 8, 10 + 5 * 5).double().fit(vectors).distortion
    assert fitted(vectors, num_bits=3).describe_fit(vectors).distortion == pytest.approx(plain, rel=0.02)


@pytest.mark.parametrize("rank", [3, 7])
def test_rotation_leaves_the_dimensions_filled_up_alone(rank: int) -> None:
    # else the table would count what decoding cuts off
    quantizer = fitted(draw(300, rank) @ draw(rank, 7, seed=1), num_bits=9)
    assert quantizer.rotation.shape == (9, 9)
    expected = torch.eye(9, dtype=torch.float64)[7:]
    torch.testing.assert_close(quantizer.rotation[7:], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(quantizer.rotation[:, 7:], expected.T, rtol=0, atol=1e-12)


def test_cut_turns_vectors_and_keeps_their_lengths() -> None:
    quantizer, vectors = fitted(correlated(dim=7), num_bits=9), draw(20, 7, seed=1)
    slices = quantizer.cut(vectors)
    assert slices.shape == (20, 3, 3)
    torch.testing.assert_close(slices.flatten(1).norm(dim=1), vectors.norm(dim=1), rtol=1e-10, atol=0)


def test_unfitted_rotation_is_the_identity() -> None:
    vectors = draw(5, 6)
    unfitted = OptimizedProductQuantizer(6, 6, 8).double()
    assert torch.equal(unfitted.cut(vectors), ProductQuantizer(6, 6, 8).double().cut(vectors))
