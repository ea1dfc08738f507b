"""Laws of randomly rotated principal components."""

import numpy as np
import pytest
import torch

from retrieval.codes import PcaSignHash, RotatedPcaHash
from retrieval.codes.pca_random_rotation import random_rotation
from tests.draws import draw_double as draw
from tests.retrieval.codes.makers import fitted_on


def pair(num_bits: int, seed: int = 0) -> tuple[RotatedPcaHash, PcaSignHash, torch.Tensor]:
    """Both hashes, fitted on the same vectors of unequal variances."""
    vectors = draw(300, 8) * 1.5 ** torch.arange(8) + 1
    rotated, plain = fitted_on(vectors, RotatedPcaHash(8, num_bits, seed)), fitted_on(vectors, PcaSignHash(8, num_bits))
    return rotated, plain, vectors


@pytest.mark.parametrize("num_bits", [1, 2, 5, 8])
def test_weights_are_a_rotation_of_the_principal_directions(num_bits: int) -> None:
    rotated, plain, _ = pair(num_bits)
    identity = torch.eye(num_bits, dtype=torch.float64)
    torch.testing.assert_close(rotated.weight.T @ rotated.weight, identity, rtol=0, atol=1e-12)
    # the same subspace
    torch.testing.assert_close(rotated.weight @ rotated.weight.T, plain.weight @ plain.weight.T, rtol=0, atol=1e-12)


def test_margins_keep_the_distances_of_the_components() -> None:
    rotated, plain, vectors = pair(5)
    torch.testing.assert_close(
        torch.pdist(rotated.project(vectors)), torch.pdist(plain.project(vectors)), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("seed", range(3))
def test_rotation_spreads_the_variance_over_the_bits(seed: int) -> None:
    rotated, plain, vectors = pair(8, seed)
    assert rotated.project(vectors).var(dim=0).max() < 0.9 * plain.project(vectors).var(dim=0).max()
    assert rotated.project(vectors).var(dim=0).min() > plain.project(vectors).var(dim=0).min()


@pytest.mark.parametrize("size", [1, 2, 7])
def test_random_rotations_are_orthonormal_and_depend_on_the_seed(size: int) -> None:
    first = random_rotation(size, 0)
    np.testing.assert_allclose(first @ first.T, np.eye(size), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(first, random_rotation(size, 0))
    assert size == 1 or not np.allclose(first, random_rotation(size, 1))
