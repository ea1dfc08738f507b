"""Laws of principal component signs, and of the directions that other hashes start from."""

import numpy as np
import pytest
import torch

from retrieval.codes import PcaSignHash
from retrieval.codes.linear import principal_directions
from tests.draws import draw_double as draw
from tests.retrieval.codes.makers import fitted_on, rotation


def stretched(num_items: int = 300, dim: int = 6) -> torch.Tensor:
    """Vectors of clearly different variances along rotated axes."""
    return draw(num_items, dim) * 1.6 ** torch.arange(dim) @ rotation(dim, seed=3) + 2


def test_weights_are_the_top_eigenvectors_of_the_covariance() -> None:
    vectors = stretched()
    coder = fitted_on(vectors, PcaSignHash(6, 4))
    _, eigenvectors = np.linalg.eigh(np.cov(vectors.numpy(), rowvar=False))
    overlap = coder.weight.numpy().T @ eigenvectors[:, ::-1][:, :4]
    np.testing.assert_allclose(np.abs(overlap), np.eye(4), rtol=0, atol=1e-9)
    deviation = coder.project(vectors).std(dim=0)
    assert bool((deviation[:-1] > deviation[1:]).all())


def test_weights_are_orthonormal_and_planes_go_through_the_mean() -> None:
    vectors = stretched()
    coder = fitted_on(vectors, PcaSignHash(6, 6))
    torch.testing.assert_close(coder.weight.T @ coder.weight, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-12)
    middle = coder.project(vectors.mean(dim=0, keepdim=True))
    torch.testing.assert_close(middle, torch.zeros_like(middle), rtol=0, atol=1e-12)


def test_bits_of_point_symmetric_vectors_are_balanced() -> None:
    half = draw(150, 6) * 1.6 ** torch.arange(6)
    vectors = torch.cat([half, -half]) + 4
    coder = fitted_on(vectors, PcaSignHash(6, 6))
    codes = coder.encode(vectors)
    assert torch.equal(codes[:150], ~codes[150:])
    assert codes.sum(dim=0).tolist() == [150] * 6


def test_orthogonal_maps_and_shifts_flip_whole_bits_at_most() -> None:
    vectors = stretched()
    moved = 3 * vectors @ rotation(6, seed=8) - 11
    plain, mapped = fitted_on(vectors, PcaSignHash(6, 6)), fitted_on(moved, PcaSignHash(6, 6))
    differs = plain.encode(vectors) != mapped.encode(moved)
    assert bool((differs.all(dim=0) | ~differs.any(dim=0)).all())


def test_fewer_bits_are_the_first_of_more() -> None:
    vectors = stretched()
    few, many = fitted_on(vectors, PcaSignHash(6, 2)), fitted_on(vectors, PcaSignHash(6, 5))
    assert torch.equal(few.encode(vectors), many.encode(vectors)[:, :2])


def test_bits_are_at_most_the_directions_that_vary() -> None:
    vectors, coder = draw(100, 3) @ draw(3, 8, seed=1), PcaSignHash(8, 4)
    with pytest.raises(ValueError, match="at least 4 directions, one a bit; these vary in 3"):
        coder.fit(vectors)
    assert fitted_on(vectors, PcaSignHash(8, 3)).is_fitted


def test_a_few_directions_are_found_where_vectors_vary_in_few_however_far_off() -> None:
    vectors = draw(100, 3) @ draw(3, 8, seed=1) + 1e5
    assert principal_directions(vectors.numpy(), 8).directions.shape == (8, 3)
    # two vectors span one line
    assert principal_directions(draw(2, 8).numpy(), 8).directions.shape == (8, 1)
