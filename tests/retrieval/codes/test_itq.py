"""Laws of iterative quantization: descent, orthonormality, a planted hypercube."""

import itertools

import pytest
import torch
from torch import Tensor

from retrieval.codes import IterativeQuantization, RotatedPcaHash
from tests.draws import draw_double as draw
from tests.retrieval.codes.makers import clusters, fitted_on, rotation


def hypercube(num_bits: int, noise: float) -> tuple[Tensor, Tensor]:
    """All vertices of a rotated hypercube eight times over, and which they are."""
    vertices = torch.tensor(list(itertools.product([False, True], repeat=num_bits))).repeat(8, 1)
    signs = torch.where(vertices, 1.0, -1.0).double()
    return signs @ rotation(num_bits, seed=4) + noise * draw(*signs.shape, seed=9), vertices


@pytest.mark.parametrize("solver", ["procrustes", "faiss"])
@pytest.mark.parametrize("num_bits", [1, 3, 8])
def test_weights_stay_orthonormal(solver: str, num_bits: int) -> None:
    coder = fitted_on(draw(300, 8) + 1, IterativeQuantization(8, num_bits, 20, solver))  # type: ignore[arg-type]
    # faiss rotates in float32
    tolerance = 1e-12 if solver == "procrustes" else 1e-5
    gram = coder.weight.T @ coder.weight
    torch.testing.assert_close(gram, torch.eye(num_bits, dtype=torch.float64), rtol=0, atol=tolerance)


@pytest.mark.parametrize("seed", range(3))
def test_error_never_rises_with_iterations(seed: int) -> None:
    vectors = clusters(12, 25, 8, spread=0.2, seed=seed)[0]
    errors = []
    for num_iterations in range(12):
        coder = fitted_on(vectors, IterativeQuantization(8, 6, num_iterations, seed=seed))
        errors.append(coder.quantization_error(vectors))
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(errors))
    assert errors[-1] < 0.97 * errors[0]


def test_without_iterations_it_is_the_random_rotation() -> None:
    start, plain = (
        fitted_on(draw(200, 8), coder) for coder in (IterativeQuantization(8, 5, 0, seed=3), RotatedPcaHash(8, 5, 3))
    )
    assert torch.equal(start.weight, plain.weight)


def test_planted_hypercube_is_recovered() -> None:
    vectors, vertices = hypercube(4, noise=0.02)
    coders = [fitted_on(vectors, IterativeQuantization(4, 4, seed=seed)) for seed in range(4)]
    # some starts end in a local optimum
    best = min(coders, key=lambda coder: coder.quantization_error(vectors))
    # four dimensions of a variance of 4e-4; the mean is off by less
    assert best.quantization_error(vectors) < 4 * 4e-4 * 1.5
    # bits are those of the vertices, permuted and flipped: each agrees always or never with one of them
    agreement = (best.encode(vectors)[:, :, None] == vertices[:, None]).double().mean(dim=0)
    certain = (agreement == 0) | (agreement == 1)
    assert certain.sum(dim=0).tolist() == certain.sum(dim=1).tolist() == [1, 1, 1, 1]


def test_error_is_that_of_the_formula() -> None:
    vectors = draw(40, 6)
    coder = fitted_on(vectors, IterativeQuantization(6, 3, 2))
    total = 0.0
    for vector in vectors:
        for bit in range(3):
            margin = float(vector @ coder.weight[:, bit] - coder.threshold[bit])
            total += ((1.0 if margin > 0 else -1.0) - margin) ** 2
    assert coder.quantization_error(vectors) == pytest.approx(total / 40, rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_solver_of_faiss_ends_no_lower(seed: int) -> None:
    vectors = clusters(12, 25, 8, spread=0.2, seed=seed)[0]
    errors = {}
    for solver in ("procrustes", "faiss"):
        coder = fitted_on(vectors, IterativeQuantization(8, 6, solver=solver, seed=seed))
        errors[solver] = coder.quantization_error(vectors)
    assert errors["faiss"] >= errors["procrustes"]
