"""Laws of the centroids that hashes stand on."""

import numpy as np
import pytest

from retrieval.codes.kmeans import kmeans_centroids
from tests.draws import draw_double as draw
from tests.retrieval.codes.makers import clusters


def test_centroids_are_the_means_of_their_vectors() -> None:
    vectors = clusters(5, 40, 4, spread=0.3)[0].numpy()
    means = kmeans_centroids(vectors, 6, 50, seed=0)
    assert means.dtype == np.float64
    groups = np.linalg.norm(vectors[:, None] - means[None], axis=2).argmin(axis=1)
    for group in range(6):
        np.testing.assert_allclose(means[group], vectors[groups == group].mean(axis=0), rtol=0, atol=1e-5)


def test_centroids_depend_on_the_seed_alone() -> None:
    vectors = draw(200, 4).numpy()
    np.testing.assert_array_equal(kmeans_centroids(vectors, 8, 3, seed=1), kmeans_centroids(vectors, 8, 3, seed=1))
    assert not np.allclose(kmeans_centroids(vectors, 8, 3, seed=1), kmeans_centroids(vectors, 8, 3, seed=2))


def test_as_many_centroids_as_vectors_are_the_vectors() -> None:
    vectors = draw(9, 3).numpy()
    means = kmeans_centroids(vectors, 9, 5, seed=0)
    np.testing.assert_allclose(means[np.lexsort(means.T)], vectors[np.lexsort(vectors.T)], rtol=0, atol=1e-6)


def test_one_vector_many_times_is_refused() -> None:
    with pytest.raises(ValueError, match="found one vector many times"):
        kmeans_centroids(draw(1, 4).repeat(50, 1).numpy(), 5, 3, seed=0)
