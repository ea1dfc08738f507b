"""Laws of random hyperplanes: collision probability, invariances, balance."""

import math

import pytest
import torch

from retrieval.codes import RandomHyperplaneHash
from tests.draws import draw_double as draw
from tests.retrieval.codes.makers import fitted_on


@pytest.mark.parametrize("angle", [0.1, 0.7, math.pi / 2, 2.5, math.pi])
def test_a_bit_differs_with_the_probability_of_the_angle(angle: float) -> None:
    num_bits = 20_000
    coder = fitted_on(draw(10, 3), RandomHyperplaneHash(3, num_bits, center=False, seed=5))
    pair = torch.tensor([[1, 0, 0], [math.cos(angle), math.sin(angle), 0]], dtype=torch.float64)
    one, other = coder.encode(pair)
    prob = angle / math.pi
    # four standard deviations of a binomial share
    tolerance = 4 * math.sqrt(prob * (1 - prob) / num_bits)
    assert float((one != other).double().mean()) == pytest.approx(prob, abs=tolerance + 1e-12)


def test_planes_through_the_origin_see_the_direction_only() -> None:
    vectors = draw(50, 6, seed=1)
    coder = fitted_on(vectors + 5, RandomHyperplaneHash(6, 40, center=False))
    lengths = draw(50, 1, seed=2).exp()
    assert torch.equal(coder.encode(vectors * lengths), coder.encode(vectors))
    assert torch.equal(coder.encode(-vectors), ~coder.encode(vectors))


def test_planes_through_the_mean_move_with_the_vectors() -> None:
    vectors, shift, queries = draw(200, 6), 3 * draw(1, 6, seed=1), draw(30, 6, seed=2)
    here = fitted_on(vectors, RandomHyperplaneHash(6, 40))
    there = fitted_on(vectors * 7 + shift, RandomHyperplaneHash(6, 40))
    assert torch.equal(there.encode(queries * 7 + shift), here.encode(queries))
    margins = here.project(vectors.mean(dim=0, keepdim=True))
    torch.testing.assert_close(margins, torch.zeros_like(margins), rtol=0, atol=1e-12)


def test_centring_balances_the_bits_of_non_negative_vectors() -> None:
    vectors = draw(400, 8).abs()
    imbalance = []
    for center in (True, False):
        coder = fitted_on(vectors, RandomHyperplaneHash(8, 64, center))
        imbalance.append(float((coder.encode(vectors).double().mean(dim=0) - 0.5).abs().mean()))
    assert imbalance[0] < 0.05
    assert imbalance[1] > 0.2


def test_normals_of_the_planes_are_standard_gaussian() -> None:
    coder = fitted_on(draw(3, 50), RandomHyperplaneHash(50, 200, seed=1))
    # 10,000 standard normal numbers
    assert abs(float(coder.weight.mean())) < 0.04
    assert float(coder.weight.std()) == pytest.approx(1, abs=0.03)
