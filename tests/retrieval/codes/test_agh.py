"""Laws of anchor graph hashing, against the whole graph written out."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

from retrieval.codes import AnchorGraphHash
from retrieval.codes.agh import _affinities
from tests.draws import draw_double as draw
from tests.retrieval.codes.makers import fitted_on


def fitted(num_bits: int = 6, num_layers: int = 1, num_anchors: int = 20) -> tuple[AnchorGraphHash, Tensor]:
    vectors = draw(250, 5) * 1.5 ** torch.arange(5)
    return fitted_on(vectors, AnchorGraphHash(5, num_bits, num_anchors, 3, num_layers, seed=1)), vectors  # type: ignore[arg-type]


def slow_affinities(coder: AnchorGraphHash, vectors: Tensor) -> np.ndarray:
    """Z of eq. (3), one vector at a time."""
    table = np.zeros((len(vectors), coder.num_anchors))
    anchors = coder.anchors.numpy()
    for row, vector in enumerate(vectors.numpy()):
        distances = np.linalg.norm(anchors - vector, axis=1)
        nearest = np.argsort(distances)[: coder.num_nearest]
        weights = np.exp(-(distances[nearest] ** 2) / float(coder.bandwidth) ** 2)
        table[row, nearest] = weights / weights.sum()
    return table


def graph(coder: AnchorGraphHash, vectors: Tensor) -> np.ndarray:
    """The adjacency matrix Z L^-1 Z', [item, item]."""
    affinities = slow_affinities(coder, vectors)
    return np.asarray(affinities / affinities.sum(axis=0) @ affinities.T)


def test_affinities_are_normalised_gaussians_of_the_nearest_anchors() -> None:
    coder, vectors = fitted()
    found = _affinities(vectors, coder.anchors, coder.bandwidth, coder.num_nearest)
    np.testing.assert_allclose(found.numpy(), slow_affinities(coder, vectors), rtol=0, atol=1e-10)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(250, dtype=torch.float64), rtol=0, atol=1e-12)
    assert (found > 0).sum(dim=1).tolist() == [3] * 250


def test_bandwidth_is_the_mean_distance_to_the_farthest_of_the_nearest() -> None:
    coder, vectors = fitted()
    distances = np.linalg.norm(vectors.numpy()[:, None] - coder.anchors.numpy()[None], axis=2)
    assert float(coder.bandwidth) == pytest.approx(np.sort(distances, axis=1)[:, 2].mean(), rel=1e-10)


def test_margins_are_the_smoothest_eigenvectors_of_the_whole_graph() -> None:
    coder, vectors = fitted(6)
    values, eigenvectors = np.linalg.eigh(graph(coder, vectors))
    assert values[-1] == pytest.approx(1)
    # connected: the constant vector alone has eigenvalue one
    assert values[-2] < 1 - 1e-3
    smoothest = eigenvectors[:, -2:-8:-1] * math.sqrt(250)
    overlap = coder.project(vectors).numpy().T @ smoothest / 250
    np.testing.assert_allclose(np.abs(overlap), np.eye(6), rtol=0, atol=1e-8)


def test_margins_are_orthogonal_balanced_and_of_the_length_of_signs() -> None:
    coder, vectors = fitted(8)
    margins = coder.project(vectors)
    torch.testing.assert_close(margins.T @ margins, 250 * torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-8)
    torch.testing.assert_close(margins.sum(dim=0), torch.zeros(8, dtype=torch.float64), rtol=0, atol=1e-8)


def test_other_vectors_are_extended_by_their_affinities() -> None:
    coder, _ = fitted()
    queries = draw(30, 5, seed=7)
    expected = slow_affinities(coder, queries) @ coder.weight.numpy()
    np.testing.assert_allclose(coder.project(queries).numpy(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_second_cuts_cut_the_graph_least_among_those_that_halve(seed: int) -> None:
    vectors = draw(250, 5, seed=seed) * 1.5 ** torch.arange(5)
    coder = fitted_on(vectors, AnchorGraphHash(5, 6, 20, 3, 2, seed=seed))
    smooth = slow_affinities(coder, vectors) @ coder.weight.numpy()
    laplacian = np.eye(250) - graph(coder, vectors)
    for direction in range(3):
        margin = smooth[:, direction]
        above = margin > 0

        def second(high: float, margin: np.ndarray = margin, above: np.ndarray = above) -> tuple[np.ndarray, float]:
            """The vector v of eq. (9) whose sum is zero, and its lower threshold."""
            low = -((margin[above] - high).sum() - margin[~above].sum()) / (~above).sum()
            return np.where(above, margin - high, low - margin), low

        found = scipy.optimize.minimize_scalar(lambda high: second(high)[0] @ laplacian @ second(high)[0])
        assert float(coder.high[direction]) == pytest.approx(found.x, rel=1e-5, abs=1e-6)
        assert float(coder.low[direction]) == pytest.approx(second(found.x)[1], rel=1e-5, abs=1e-6)


def test_second_cuts_balance_exactly_in_a_float64_module() -> None:
    coder, vectors = fitted(6, num_layers=2)
    second = coder.project(vectors)[:, 1::2]
    torch.testing.assert_close(second.sum(dim=0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-9)


def test_two_layers_keep_the_bits_of_one_and_cut_each_side_again() -> None:
    (one, vectors), (two, _) = fitted(3), fitted(6, num_layers=2)
    margins, codes = one.project(vectors), two.encode(vectors)
    assert torch.equal(codes[:, ::2], one.encode(vectors))
    expected = ((margins > 0) & (margins > two.high)) | ((margins <= 0) & (margins < two.low))
    assert torch.equal(codes[:, 1::2], expected)
    odd, _ = fitted(5, num_layers=2)
    assert torch.equal(odd.encode(vectors), codes[:, :5])


@pytest.mark.parametrize("seed", range(3))
def test_a_ring_is_cut_into_arcs(seed: int) -> None:
    angles = torch.arange(400, dtype=torch.float64) / 400 * 2 * math.pi
    ring = torch.stack([angles.cos(), angles.sin()], dim=1)
    coder = fitted_on(ring, AnchorGraphHash(2, 4, 40, num_iterations=20, seed=seed))
    codes = coder.encode(ring)
    # eigenvectors of a cycle are cosines and sines: one turn, then two
    assert (codes != codes.roll(1, dims=0)).sum(dim=0).tolist() == [2, 2, 4, 4]
    assert bool(((codes.double().mean(dim=0) - 0.5).abs() < 0.1).all())


@pytest.mark.parametrize("seed", range(3))
def test_a_chain_is_cut_in_the_middle_first_and_then_into_more_parts(seed: int) -> None:
    chain = torch.stack([torch.linspace(0, 10, 400), torch.zeros(400)], dim=1).double()
    # with many more anchors, the first cut is so smooth that it counts as none
    coder = fitted_on(chain, AnchorGraphHash(2, 4, 15, num_iterations=20, seed=seed))
    codes = coder.encode(chain)
    assert (codes[1:] != codes[:-1]).sum(dim=0).tolist() == [1, 2, 3, 4]
    assert 150 < int(codes[:, 0].sum()) < 250


def test_no_bit_is_spent_on_parts_that_share_no_anchor() -> None:
    line = torch.stack([torch.linspace(0, 1, 200), torch.zeros(200)], dim=1).double()
    vectors = torch.cat([line, line + 1000])
    coder = fitted_on(vectors, AnchorGraphHash(2, 4, 40))
    margins = coder.project(vectors)
    # orthogonal to what is constant on each part
    for part in (margins[:200], margins[200:]):
        torch.testing.assert_close(part.mean(dim=0), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-6)


def test_a_refused_refit_leaves_the_coder_as_it_was() -> None:
    coder, vectors = fitted()
    codes = coder.encode(vectors)
    with pytest.raises(ValueError, match=r"Expected 6 eigenvectors of the anchor graph, found .* Use fewer bits"):
        coder.fit(draw(4, 5).repeat(60, 1))
    assert torch.equal(coder.encode(vectors), codes)


def test_two_layers_take_two_bits_of_an_eigenvector() -> None:
    assert AnchorGraphHash(4, 18, num_anchors=10, num_layers=2).weight.shape == (10, 9)
