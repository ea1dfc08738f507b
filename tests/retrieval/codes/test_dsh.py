"""Laws of density-sensitive hashing: mid-perpendicular planes, the most even first, planted clusters kept whole."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

import retrieval.codes.dsh
from retrieval.codes import DensitySensitiveHash
from retrieval.codes.kmeans import kmeans_centroids
from tests.draws import draw_double as draw
from tests.retrieval.codes.makers import fitted_on


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """Six tight clusters of equal size that k-means finds, and each vector's cluster."""
    # all planes between two of them miss the others by more than 0.3
    centers, labels = 5 * draw(6, 3, seed=8), torch.arange(6).repeat(40)
    monkeypatch.setattr(retrieval.codes.dsh, "kmeans_centroids", lambda *_: centers.numpy())
    return centers[labels] + 0.02 * draw(240, 3), labels


def slow_candidates(coder: DensitySensitiveHash, vectors: np.ndarray) -> list[tuple[float, np.ndarray, float]]:
    """All planes between neighbouring groups: entropy of eq. (12), normal and threshold of eq. (8)."""
    means = kmeans_centroids(vectors, coder.num_groups, coder.num_iterations, coder.seed)
    distances = np.linalg.norm(means[:, None] - means[None], axis=2)
    groups = np.linalg.norm(vectors[:, None] - means[None], axis=2).argmin(axis=1)
    candidates = []
    for one, other in itertools.combinations(range(len(means)), 2):
        near_one = np.argsort(distances[one])[1 : coder.num_neighbours + 1]
        near_other = np.argsort(distances[other])[1 : coder.num_neighbours + 1]
        if other in near_one or one in near_other:
            normal, threshold = means[one] - means[other], (means[one] + means[other]) @ (means[one] - means[other]) / 2
            share = float(np.mean([means[group] @ normal > threshold for group in groups]))
            entropy = -sum(part * math.log(part) for part in (share, 1 - share) if part > 0)
            candidates.append((entropy, normal, threshold))
    return sorted(candidates, key=lambda candidate: -candidate[0])


@pytest.mark.parametrize("seed", range(3))
def test_planes_are_the_most_even_between_neighbouring_groups(seed: int) -> None:
    vectors = draw(300, 5)
    coder = fitted_on(vectors, DensitySensitiveHash(5, 8, seed=seed))
    candidates = slow_candidates(coder, vectors.numpy())
    assert len(candidates) > 8
    for bit, (entropy, _, _) in enumerate(candidates[:8]):
        normal, threshold = coder.weight[:, bit].numpy(), float(coder.threshold[bit])
        # equally even planes come in any order
        peers = [peer for peer in candidates if abs(peer[0] - entropy) < 1e-9]
        assert any(
            np.allclose(sign * peer[1], normal, atol=1e-9) and abs(sign * peer[2] - threshold) < 1e-9
            for peer in peers
            for sign in (1, -1)
        )


@pytest.mark.parametrize("num_neighbours", [1, 2, 5])
def test_planes_keep_planted_clusters_whole(planted: tuple[Tensor, Tensor], num_neighbours: int) -> None:
    vectors, labels = planted
    coder = fitted_on(vectors, DensitySensitiveHash(3, 4, num_neighbours=num_neighbours))
    codes = coder.encode(vectors)
    assert all(len(codes[labels == label].unique(dim=0)) == 1 for label in range(6))
    assert all(len(codes[:, bit].unique()) == 2 for bit in range(4))


def test_the_most_even_planes_come_first(planted: tuple[Tensor, Tensor]) -> None:
    vectors, _ = planted
    # all fifteen pairs of six clusters
    coder = fitted_on(vectors, DensitySensitiveHash(3, 15, groups_per_bit=0.4, num_neighbours=5))
    share = coder.encode(vectors).double().mean(dim=0)
    smaller = torch.minimum(share, 1 - share)
    assert bool((smaller.diff() <= 1e-12).all())
    assert float(smaller[0]) == pytest.approx(1 / 2)
    assert float(smaller[-1]) < 1 / 2


def test_planes_are_more_even_than_random_ones_are_at_worst() -> None:
    vectors = draw(400, 6) + 3
    coder = fitted_on(vectors, DensitySensitiveHash(6, 12))
    smaller = torch.minimum(coder.encode(vectors).double().mean(dim=0), 1 - coder.encode(vectors).double().mean(dim=0))
    assert float(smaller.min()) > 0.3


def test_shifts_and_scales_change_no_code() -> None:
    vectors = draw(300, 5)
    here = fitted_on(vectors, DensitySensitiveHash(5, 8))
    there = fitted_on(8 * vectors, DensitySensitiveHash(5, 8))
    assert torch.equal(here.encode(vectors), there.encode(8 * vectors))
    there.fit(vectors + 2)
    # groups are found in float32
    assert (here.encode(vectors) != there.encode(vectors + 2)).double().mean() < 0.01


def test_groups_are_more_than_neighbours() -> None:
    assert DensitySensitiveHash(4, 8).num_groups == 12
    assert DensitySensitiveHash(4, 1).num_groups == 4
    assert DensitySensitiveHash(4, 8, groups_per_bit=1.3).num_groups == 10


def test_more_bits_than_pairs_of_groups_are_refused_with_advice() -> None:
    coder = DensitySensitiveHash(4, 8)
    with pytest.raises(ValueError, match=r"at least 8 pairs .* form 2 groups with 1 pairs\. Raise groups_per_bit"):
        coder.fit(torch.eye(4)[:2].repeat(20, 1))
    assert not coder.is_fitted
