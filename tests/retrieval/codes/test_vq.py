"""Laws of vector quantization: a product quantizer of one book, as good as scikit-learn's k-means."""

import itertools

import pytest
import torch
from sklearn.cluster import KMeans

from retrieval.codes import ProductQuantizer, VectorQuantizer
from tests.draws import draw_double as draw
from tests.retrieval.codes.makers import clusters, fitted_on


def test_it_is_product_quantization_with_one_book() -> None:
    vectors = draw(300, 6)
    one, product = VectorQuantizer(6, 4, 12, seed=3).double(), ProductQuantizer(6, 4, 16, 12, seed=3).double()
    assert one.fit(vectors) == product.fit(vectors)
    assert one.codebooks.shape == (1, 16, 6)
    assert torch.equal(one.codebooks, product.codebooks)
    assert torch.equal(one.encode(vectors), product.encode(vectors))


@pytest.mark.parametrize("seed", range(3))
def test_distortion_is_that_of_another_kmeans(seed: int) -> None:
    vectors = clusters(12, 30, 6, spread=0.5, seed=seed)[0]
    ours = min(VectorQuantizer(6, 4, seed=start).fit(vectors).distortion for start in range(3))
    theirs = KMeans(16, n_init=3, random_state=seed).fit(vectors.numpy()).inertia_ / len(vectors)
    # two local optima
    assert ours == pytest.approx(theirs, rel=0.1)


def test_codes_are_nearest_codewords() -> None:
    vectors = draw(200, 6)
    quantizer = fitted_on(vectors, VectorQuantizer(6, 5))
    distances = torch.cdist(vectors, quantizer.codebooks[0], compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.equal(quantizer.encode(vectors)[:, 0], distances.argmin(dim=1))
    torch.testing.assert_close(quantizer.lookup_distances(vectors)[:, 0], distances.square(), rtol=0, atol=1e-12)


def test_distortion_falls_with_bits() -> None:
    vectors = draw(400, 6)
    distortions = [VectorQuantizer(6, num_bits).double().fit(vectors).distortion for num_bits in range(1, 8)]
    assert all(after < before for before, after in itertools.pairwise(distortions))


def test_sixteen_bits_are_in_reach() -> None:
    assert VectorQuantizer(2, 16).num_codewords == 65_536
