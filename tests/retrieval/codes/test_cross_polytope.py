"""Laws of the cross-polytope hash: nearest vertices, probing order, and the authors' library where it is installed."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from retrieval.codes import CrossPolytopeHash, bucket_bits, bucket_codes
from tests.draws import draw_double as draw
from tests.retrieval.codes.makers import fitted_on


def fitted(dim: int = 8, num_bits: int = 9, num_axes: int | None = None, seed: int = 0) -> CrossPolytopeHash:
    return fitted_on(draw(300, dim) + 2, CrossPolytopeHash(dim, num_bits, num_axes, seed=seed))


@pytest.mark.parametrize(
    ("dim", "num_bits", "num_axes", "axes"),
    [
        (8, 8, None, [8, 8]),
        (8, 9, None, [8, 8, 1]),
        (128, 12, None, [128, 8]),
        (100, 12, None, [128, 8]),
        (8, 12, 4, [4, 4, 4, 4]),
        (8, 3, None, [4]),
        (3, 2, 1, [1, 1]),
        (1, 2, None, [1, 1]),
    ],
)
def test_polytopes_share_the_bits_out(dim: int, num_bits: int, num_axes: int | None, axes: list[int]) -> None:
    assert fitted(dim, num_bits, num_axes).rotation.shape == (dim, sum(axes))


def test_a_code_names_the_nearest_vertex_of_each_polytope() -> None:
    coder, vectors = fitted(), draw(50, 8, seed=1) + 2
    codes = coder.encode(vectors)
    for first, axes in ((0, 8), (8, 8), (16, 1)):
        # vertices as vectors of the original space
        corners = torch.cat([coder.rotation[:, first : first + axes].T, -coder.rotation[:, first : first + axes].T])
        nearest = torch.cdist(vectors - coder.mean, corners).argmin(dim=1)
        start = {0: 0, 8: 4, 16: 8}[first]
        assert torch.equal(bucket_codes(codes[:, start : start + axes.bit_length()]), nearest)


def test_rotations_are_orthonormal_and_differ() -> None:
    first, second = fitted(num_bits=8).rotation.split(8, dim=1)
    for each in (first, second):
        torch.testing.assert_close(each.T @ each, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-12)
    assert float((first - second).abs().max()) > 0.1


def test_only_the_direction_from_the_mean_counts() -> None:
    coder, offsets = fitted(), draw(50, 8, seed=1)
    lengths = draw(50, 1, seed=2).exp()
    assert torch.equal(coder.encode(coder.mean + offsets * lengths), coder.encode(coder.mean + offsets))
    # the opposite vertex differs in the bit of its side alone
    differs = coder.encode(coder.mean - offsets) != coder.encode(coder.mean + offsets)
    assert torch.equal(differs, torch.tensor([k in (3, 7, 8) for k in range(9)]).expand(50, 9))


def test_through_the_origin_the_mean_is_nothing() -> None:
    coder = fitted_on(draw(300, 8) + 2, CrossPolytopeHash(8, 8, center=False))
    assert not bool(coder.mean.any())


def test_near_vectors_collide_far_more_often_than_by_hyperplanes_alone() -> None:
    # a quarter turn leaves one of 2 n vertices by chance: 1 / 16 of 8 axes
    vectors, generator = draw(4000, 8), torch.Generator().manual_seed(3)
    coder = fitted_on(vectors, CrossPolytopeHash(8, 4, center=False))
    other = vectors[torch.randperm(4000, generator=generator)]
    near = vectors + 0.2 * draw(4000, 8, seed=4)
    codes = bucket_codes(coder.encode(vectors))
    assert float((bucket_codes(coder.encode(other)) == codes).double().mean()) == pytest.approx(1 / 16, abs=0.02)
    assert float((bucket_codes(coder.encode(near)) == codes).double().mean()) > 0.7


@pytest.mark.parametrize(("num_bits", "num_axes"), [(9, None), (7, 4), (3, 8)])
def test_probes_are_all_buckets_in_the_order_of_their_cost(num_bits: int, num_axes: int | None) -> None:
    coder, queries = fitted(num_bits=num_bits, num_axes=num_axes), draw(5, 8, seed=1) + 2
    probes = coder.probe(queries, 2**num_bits)
    assert torch.equal(probes[:, 0], bucket_codes(coder.encode(queries)))
    assert torch.equal(coder.probe(queries, 7), probes[:, :7])
    sizes = {(9, None): [8, 8, 1], (7, 4): [4, 4, 1], (3, 8): [4]}[(num_bits, num_axes)]
    rotated = ((queries - coder.mean) @ coder.rotation).split(sizes, dim=1)
    polytopes = [torch.cat([part, -part], dim=1) for part in rotated]
    for query in range(5):
        costs = {}
        for pick in product(*(range(part.shape[1]) for part in polytopes)):
            number, shift, cost = 0, 0, 0.0
            for part, vertex in zip(polytopes, pick, strict=True):
                number |= vertex << shift
                shift += part.shape[1].bit_length() - 1
                cost += float(part[query].max() - part[query, vertex])
            costs[number] = cost
        assert sorted(costs, key=costs.__getitem__) == probes[query].tolist()


def test_probes_are_buckets_that_codes_reach() -> None:
    coder = fitted(num_bits=24)
    probes = coder.probe(draw(3, 8, seed=1), 200)
    assert all(len(row.unique()) == 200 for row in probes)
    assert torch.equal(bucket_codes(bucket_bits(probes, 24)), probes)


def test_unfitted_coders_and_strange_queries_do_not_probe() -> None:
    with pytest.raises(RuntimeError, match="is not fitted"):
        CrossPolytopeHash(8, 8).probe(draw(1, 8), 3)
    with pytest.raises(ValueError, match="Expected vectors of 8 dimensions; got 7"):
        fitted().probe(draw(1, 7), 3)
    with pytest.raises(ValueError, match="at least one probe"):
        fitted().probe(draw(1, 8), 0)
    with pytest.raises(ValueError, match=r"at most 2\^62 combinations"):
        fitted(num_bits=63).probe(draw(1, 8), 3)


def test_candidates_hold_as_many_neighbours_as_those_of_falconn() -> None:
    falconn = pytest.importorskip("falconn")
    items = torch.nn.functional.normalize(draw(4000, 16), dim=1)
    queries = torch.nn.functional.normalize(items[:500] + 0.15 * draw(500, 16, seed=1), dim=1)

    def ours(seed: int) -> tuple[float, float]:
        coder = fitted_on(items, CrossPolytopeHash(16, 8, center=False, seed=seed))
        codes, probes = bucket_codes(coder.encode(items)), coder.probe(queries, 10)
        found = (probes == codes[:500, None]).any(dim=1)
        size = torch.bincount(codes, minlength=256)[probes].sum(dim=1)
        return float(found.double().mean()), float(size.double().mean())

    def theirs(seed: int) -> tuple[float, float]:
        parameters = falconn.LSHConstructionParameters()
        parameters.dimension = 16
        parameters.lsh_family = falconn.LSHFamily.CrossPolytope
        parameters.distance_function = falconn.DistanceFunction.EuclideanSquared
        parameters.l, parameters.k, parameters.last_cp_dimension = 1, 2, 4
        parameters.num_rotations, parameters.seed, parameters.num_setup_threads = 3, seed, 1
        parameters.storage_hash_table = falconn.StorageHashTable.FlatHashTable
        index = falconn.LSHIndex(parameters)
        index.setup(np.ascontiguousarray(items.numpy(), np.float32))
        query = index.construct_query_object(10)
        found = [query.get_unique_candidates(row) for row in queries.numpy().astype(np.float32)]
        hits = [number in candidates for number, candidates in enumerate(found)]
        return float(np.mean(hits)), float(np.mean([len(candidates) for candidates in found]))

    means: list[Tensor] = [torch.tensor([each(seed) for seed in range(1, 9)]).mean(dim=0) for each in (ours, theirs)]
    torch.testing.assert_close(means[0], means[1], rtol=0.1, atol=0)
