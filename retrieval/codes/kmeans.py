"""faiss's k-means as codes use it, and centroids for hashes that stand on them."""

import faiss
import numpy as np

ONE_VECTOR_MANY_TIMES = "Expected vectors that differ; found one vector many times. Look at the front end."


def new_kmeans(vectors: np.ndarray, num_centroids: int, num_iterations: int, seed: int) -> faiss.Kmeans:
    """Set up k-means of all `vectors`, [item, feature], however few there are to a centroid; it is not trained yet."""
    return faiss.Kmeans(
        vectors.shape[1],
        num_centroids,
        niter=num_iterations,
        seed=seed + 1,  # faiss takes 0 for "as you like"
        min_points_per_centroid=1,
        max_points_per_centroid=max(1, len(vectors)),
    )


def kmeans_centroids(vectors: np.ndarray, num_centroids: int, num_iterations: int, seed: int) -> np.ndarray:
    """Return float64 centroids [centroid, feature] of vectors [item, feature].

    Args:
        vectors: At least as many as centroids.
        num_centroids: Clusters.
        num_iterations: Lloyd iterations.
        seed: Seed of the first centroids.

    Raises:
        ValueError: If all vectors are the same, which faiss would split into centroids of its own making.
    """
    single = np.ascontiguousarray(vectors, np.float32)
    if (single == single[0]).all():
        raise ValueError(ONE_VECTOR_MANY_TIMES)
    kmeans = new_kmeans(single, num_centroids, num_iterations, seed)
    kmeans.train(single)
    return np.asarray(kmeans.centroids, np.float64)
