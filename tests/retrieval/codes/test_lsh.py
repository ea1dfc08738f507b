"""Laws of random hyperplanes: collision probability, invariances, balance."""

import math

import pytest
import torch

from retrieval.codes import RandomHyperplaneHash
from tests.retrieval.codes.makers import draw


@pytest.mark.parametrize("angle", [0.1, 0.7, math.pi / 2, 2.5, math.pi])
def test_a_bit_differs_with_the_probability_of_the_angle(angle: float) -> None:
    num_bits = 20_000
    coder = RandomHyperplaneHash(3, num_bits, center=False, seed=5).double()
    coder.fit(draw(10, 3))
    pair = torch.tensor([[1, 0, 0], [math.cos(angle), math.sin(angle), 0]], dtype=torch.float64)
    one, other = coder.encode(pair)
    prob = angle / math.pi
    # four standard deviations of a binomial share
    tolerance = 4 * math.sqrt(prob * (1 - prob) / num_bits)
    assert float((one != other).double().mean()) == pytest.approx(prob, abs=tolerance + 1e-12)


def test_planes_through_the_origin_see_the_direction_only() -> None:
    coder, vectors = RandomHyperplaneHash(6, 40, center=False).double(), draw(50, 6, seed=1)
    coder.fit(vectors + 5)
    lengths = draw(50, 1, seed=2).exp()
    assert torch.equal(coder.encode(vectors * lengths), coder.encode(vectors))
    assert torch.equal(coder.encode(-vectors), ~coder.encode(vectors))


def test_planes_through_the_mean_move_with_the_vectors() -> None:
    vectors, shift, queries = draw(200, 6), 3 * draw(1, 6, seed=1), draw(30, 6, seed=2)
    here, there = RandomHyperplaneHash(6, 40).double(), RandomHyperplaneHash(6, 40).double()
    here.fit(vectors)
    there.fit(vectors * 7 + shift)
    assert torch.equal(there.encode(queries * 7 + shift), here.encode(queries))
    margins = here.project(vectors.mean(dim=0, keepdim=True))
    torch.testing.assert_close(margins, torch.zeros_like(margins), rtol=0, atol=1e-12)


def test_centring_balances_the_bits_of_non_negative_vectors() -> None:
    vectors = draw(400, 8).abs()
    imbalance = []
    for center in (True, False):
        coder = RandomHyperplaneHash(8, 64, center).double()
        coder.fit(vectors)
        imbalance.append(float((coder.encode(vectors).double().mean(dim=0) - 0.5).abs().mean()))
    assert imbalance[0] < 0.05
    assert imbalance[1] > 0.2


def test_normals_of_the_planes_are_standard_gaussian() -> None:
    coder = RandomHyperplaneHash(50, 200, seed=1).double()
    coder.fit(draw(3, 50))
    # 10,000 standard normal numbers
    assert abs(float(coder.weight.mean())) < 0.04
    assert float(coder.weight.std()) == pytest.approx(1, abs=0.03)
