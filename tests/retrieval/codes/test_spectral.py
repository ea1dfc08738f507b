"""Laws of spectral hashing, with an oracle written from the paper's section 4."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from retrieval.codes import SpectralHash
from tests.draws import draw_double as draw
from tests.retrieval.codes.makers import fitted_on, rotation


def box(*sides: float, num_items: int = 500) -> Tensor:
    """Vectors uniform in a box, its corners among them."""
    uniform = torch.rand(num_items, len(sides), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.cat([uniform, torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * len(sides))]) * torch.tensor(
        sides, dtype=torch.float64
    )


def slow_codes(vectors: np.ndarray, num_bits: int) -> tuple[np.ndarray, list[int]]:
    """List all pairs of direction and k, sort them by eigenvalue, threshold the eigenfunctions; codes and each k."""
    values, basis = np.linalg.eigh(np.cov(vectors, rowvar=False))
    basis = basis[:, np.argsort(-values)][:, :num_bits]
    pairs = []
    for direction in range(basis.shape[1]):
        along = vectors @ basis[:, direction]
        low, high = along.min(), along.max()
        for k in range(1, num_bits + 1):
            eigenvalue = 1 - math.exp(-(0.01**2) / 2 * (k * math.pi / (high - low)) ** 2)
            bits = np.sin(math.pi / 2 + k * math.pi / (high - low) * (along - low)) > 0
            pairs.append((eigenvalue, k, bits))
    pairs.sort(key=lambda pair: pair[0])
    return np.stack([bits for _, _, bits in pairs[:num_bits]], axis=1), [k for _, k, _ in pairs[:num_bits]]


@pytest.mark.parametrize("num_bits", [1, 4, 8, 30])
def test_codes_are_those_of_the_paper(num_bits: int) -> None:
    vectors = draw(200, 6) * 1.4 ** torch.arange(6) @ rotation(6) + 3
    coder = fitted_on(vectors, SpectralHash(6, num_bits))
    expected, orders = slow_codes(vectors.numpy(), num_bits)
    differs = coder.encode(vectors).numpy() != expected
    for bit, k in enumerate(orders):
        # a direction found with the other sign mirrors the range, which flips cosines of odd order
        assert not differs[:, bit].any() or (k % 2 == 1 and differs[:, bit].all())


def test_first_bits_of_a_box_cut_its_longest_side_into_equal_parts() -> None:
    vectors = box(10.0, 1.5)
    coder = fitted_on(vectors, SpectralHash(2, 5))
    codes = coder.encode(vectors)
    place = vectors[:, 0] / 10
    inside = (place > 0.01) & (place < 0.99)
    for k in range(1, 6):
        expected = torch.cos(math.pi * k * place) > 0
        clear = inside & (torch.cos(math.pi * k * place).abs() > 0.1)
        differs = codes[clear, k - 1] != expected[clear]
        assert differs.all() or not differs.any()


def test_a_short_side_gets_a_bit_once_its_frequency_is_among_the_lowest() -> None:
    coder = fitted_on(box(10.0, 4.0), SpectralHash(2, 4))
    # 1/10, 2/10, 1/4, 3/10
    axes = coder.weight.abs().argmax(dim=0)
    assert axes.tolist() == [0, 0, 1, 0]
    found = coder.frequency / math.pi
    torch.testing.assert_close(found, torch.tensor([0.1, 0.2, 0.25, 0.3]).double(), rtol=0.05, atol=0)


def test_frequencies_rise_and_margins_are_cosines() -> None:
    vectors = draw(200, 3)
    coder = fitted_on(vectors, SpectralHash(3, 24))
    assert bool((coder.frequency.diff() >= 0).all())
    assert coder.project(vectors).abs().max() <= 1
    assert len(coder.encode(vectors).unique(dim=1).T) == 24


def test_shifts_and_scales_change_no_code() -> None:
    vectors = draw(200, 5)
    here, there = fitted_on(vectors, SpectralHash(5, 12)), fitted_on(4 * vectors - 30, SpectralHash(5, 12))
    assert torch.equal(here.encode(vectors), there.encode(4 * vectors - 30))


def test_a_vector_beyond_the_range_is_coded() -> None:
    coder = fitted_on(draw(200, 5), SpectralHash(5, 12))
    assert bool(torch.isfinite(coder.project(1e3 * draw(10, 5, seed=1))).all())
