"""Balanced codes by optimal transport: what the loss is, what the fit reaches, and the order of buckets."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from retrieval.codes import OptimalTransportHash, RandomHyperplaneHash, bucket_bits, bucket_codes
from retrieval.index import BudgetProbing
from retrieval.metrics import bucket_counts, bucket_entropy
from tests.draws import draw_double as draw
from tests.retrieval.codes.makers import clusters, fitted_on


def fitted(num_bits: int = 6, num_steps: int = 3, **options: Any) -> OptimalTransportHash:
    return fitted_on(draw(300, 8), OptimalTransportHash(8, num_bits, 16, num_steps, 128, **options))


def corners(num_bits: int) -> Tensor:
    """Binary vectors of unit length in the order of their buckets."""
    return (bucket_bits(torch.arange(2**num_bits), num_bits) * 2.0 - 1).double() / math.sqrt(num_bits)


def test_projections_have_unit_length() -> None:
    margins = fitted().project(draw(40, 8, seed=1))
    torch.testing.assert_close(margins.norm(dim=1), torch.ones(40, dtype=torch.float64), rtol=0, atol=1e-12)


def test_the_code_is_the_nearest_centroid() -> None:
    coder, vectors = fitted(), draw(40, 8, seed=1)
    assert torch.equal(bucket_codes(coder.encode(vectors)), (coder.project(vectors) @ corners(6).T).argmax(dim=1))


@pytest.mark.parametrize("num_bits", [1, 6, 11])
def test_probing_visits_centroids_in_the_order_of_their_similarity(num_bits: int) -> None:
    coder, queries = fitted(num_bits), draw(20, 8, seed=1)
    margins = coder.project(queries)
    similarities = margins @ corners(num_bits).T
    for num_probes in (2, 2**num_bits):
        codes = BudgetProbing(num_probes).probe(margins).codes.view(20, -1)
        expected = similarities.sort(dim=1, descending=True).values[:, :num_probes]
        torch.testing.assert_close(similarities.gather(1, codes), expected, rtol=0, atol=1e-6)


def test_the_loss_is_the_cross_entropy_over_all_centroids() -> None:
    coder = fitted(temperature=0.2)
    projected = torch.nn.functional.normalize(draw(9, 6), dim=1)
    shares = torch.softmax(draw(9, 64, seed=1), dim=1)
    expected = -(shares * torch.log_softmax(projected @ corners(6).T / 0.2, dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(coder._cross_entropy(projected, shares @ corners(6)), expected, rtol=1e-12, atol=0)


def uneven(num_items: int = 3000) -> Tensor:
    """Clusters of very different size, off the origin."""
    centres, labels = draw(12, 8), (torch.linspace(0, 1, num_items) ** 3 * 12).long().clamp(max=11)
    return torch.nn.functional.normalize(2 * centres[labels] + draw(num_items, 8, seed=1) + 1, dim=1)


def test_a_fit_balances_the_buckets() -> None:
    vectors = uneven()
    entropy = []
    for coder in (RandomHyperplaneHash(8, 6), OptimalTransportHash(8, 6, 64, 120, 512, 1e-2)):
        coder.fit(vectors.float())
        entropy.append(bucket_entropy(bucket_counts(coder.encode(vectors.float()))))
    assert entropy[0] < 5.3
    assert entropy[1] > 5.75


def test_pairs_teach_what_distortion_leaves_alone() -> None:
    # half of the dimensions are redrawn
    generator = torch.Generator().manual_seed(2)
    vectors = draw(2000, 8).float()
    distorted = torch.cat([vectors[:, :4], torch.randn(2000, 4, generator=generator)], dim=1)
    alone, paired = (OptimalTransportHash(8, 4, 64, 120, 512, 1e-2) for _ in range(2))
    alone.fit(vectors)
    paired.fit_pairs(vectors, distorted)
    agreement = [float((c.encode(vectors) == c.encode(distorted)).double().mean()) for c in (alone, paired)]
    assert paired.is_fitted
    assert agreement[1] > agreement[0] + 0.1
    assert agreement[1] > 0.85


def test_each_vector_is_its_own_pair_where_there_are_none() -> None:
    vectors, other = draw(300, 8), OptimalTransportHash(8, 4, 16, 3).double()
    one = fitted_on(vectors, OptimalTransportHash(8, 4, 16, 3))
    other.fit_pairs(vectors, vectors)
    assert all(torch.equal(one.state_dict()[name], tensor) for name, tensor in other.state_dict().items())


def test_a_batch_shrinks_where_buckets_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def record(cosines: Tensor, entropy_weight: float, num_iterations: int) -> Tensor:
        sizes.append(tuple(cosines.shape))
        return torch.softmax(cosines, dim=1)

    monkeypatch.setattr("retrieval.codes.optimal_transport.balanced_assignment", record)
    monkeypatch.setattr("retrieval.codes.optimal_transport._MAX_PLAN_ENTRIES", 2**12)
    for num_bits in (4, 8):
        OptimalTransportHash(8, num_bits, 16, 1, 200).fit(draw(300, 8))
    assert sizes == [(200, 16), (16, 256)]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_fit_needs_no_gradient_of_its_caller(mode: Any) -> None:
    expected, coder = fitted(4), OptimalTransportHash(8, 4, 16, 3, 128).double()
    with mode():
        coder.fit(draw(300, 8))
    assert torch.equal(coder.weight, expected.weight)
    assert float((coder.weight - fitted(4, num_steps=1).weight).abs().max()) > 0


def test_a_common_shift_and_scale_change_no_code() -> None:
    vectors, _ = clusters(10, 40, 8, 0.3)
    here, there = OptimalTransportHash(8, 4, 16, 20), OptimalTransportHash(8, 4, 16, 20)
    here.fit(vectors)
    there.fit(vectors * 3 + 5)
    assert (there.encode(vectors * 3 + 5) == here.encode(vectors)).double().mean() > 0.99


def test_pairs_that_do_not_match_are_refused() -> None:
    coder = OptimalTransportHash(8, 4)
    with pytest.raises(ValueError, match=r"one distorted version a vector; got 4 for 5\. Pair them"):
        coder.fit_pairs(draw(5, 8), draw(4, 8))
    with pytest.raises(ValueError, match="Expected vectors of 8 dimensions; got 7"):
        coder.fit_pairs(draw(5, 8), draw(5, 7))
    with pytest.raises(ValueError, match="at least 2 vectors; got 1"):
        coder.fit_pairs(draw(1, 8), draw(1, 8))
    assert not coder.is_fitted
