"""One contract over all indexes, then what each measures, then faiss as a foreign oracle."""

from collections.abc import Callable

import faiss
import numpy as np
import pytest
import torch
from torch import Tensor

from retrieval.codes import ProductQuantizer
from retrieval.index import AsymmetricIndex, ExactIndex, Index

DIM = 6


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_quantizer() -> ProductQuantizer:
    quantizer = ProductQuantizer(DIM, 3, 16, num_iterations=5).double()
    quantizer.fit(draw(100, DIM, seed=9))
    return quantizer


def cosine() -> Index:
    return ExactIndex("cosine")


def euclidean() -> Index:
    return ExactIndex("euclidean")


def asymmetric() -> Index:
    return AsymmetricIndex(make_quantizer())


MAKERS = [cosine, euclidean, asymmetric]
contract = pytest.mark.parametrize("make", MAKERS)
MakeIndex = Callable[[], Index]


def filled(make: MakeIndex, vectors: Tensor, item_ids: Tensor | None = None) -> Index:
    index = make()
    index.add(vectors, torch.arange(len(vectors)) if item_ids is None else item_ids)
    return index


def distinct_vectors(make: MakeIndex, count: int) -> Tensor:
    """Vectors whose distances to any query differ, after encoding too."""
    vectors = draw(400, DIM, seed=1)
    if make is not asymmetric:
        return vectors[:count]
    codes = make_quantizer().encode(vectors)
    _, group = torch.unique(codes, dim=0, return_inverse=True)
    first = torch.tensor([int((group == value).nonzero()[0]) for value in range(int(group.max()) + 1)])
    return vectors[first.sort().values[:count]]


@contract
def test_distances_of_a_ranking_never_fall(make: MakeIndex) -> None:
    ranking = filled(make, draw(50, DIM)).search(draw(7, DIM, seed=2))
    assert bool((ranking.distances[:, 1:] >= ranking.distances[:, :-1]).all())
    assert bool((ranking.item_ids.sort(dim=1).values == torch.arange(50)).all())


@contract
def test_ranking_agrees_with_distances_by_id(make: MakeIndex) -> None:
    item_ids = torch.randperm(50, generator=torch.Generator().manual_seed(1)) * 3
    index = filled(make, draw(50, DIM), item_ids)
    queries = draw(7, DIM, seed=2)
    ranking, distances = index.search(queries), index.distances(queries)
    assert torch.equal(index.item_ids, item_ids.sort().values)
    position = torch.searchsorted(index.item_ids, ranking.item_ids)
    assert torch.equal(distances.gather(1, position), ranking.distances)


@contract
def test_permuted_items_give_the_same_ranking(make: MakeIndex) -> None:
    vectors, queries = distinct_vectors(make, 40), draw(5, DIM, seed=3)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    plain, permuted = filled(make, vectors), filled(make, vectors[order], order)
    assert torch.equal(plain.search(queries).item_ids, permuted.search(queries).item_ids)


@contract
def test_relabelled_items_keep_their_places(make: MakeIndex) -> None:
    vectors, queries = distinct_vectors(make, 40), draw(5, DIM, seed=3)
    plain = filled(make, vectors).search(queries)
    relabelled = filled(make, vectors, 1000 - torch.arange(40)).search(queries)
    assert torch.equal(1000 - plain.item_ids, relabelled.item_ids)
    torch.testing.assert_close(plain.distances, relabelled.distances, rtol=0, atol=1e-12)


@contract
def test_equally_distant_items_are_ordered_by_id(make: MakeIndex) -> None:
    # few and dyadic, so that distances of equal items are equal to the bit
    near, far = torch.eye(DIM, dtype=torch.float64)[:1], -torch.eye(DIM, dtype=torch.float64)[:1]
    vectors = torch.cat([far, near, near, far, near])
    ranking = filled(make, vectors, torch.tensor([4, 30, 2, 1, 17])).search(near)
    assert ranking.item_ids.tolist() == [[2, 17, 30, 1, 4]]
    assert len(ranking.distances.unique()) == 2


@contract
def test_adding_in_two_parts_equals_adding_at_once(make: MakeIndex) -> None:
    vectors, queries = draw(30, DIM), draw(4, DIM, seed=5)
    item_ids = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    whole = filled(make, vectors, item_ids)
    parts = make()
    for start, stop in [(0, 11), (11, 12), (12, 12), (12, 30)]:
        parts.add(vectors[start:stop], item_ids[start:stop])
    assert len(parts) == len(whole) == 30
    assert torch.equal(parts.distances(queries), whole.distances(queries))
    assert torch.equal(parts.search(queries).item_ids, whole.search(queries).item_ids)


@contract
def test_ids_that_are_there_twice_are_refused_and_change_nothing(make: MakeIndex) -> None:
    index, queries = filled(make, draw(5, DIM)), draw(2, DIM, seed=1)
    before = index.search(queries)
    with pytest.raises(ValueError, match="id 3 is there twice"):
        index.add(draw(2, DIM), torch.tensor([8, 3]))
    with pytest.raises(ValueError, match="id 8 is there twice"):
        index.add(draw(2, DIM), torch.tensor([8, 8]))
    after = index.search(queries)
    assert len(index) == 5
    assert torch.equal(before.item_ids, after.item_ids)
    assert torch.equal(before.distances, after.distances)


@contract
@pytest.mark.parametrize(("num_items", "returned"), [(None, 6), (1, 1), (4, 4), (6, 6), (7, 6), (1000, 6)])
def test_as_many_items_come_back_as_asked_for_and_there_are(
    make: MakeIndex, num_items: int | None, returned: int
) -> None:
    index, queries = filled(make, draw(6, DIM)), draw(3, DIM, seed=1)
    ranking, whole = index.search(queries, num_items), index.search(queries)
    assert ranking.item_ids.shape == ranking.distances.shape == (3, returned)
    assert torch.equal(ranking.item_ids, whole.item_ids[:, :returned])
    assert torch.equal(ranking.distances, whole.distances[:, :returned])


@contract
def test_one_item_is_found_by_every_query(make: MakeIndex) -> None:
    ranking = filled(make, draw(1, DIM), torch.tensor([77])).search(draw(3, DIM, seed=1), 5)
    assert ranking.item_ids.tolist() == [[77]] * 3


@contract
def test_each_query_is_searched_on_its_own(make: MakeIndex) -> None:
    index, queries = filled(make, distinct_vectors(make, 20)), draw(6, DIM, seed=4)
    together = index.search(queries).item_ids
    alone = torch.cat([index.search(query[None]).item_ids for query in queries])
    assert torch.equal(together, alone)


def test_exact_euclidean_distance_is_the_squared_norm_of_the_difference() -> None:
    vectors, queries = draw(40, DIM), draw(9, DIM, seed=1)
    expected = (queries[:, None] - vectors[None]).square().sum(dim=2)
    found = filled(euclidean, vectors).distances(queries)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert bool((filled(euclidean, vectors).distances(vectors) >= 0).all())


def test_exact_cosine_distance_is_one_minus_cosine_whatever_the_lengths() -> None:
    vectors, queries = draw(40, DIM), draw(9, DIM, seed=1)
    expected = 1 - torch.nn.functional.cosine_similarity(queries[:, None], vectors[None], dim=2)
    torch.testing.assert_close(filled(cosine, vectors).distances(queries), expected, rtol=0, atol=1e-12)
    longer = filled(cosine, vectors * torch.arange(1, 41)[:, None]).distances(queries * 7)
    torch.testing.assert_close(longer, expected, rtol=0, atol=1e-12)
    extremes = filled(cosine, torch.cat([queries[:1], -queries[:1]])).distances(queries[:1])
    torch.testing.assert_close(extremes, torch.tensor([[0.0, 2.0]], dtype=torch.float64), rtol=0, atol=1e-12)


def test_asymmetric_distance_is_the_exact_distance_to_the_decoded_vector() -> None:
    quantizer = make_quantizer()
    vectors, queries = draw(80, DIM), draw(9, DIM, seed=1)
    asymmetric_index = AsymmetricIndex(quantizer)
    asymmetric_index.add(vectors, torch.arange(80))
    decoded = filled(euclidean, quantizer.decode(quantizer.encode(vectors)))
    torch.testing.assert_close(asymmetric_index.distances(queries), decoded.distances(queries), rtol=1e-12, atol=1e-12)


def test_equal_codes_get_the_same_bits_of_distance_anywhere_in_the_index() -> None:
    quantizer = make_quantizer().float()
    index = AsymmetricIndex(quantizer)
    codes = torch.randint(0, 4, (1003, 3), generator=torch.Generator().manual_seed(0))
    index.add_codes(codes, torch.arange(1003))
    distances = index.distances(draw(5, DIM).float())
    groups = torch.unique(codes, dim=0, return_inverse=True)[1]
    assert all(bool((distances[:, groups == group].amax(1) == distances[:, groups == group].amin(1)).all())
               for group in range(int(groups.max()) + 1))  # fmt: skip


def test_codes_may_be_added_instead_of_vectors() -> None:
    quantizer, vectors = make_quantizer(), draw(20, DIM)
    by_vectors, by_codes = AsymmetricIndex(quantizer), AsymmetricIndex(quantizer)
    item_ids = torch.arange(20).flip(0)
    by_vectors.add(vectors, item_ids)
    by_codes.add_codes(quantizer.encode(vectors), item_ids)
    assert torch.equal(by_vectors.codes, by_codes.codes)
    assert torch.equal(by_vectors.item_ids, by_codes.item_ids)


@pytest.mark.usefixtures("unchecked_types")
def test_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="metric must be cosine or euclidean; got 'hamming'"):
        ExactIndex("hamming")  # type: ignore[arg-type]


def test_searching_an_empty_index_is_refused() -> None:
    with pytest.raises(RuntimeError, match="The index is empty; add items"):
        ExactIndex().search(draw(1, DIM))


def test_exact_search_agrees_with_faiss() -> None:
    vectors, queries = draw(300, DIM).float(), draw(20, DIM, seed=1).float()
    flat = faiss.IndexFlatL2(DIM)
    flat.add(vectors.numpy())
    distances, item_ids = flat.search(queries.numpy(), 25)
    # in float64, so that no two of ours swap; faiss's float32 order is that of well separated distances
    ranking = filled(euclidean, vectors.double()).search(queries.double(), 25)
    np.testing.assert_allclose(ranking.distances.numpy(), distances, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(ranking.item_ids.numpy(), item_ids)


def test_asymmetric_search_agrees_with_faiss() -> None:
    quantizer = make_quantizer().float()
    vectors, queries = draw(300, DIM).float(), draw(20, DIM, seed=1).float()
    oracle = faiss.IndexPQ(DIM, quantizer.num_books, 4)
    faiss.copy_array_to_vector(quantizer.codebooks.numpy().ravel(), oracle.pq.centroids)
    oracle.is_trained = True
    oracle.add(vectors.numpy())
    codes = quantizer.encode(vectors)
    np.testing.assert_array_equal(oracle.reconstruct_n(0, 300), quantizer.decode(codes).numpy())
    distances, item_ids = oracle.search(queries.numpy(), 300)
    index = AsymmetricIndex(quantizer)
    index.add(vectors, torch.arange(300))
    np.testing.assert_allclose(index.search(queries).distances.numpy(), distances, rtol=1e-5, atol=1e-5)
    ours = index.distances(queries)
    np.testing.assert_allclose(ours.gather(1, torch.from_numpy(item_ids)).numpy(), distances, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_items", [0, -1])
def test_a_search_for_nothing_is_refused(num_items: int) -> None:
    index = ExactIndex()
    index.add(torch.eye(3), torch.arange(3))
    with pytest.raises(ValueError, match="at least one item"):
        index.search(torch.eye(3), num_items)


def test_vectors_of_another_size_leave_an_index_as_it_was() -> None:
    index = ExactIndex()
    index.add(torch.eye(3), torch.arange(3))
    with pytest.raises(ValueError, match="Expected vectors of 3 dimensions; got 2"):
        index.add(torch.eye(2), torch.tensor([7, 8]))
    assert index.item_ids.tolist() == [0, 1, 2]
