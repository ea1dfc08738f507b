"""Nearest neighbours and their labels, by hand and against scikit-learn and slow definitions."""

import pytest
import torch
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from torch import Tensor

from retrieval.metrics import (
    NeighbourMetric,
    NeighbourScores,
    average_precision,
    excluded_pairs,
    nearest_neighbours,
    neighbour_scores,
)
from retrieval.metrics import nearest_labels as module

NUM_ITEMS, NUM_FOLDS = 60, 5
FOLDS = torch.arange(NUM_ITEMS) % NUM_FOLDS


def draw(num_classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return features that lean towards their class's centre, and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, num_classes, (NUM_ITEMS,), generator=generator)
    centers = torch.randn(num_classes, 6, generator=generator, dtype=torch.float64)
    return centers[labels] + torch.randn(NUM_ITEMS, 6, generator=generator, dtype=torch.float64), labels


def score(features: Tensor, labels: Tensor, excluded: Tensor, metric: NeighbourMetric = "cosine") -> NeighbourScores:
    found = nearest_neighbours(features, features, metric, excluded)
    return neighbour_scores(found.item_ids, labels, labels, excluded)


def test_hand_worked_example() -> None:
    # five clips on a line, each asking the other four
    features = torch.tensor([[0.0], [1.0], [3.0], [6.0], [10.0]])
    labels = torch.tensor([7, 7, 9, 7, 9])
    excluded = excluded_pairs("leave_one_out", torch.arange(5))
    found = nearest_neighbours(features, features, "euclidean", excluded, 3)
    assert found.item_ids.tolist() == [[1, 2, 3], [0, 2, 3], [1, 0, 3], [2, 4, 1], [3, 2, 1]]
    assert torch.allclose(found.distances[0], torch.tensor([1.0, 9.0, 36.0], dtype=torch.float64), rtol=0, atol=1e-12)
    scores = neighbour_scores(found.item_ids, labels, labels, excluded, cutoffs=(1, 2, 3))
    # hits by rank: 101, 101, 000, 001, 010
    assert scores.predicted_labels.tolist() == [7, 7, 7, 9, 7]
    assert scores.is_correct.tolist() == [True, True, False, False, False]
    assert scores.accuracy == pytest.approx(2 / 5, abs=1e-12)
    assert scores.classes.tolist() == [7, 9]
    assert scores.confusion.tolist() == [[2, 1], [2, 0]]
    assert scores.macro_precision == pytest.approx((2 / 4 + 0) / 2, abs=1e-12)
    assert scores.macro_recall == pytest.approx((2 / 3 + 0) / 2, abs=1e-12)
    assert scores.macro_f1 == pytest.approx((4 / 7 + 0) / 2, abs=1e-12)
    assert scores.accuracy_at == pytest.approx({1: 2 / 5, 2: 3 / 5, 3: 4 / 5}, abs=1e-12)
    assert scores.precision_at == pytest.approx({1: 2 / 5, 2: 3 / 10, 3: 6 / 15}, abs=1e-12)
    # queries with a hit only, over their hits
    assert scores.map_over_hits_at == pytest.approx(
        {1: 1, 2: (1 + 1 + 1 / 2) / 3, 3: (5 / 6 + 5 / 6 + 1 / 3 + 1 / 2) / 4}, abs=1e-12
    )
    # all queries, over min(R, k); R is 2 for label 7 and 1 for label 9
    assert scores.map_at == pytest.approx(
        {1: 2 / 5, 2: (1 / 2 + 1 / 2 + 1 / 2) / 5, 3: (5 / 6 + 5 / 6 + 1 / 6 + 1 / 2) / 5}, abs=1e-12
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_predictions_equal_scikit_learn(metric: NeighbourMetric) -> None:
    features, labels = draw()
    is_item = FOLDS != 2
    classifier = KNeighborsClassifier(1, metric=metric, algorithm="brute").fit(features[is_item], labels[is_item])
    excluded = excluded_pairs("fold_disjoint", FOLDS)[~is_item]
    found = nearest_neighbours(features[~is_item], features, metric, excluded)
    scores = neighbour_scores(found.item_ids, labels[~is_item], labels, excluded)
    assert scores.predicted_labels.tolist() == classifier.predict(features[~is_item]).tolist()
    assert scores.accuracy == pytest.approx(classifier.score(features[~is_item], labels[~is_item]), abs=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_lists_and_distances_equal_scikit_learn(metric: NeighbourMetric, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_DISTANCES", 7 * NUM_ITEMS)  # several chunks, the last one shorter
    features, _ = draw()
    found = nearest_neighbours(features, features, metric, excluded_pairs("leave_one_out", FOLDS), 5)
    # asked about its own rows, scikit-learn leaves each out of its list
    distances, item_ids = NearestNeighbors(n_neighbors=5, metric=metric, algorithm="brute").fit(features).kneighbors()
    assert found.item_ids.tolist() == item_ids.tolist()
    expected = torch.from_numpy(distances if metric == "cosine" else distances**2)
    assert torch.allclose(found.distances, expected, rtol=1e-10, atol=1e-12)


def test_class_scores_equal_scikit_learn() -> None:
    features, labels = draw(num_classes=9)
    excluded = excluded_pairs("leave_one_out", FOLDS)
    nearest = nearest_neighbours(features, features, "cosine", excluded, 1).item_ids[:, 0]
    # one class is asked for and never predicted: that of an item which is nearest to none
    labels[next(item for item in range(NUM_ITEMS) if item not in nearest)] = 42
    scores = score(features, labels, excluded)
    predicted = scores.predicted_labels
    assert 42 not in predicted
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)
    assert (scores.macro_precision, scores.macro_recall, scores.macro_f1) == pytest.approx(
        (precision, recall, f1), abs=1e-12
    )
    assert scores.confusion.tolist() == confusion_matrix(labels, predicted).tolist()
    assert scores.classes.tolist() == sorted(set(labels.tolist()) | set(predicted.tolist()))
    assert int(scores.confusion.diagonal().sum()) == int(scores.is_correct.sum()) < NUM_ITEMS
    # the definitions, from the counts
    counts = scores.confusion.double()
    by_class = counts.diagonal() / counts.sum(dim=0).clamp(min=1), counts.diagonal() / counts.sum(dim=1).clamp(min=1)
    assert (scores.macro_precision, scores.macro_recall) == pytest.approx(
        tuple(float(each.mean()) for each in by_class), abs=1e-12
    )


@pytest.mark.parametrize("cutoff", [1, 2, 3, 4, 5])
def test_both_mean_average_precisions_equal_slow_ones(cutoff: int) -> None:
    features, labels = draw(num_classes=20)
    labels[0] = 99  # a query with nothing to find
    excluded = excluded_pairs("fold_disjoint", FOLDS)
    found = nearest_neighbours(features, features, "cosine", excluded)
    scores = neighbour_scores(found.item_ids, labels, labels, excluded, [cutoff])
    over_hits, standard = [], []
    for query in range(NUM_ITEMS):
        hits = [int(labels[item] == labels[query]) for item in found.item_ids[query][:cutoff]]
        precisions = [sum(hits[: rank + 1]) / (rank + 1) for rank in range(cutoff) if hits[rank]]
        num_relevant = sum(
            int(labels[item] == labels[query] and FOLDS[item] != FOLDS[query]) for item in range(NUM_ITEMS)
        )
        if precisions:
            over_hits.append(sum(precisions) / len(precisions))
        standard.append(sum(precisions) / min(num_relevant, cutoff) if num_relevant else 0.0)
    assert 0 < len(over_hits) < NUM_ITEMS
    assert scores.map_over_hits_at[cutoff] == pytest.approx(sum(over_hits) / len(over_hits), abs=1e-12)
    assert scores.map_at[cutoff] == pytest.approx(sum(standard) / NUM_ITEMS, abs=1e-12)
    assert scores.accuracy_at[cutoff] == pytest.approx(len(over_hits) / NUM_ITEMS, abs=1e-12)


def test_standard_precision_is_that_of_the_full_list() -> None:
    features, labels = draw(num_classes=8)
    excluded = excluded_pairs("leave_one_out", FOLDS)
    every = nearest_neighbours(features, features, "euclidean", excluded, NUM_ITEMS - 1)
    expected, _ = average_precision(every.distances, labels[every.item_ids] == labels[:, None], [2, 5])
    scores = score(features, labels, excluded, "euclidean")
    assert [scores.map_at[2], scores.map_at[5]] == pytest.approx(expected.mean(dim=0).tolist(), abs=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_no_excluded_item_answers(metric: NeighbourMetric) -> None:
    features, _ = draw()
    own = torch.arange(NUM_ITEMS)[:, None]
    alone = nearest_neighbours(features, features, metric, excluded_pairs("leave_one_out", FOLDS), NUM_ITEMS - 1)
    assert not bool((alone.item_ids == own).any())
    assert bool((FOLDS[alone.item_ids] == FOLDS[:, None]).any())
    apart = nearest_neighbours(features, features, metric, excluded_pairs("fold_disjoint", FOLDS), NUM_ITEMS // 5 * 4)
    assert not bool((FOLDS[apart.item_ids] == FOLDS[:, None]).any())
    assert bool(apart.distances.isfinite().all())


def test_a_copy_answers_only_where_its_fold_may() -> None:
    features, _ = draw()
    features[5] = features[0]  # a take of the same recording, in the same fold
    protocols = (excluded_pairs("leave_one_out", FOLDS), excluded_pairs("fold_disjoint", FOLDS))
    alone, apart = (nearest_neighbours(features, features, "cosine", excluded, 1).item_ids for excluded in protocols)
    assert int(alone[0, 0]) == 5
    assert int(apart[0, 0]) != 5


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_ties_are_broken_by_item_id(metric: NeighbourMetric) -> None:
    generator = torch.Generator().manual_seed(1)
    # copies at places where a matrix product may round differently, of values that no float holds exactly
    originals = torch.randn(7, 301, generator=generator, dtype=torch.float64) / 3
    items = originals.repeat(9, 1)
    queries = torch.randn(5, 301, generator=generator, dtype=torch.float64) / 3
    found = nearest_neighbours(queries, items, metric, torch.zeros(5, 63, dtype=torch.bool), 63)
    runs = found.item_ids.unflatten(1, (7, 9))
    assert bool((runs % 7 == runs[:, :, :1] % 7).all())
    assert bool((runs.diff(dim=2) == 7).all())
    assert bool((found.distances.unflatten(1, (7, 9)).diff(dim=2) == 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_vectors_have_a_cosine_distance_of_one(dtype: torch.dtype) -> None:
    queries = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=dtype)
    items = torch.tensor([[0.0, 0.0], [-1.0, 0.0], [1e-30, 0.0], [0.0, 2.0]], dtype=dtype)
    found = nearest_neighbours(queries, items, "cosine", torch.zeros(2, 4, dtype=torch.bool), 4)
    assert found.item_ids.tolist() == [[0, 1, 2, 3], [2, 0, 3, 1]]
    expected = torch.tensor([[1.0, 1, 1, 1], [0, 1, 1, 2]], dtype=torch.float64)
    assert torch.allclose(found.distances, expected, rtol=0, atol=1e-12)


def test_an_offset_does_not_hide_small_distances() -> None:
    features, _ = draw()
    excluded = excluded_pairs("leave_one_out", FOLDS)
    near = nearest_neighbours(features, features, "euclidean", excluded)
    far = nearest_neighbours(features + 1e6, features + 1e6, "euclidean", excluded)
    assert near.item_ids.tolist() == far.item_ids.tolist()
    assert torch.allclose(near.distances, far.distances, rtol=1e-6)


def test_folds_searched_apart_are_scored_together() -> None:
    features, labels = draw()
    excluded = excluded_pairs("fold_disjoint", FOLDS)
    order = FOLDS.argsort(stable=True)
    rows = [torch.arange(fold, NUM_ITEMS, NUM_FOLDS) for fold in range(NUM_FOLDS)]
    parts = [nearest_neighbours(features[own], features, "cosine", excluded[own]).item_ids for own in rows]
    together = neighbour_scores(torch.cat(parts), labels[order], labels, excluded[order])
    expected = score(features, labels, excluded)
    assert together.map_at == pytest.approx(expected.map_at, abs=1e-12)
    assert together.macro_f1 == pytest.approx(expected.macro_f1, abs=1e-12)


def test_no_hit_at_all_scores_zero() -> None:
    features, _ = draw()
    scores = score(features, torch.arange(NUM_ITEMS), excluded_pairs("leave_one_out", FOLDS))
    assert (scores.accuracy, scores.macro_f1, scores.map_over_hits_at[5], scores.map_at[5]) == (0, 0, 0, 0)


@pytest.mark.usefixtures("unchecked_types")
def test_search_refuses_what_it_cannot_do() -> None:
    features, _ = draw()
    alone = excluded_pairs("leave_one_out", FOLDS)
    with pytest.raises(ValueError, match="metric must be"):
        nearest_neighbours(features, features, "manhattan", alone)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="protocol must be"):
        excluded_pairs("none", FOLDS)  # type: ignore[arg-type]
    for num_neighbours in (0, NUM_ITEMS):
        with pytest.raises(ValueError, match=f"got {num_neighbours}, and some query has 59"):
            nearest_neighbours(features, features, "cosine", alone, num_neighbours)
    with pytest.raises(ValueError, match=r"a mask \[query, item\]; got \(60, 6\), \(60, 6\) and \(60, 59\)"):
        nearest_neighbours(features, features, "cosine", alone[:, 1:])
    with pytest.raises(ValueError, match="of one size"):
        nearest_neighbours(features[:, 1:], features, "cosine", alone)
    features[4, 2] = torch.nan
    with pytest.raises(ValueError, match="query 4 has NaN"):
        nearest_neighbours(features, features, "cosine", alone)


@pytest.mark.usefixtures("unchecked_types")
def test_scores_refuse_what_does_not_fit() -> None:
    item_ids, labels = torch.tensor([[1, 2], [2, 0], [1, 0]]), torch.tensor([0, 0, 1])
    excluded = excluded_pairs("leave_one_out", labels)
    for cutoff in (0, 3):
        with pytest.raises(ValueError, match="between 1 and the 2 neighbours"):
            neighbour_scores(item_ids, labels, labels, excluded, [2, cutoff])
    with pytest.raises(ValueError, match="at least one query"):
        neighbour_scores(item_ids[:0], labels[:0], labels, excluded[:0], [2])
    with pytest.raises(ValueError, match="one label an item; got 2 for 3 items"):
        neighbour_scores(item_ids, labels, labels[1:], excluded, [2])
