"""Laws of principal components cut at medians."""

import numpy as np
import pytest
import torch

from retrieval.codes import MedianPcaSignHash, PcaSignHash
from retrieval.codes.pca_median import halving_cut
from tests.draws import draw_double as draw
from tests.retrieval.codes.makers import fitted_on


@pytest.mark.parametrize(("num_items", "num_set"), [(300, 150), (301, 150)])
def test_every_bit_halves_the_vectors_it_was_fitted_on(num_items: int, num_set: int) -> None:
    vectors = draw(num_items, 6).exp() * 1.6 ** torch.arange(6)
    coder = fitted_on(vectors, MedianPcaSignHash(6, 6))
    assert all(abs(int(column.sum()) - num_set) <= num_items % 2 for column in coder.encode(vectors).T)
    mean = fitted_on(vectors, PcaSignHash(6, 6))
    assert int((mean.encode(vectors).sum(dim=0) - num_set).abs().max()) > 20


def test_directions_are_those_of_principal_component_signs() -> None:
    vectors = draw(200, 6).exp()
    median, mean = fitted_on(vectors, MedianPcaSignHash(6, 4)), fitted_on(vectors, PcaSignHash(6, 4))
    assert torch.equal(median.weight, mean.weight)
    difference = mean.project(vectors) - median.project(vectors)
    torch.testing.assert_close(difference, mean.project(vectors).median(dim=0).values.expand(200, 4), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("values", "cut"),
    [
        ([4.0, 1.0, 3.0, 2.0], 2.5),
        ([1.0, 2.0, 10.0], 1.5),
        ([5.0, 5.0, 5.0, 5.0, 1.0, 9.0], 3.0),  # four that are one stay on one side
        ([2.0, 2.0 + 1e-13, 3.0, 3.0 + 1e-13], 2.5),
        ([1.0, 1.0, 1.0, 7.0], 4.0),
    ],
)
def test_cuts_lie_in_the_gap_nearest_the_middle(values: list[float], cut: float) -> None:
    assert halving_cut(np.array(values)) == pytest.approx(cut, abs=1e-9)
    assert halving_cut(np.array(values[::-1])) == halving_cut(np.array(values))


def test_vectors_that_are_one_vector_many_times_share_a_code() -> None:
    many = draw(1, 8, seed=5).repeat(101, 1)
    vectors, coder = torch.cat([draw(200, 8), many]), MedianPcaSignHash(8, 6)
    coder.fit(vectors.float())
    assert len(coder.encode(vectors.float())[200:].unique(dim=0)) == 1
