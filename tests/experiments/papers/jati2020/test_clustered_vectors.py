"""Vectors that searches are measured on."""

import torch

from experiments.papers.jati2020.clustered_vectors import clustered_vectors


def test_vectors_of_one_distribution_share_their_centres() -> None:
    first, second = clustered_vectors(300, 8, num_clusters=5, seed=1), clustered_vectors(300, 8, num_clusters=5, seed=2)
    other = clustered_vectors(300, 8, num_clusters=5, seed=2, center_seed=1)
    assert torch.equal(first, clustered_vectors(300, 8, num_clusters=5, seed=1))
    near, far = (torch.cdist(vectors, first).min(dim=1).values.mean() for vectors in (second, other))
    assert float(near) < 0.9 * float(far)


def test_vectors_do_not_depend_on_the_size_of_chunks() -> None:
    generator = torch.Generator().manual_seed(1)
    scale = torch.arange(1, 5).float() ** -0.5
    centers = torch.randn(7, 4, generator=torch.Generator().manual_seed(0)) * scale
    noise = torch.randn(21_000, 4, generator=generator) * (0.6 * scale)
    expected = noise + centers[torch.randint(7, (21_000,), generator=generator)]
    assert torch.equal(clustered_vectors(21_000, 4, num_clusters=7, seed=1), expected)
