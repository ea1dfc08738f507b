"""Laws of kernelized hashing, against the formula written out."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from retrieval.codes import KernelizedHash
from tests.draws import draw_double as draw
from tests.retrieval.codes.makers import fitted_on


def fitted(num_bits: int = 12, num_landmarks: int = 30, num_summed: int = 6) -> tuple[KernelizedHash, Tensor]:
    vectors = draw(250, 5)
    return fitted_on(vectors, KernelizedHash(5, num_bits, num_landmarks, num_summed, seed=1)), vectors


def gaussian(coder: KernelizedHash, left: np.ndarray, right: np.ndarray) -> float:
    return float(np.exp(-np.square(left - right).sum() / (2 * float(coder.bandwidth) ** 2)))


def centred_kernel(coder: KernelizedHash) -> np.ndarray:
    """Inner products of the landmarks' features less the mean feature."""
    landmarks = coder.landmarks.numpy()
    kernel = np.array([[gaussian(coder, left, right) for right in landmarks] for left in landmarks])
    centring = np.eye(len(landmarks)) - 1 / len(landmarks)
    return np.asarray(centring @ kernel @ centring)


def test_bandwidth_is_the_mean_distance_between_landmarks() -> None:
    coder, _ = fitted()
    landmarks = coder.landmarks.numpy()
    distances = [np.linalg.norm(one - other) for one, other in itertools.combinations(landmarks, 2)]
    assert float(coder.bandwidth) == pytest.approx(np.mean(distances), rel=1e-10)


def test_margins_are_those_of_the_formula() -> None:
    coder, _ = fitted()
    landmarks, weight, queries = coder.landmarks.numpy(), coder.weight.numpy(), draw(10, 5, seed=3)
    own = np.array([[gaussian(coder, left, right) for right in landmarks] for left in landmarks])
    for query, margins in zip(queries.numpy(), coder.project(queries).numpy(), strict=True):
        kernel = [gaussian(coder, query, landmark) for landmark in landmarks]
        for bit in range(12):
            # <f(x) - mean, f(x_i) - mean> with mean the landmarks' mean feature
            expected = sum(
                weight[i, bit] * (kernel[i] - np.mean(kernel) - own[i].mean() + own.mean()) for i in range(30)
            )
            assert margins[bit] == pytest.approx(expected, rel=1e-8, abs=1e-9)


def test_weights_are_the_inverse_root_times_marks_of_the_summed_landmarks() -> None:
    coder, _ = fitted()
    values, basis = np.linalg.eigh(centred_kernel(coder))
    root = basis * np.sqrt(np.maximum(values, 0)) @ basis.T
    # the root undoes the inverse root but for the mean, which centring removes
    marks = root @ coder.weight.numpy() + 6 / 30
    np.testing.assert_allclose(marks, marks.round(), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(marks.round().sum(axis=0), 6)
    assert set(marks.round().ravel()) == {0, 1}


def test_planes_are_random_in_the_space_of_the_kernel() -> None:
    # E[(w.f)(w.g)] is <f, g> for standard Gaussian w; marks without replacement have variance s and covariance -s/29
    coder, _ = fitted(num_bits=4000)
    margins = coder.project(coder.landmarks).numpy()
    marks_variance = 6 / 30 * (1 - 6 / 30) * 30 / 29
    found = margins @ margins.T / 4000 / marks_variance
    # a mean over 4000 planes of products of a size below 0.6
    np.testing.assert_allclose(found, centred_kernel(coder), rtol=0, atol=4 * 0.6 / 4000**0.5)


def test_bits_are_roughly_balanced_and_uncorrelated() -> None:
    coder, vectors = fitted(num_bits=64)
    signs = coder.encode(vectors).double() * 2 - 1
    assert float(signs.mean(dim=0).abs().mean()) < 0.2
    correlation = torch.corrcoef(signs.T)[~torch.eye(64, dtype=torch.bool)]
    assert float(correlation.abs().mean()) < 0.25
    assert abs(float(correlation.mean())) < 0.05


def test_shifts_and_scales_change_no_code() -> None:
    vectors = draw(250, 5)
    here, there = (fitted_on(scale * vectors, KernelizedHash(5, 16, 30, 6)) for scale in (1, 8))
    assert torch.equal(here.encode(vectors), there.encode(8 * vectors))
    there.fit(8 * vectors + 3)
    assert float(there.bandwidth) == pytest.approx(8 * float(here.bandwidth), rel=1e-5)
    # landmarks are found in float32
    torch.testing.assert_close(there.project(8 * vectors + 3), here.project(vectors), rtol=0, atol=1e-3)


def test_vectors_far_from_all_landmarks_share_a_code() -> None:
    coder, _ = fitted()
    assert len(coder.encode(1e3 * draw(20, 5, seed=2).sign()).unique(dim=0)) == 1


def test_landmarks_that_coincide_are_refused_and_leave_the_coder_as_it_was() -> None:
    coder, vectors = KernelizedHash(1, 4, 2, 1).double(), draw(50, 1)
    coder.fit(vectors)
    codes = coder.encode(vectors)
    mirrored = torch.cat([torch.zeros(300, 1), torch.ones(1, 1), -torch.ones(1, 1)])
    with pytest.raises(ValueError, match=r"at least 2 different vectors; found fewer\. Use fewer landmarks"):
        coder.fit(mirrored)
    assert torch.equal(coder.encode(vectors), codes)
