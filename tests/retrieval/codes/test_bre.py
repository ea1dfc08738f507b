"""Laws of binary reconstructive embedding: descent, exact single steps, invariances."""

import itertools

import numpy as np
import pytest
import torch

from retrieval.codes import BinaryReconstructiveEmbedding
from retrieval.codes.bre import _best_weight, _sums_over_earlier
from tests.draws import draw_double as draw
from tests.retrieval.codes.makers import clusters, fitted_on


def fitted(
    vectors: torch.Tensor, num_sweeps: int = 2, num_bits: int = 8, seed: int = 0
) -> BinaryReconstructiveEmbedding:
    return fitted_on(vectors, BinaryReconstructiveEmbedding(vectors.shape[1], num_bits, 500, 10, num_sweeps, seed))


def quadratic(weight: float, rest: np.ndarray, slope: np.ndarray, coupling: np.ndarray) -> float:
    """y'Ty for y = sign(rest + slope w)."""
    signs = np.where(rest + slope * weight > 0, 1.0, -1.0)
    return float(signs @ coupling @ signs)


def symmetric(size: int, seed: int) -> np.ndarray:
    matrix = np.random.default_rng(seed).standard_normal((size, size))
    return np.asarray((matrix + matrix.T) / 2, np.float32)


def test_error_is_that_of_all_pairs() -> None:
    vectors = draw(25, 4)
    coder = fitted(vectors, num_bits=6)
    unit = torch.nn.functional.normalize(vectors, dim=1)
    largest = max(float((one - other).square().sum()) / 2 for one, other in itertools.product(unit, unit))
    codes, total = coder.encode(vectors), 0.0
    for one, other in itertools.product(range(25), repeat=2):
        wanted = float((unit[one] - unit[other]).square().sum()) / 2 / largest
        total += (wanted - float((codes[one] != codes[other]).double().mean())) ** 2
    assert coder.reconstruction_error(vectors) == pytest.approx(total / 25**2, rel=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_error_on_the_sample_never_rises_with_sweeps(seed: int) -> None:
    vectors = draw(150, 6, seed=seed)
    errors = [fitted(vectors, num_sweeps, seed=seed).reconstruction_error(vectors) for num_sweeps in (1, 2, 3, 4)]
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(errors))
    assert errors[-1] < errors[0]


@pytest.mark.parametrize("seed", range(3))
def test_error_on_the_sample_never_rises_where_vectors_repeat(seed: int) -> None:
    vectors = draw(12, 6, seed=seed).repeat(10, 1)
    errors = [fitted(vectors, num_sweeps, seed=seed).reconstruction_error(vectors) for num_sweeps in (1, 2, 3, 4)]
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(errors))


@pytest.mark.parametrize("seed", range(3))
def test_error_is_below_that_of_random_planes(seed: int) -> None:
    vectors, queries = clusters(15, 20, 6, spread=0.3, seed=seed)[0], draw(200, 6, seed=90 + seed)
    coder = fitted(vectors, seed=seed)
    learned, learned_elsewhere = coder.reconstruction_error(vectors), coder.reconstruction_error(queries)
    coder.weight.copy_(draw(6, 8, seed=seed))
    assert learned < 0.6 * coder.reconstruction_error(vectors)
    assert learned_elsewhere < coder.reconstruction_error(queries)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", ["plain", "still", "ties"])
def test_best_weight_is_the_best_of_all_intervals(seed: int, kind: str) -> None:
    generator = np.random.default_rng(seed)
    rest, slope = generator.standard_normal(14), generator.standard_normal(14)
    if kind == "still":
        slope[::3] = 0
    elif kind == "ties":
        rest, slope = rest[:5].repeat(3), slope[:5].repeat(3)
    coupling, present = symmetric(len(rest), seed), float(generator.standard_normal())
    flips = np.sort(-rest[slope != 0] / slope[slope != 0])
    candidates = [flips[0] - 1, *((flips[1:] + flips[:-1]) / 2), flips[-1] + 1]
    best = min(quadratic(weight, rest, slope, coupling) for weight in candidates if weight not in flips)
    found = _best_weight(rest, slope, coupling, present)
    # coupling is summed in float32
    assert quadratic(found, rest, slope, coupling) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("seed", range(10))
def test_a_weight_that_is_best_already_stays(seed: int) -> None:
    generator = np.random.default_rng(seed)
    rest, slope, coupling = generator.standard_normal(14), generator.standard_normal(14), symmetric(14, seed)
    best = _best_weight(rest, slope, coupling, 0.0)
    assert _best_weight(rest, slope, coupling, best) == best


def test_a_weight_that_moves_nothing_stays() -> None:
    assert _best_weight(np.ones(4), np.zeros(4), symmetric(4, 0), 0.7) == 0.7


@pytest.mark.parametrize("size", [1, 7, 50, 51, 130])
def test_sums_over_earlier_are_those_of_the_formula(size: int) -> None:
    generator = np.random.default_rng(size)
    coupling, values = symmetric(140, size), generator.choice([-1, 1], 140).astype(np.float32)
    order = generator.permutation(140)[:size]
    expected = [sum(values[i] * coupling[i, order[j]] for i in order[:j]) for j in range(size)]
    # sums of up to 130 float32 numbers of order one
    np.testing.assert_allclose(_sums_over_earlier(coupling, order, values), expected, rtol=0, atol=1e-4)


def test_the_length_of_a_vector_changes_no_code() -> None:
    vectors = draw(150, 6)
    stretched = vectors * draw(150, 1, seed=1).exp()
    here, there = fitted(vectors), fitted(stretched)
    assert torch.equal(here.encode(vectors), there.encode(stretched))
    assert torch.equal(here.encode(stretched), here.encode(vectors))


def test_planes_are_spanned_by_the_sample() -> None:
    # all vectors lie in a plane of three dimensions, and so do the normals
    basis = draw(3, 8, seed=1)
    coder = fitted(draw(100, 3) @ basis)
    inside = torch.linalg.pinv(basis) @ basis
    torch.testing.assert_close(inside @ coder.weight, coder.weight, rtol=0, atol=1e-9)


def test_a_sample_is_drawn_where_there_are_more() -> None:
    vectors = draw(300, 6)
    small, whole = BinaryReconstructiveEmbedding(6, 8, 40, 10).double(), fitted(vectors)
    small.fit(vectors)
    # the sample's own distances are met better by what was fitted on all of it
    assert whole.reconstruction_error(vectors) < small.reconstruction_error(vectors)
