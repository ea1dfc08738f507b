"""Search over folds: planted solutions, traps, and a matrix a fold."""

import itertools

import numpy as np
import pytest
import torch

from experiments.papers.pedersen2024.clip_search import METRICS, PROTOCOLS, SearchKey, compare_all, search_clips
from experiments.papers.pedersen2024.representations import Corpus, Representation
from retrieval.metrics import NeighbourScores, holm_adjust, mcnemar

NUM_FOLDS = 3
EVERY_FOLD = (1, 2, 3)


def corpus_of(labels: np.ndarray, folds: np.ndarray) -> Corpus:
    sets = {"subclasses": labels, "superclasses": labels // 2}
    return Corpus("made up", folds, sets, {name: [str(label) for label in range(9)] for name in sets})


def balanced() -> Corpus:
    """Four classes in two superclasses, three clips of each in each of three folds, out of order."""
    grid = np.array(list(itertools.product(range(4), EVERY_FOLD, range(3))))
    grid = np.random.default_rng(0).permutation(grid)
    return corpus_of(grid[:, 0], grid[:, 1])


def clustered(corpus: Corpus, seed: int = 0, spread: float = 0.01) -> np.ndarray:
    """Return vectors near a corner of their class's own."""
    noise = np.random.default_rng(seed).standard_normal((len(corpus.folds), 4))
    return np.asarray(np.eye(4)[corpus.label_sets["subclasses"]] + spread * noise)


def same(name: str, vectors: np.ndarray) -> Representation:
    return Representation(name, name, dict.fromkeys(EVERY_FOLD, vectors))


def search_one(
    vectors: np.ndarray, corpus: Corpus, folds: tuple[int, ...] = EVERY_FOLD
) -> dict[SearchKey, NeighbourScores]:
    return search_clips([same("made", vectors)], corpus, folds)


def accuracies(found: dict[SearchKey, NeighbourScores], protocol: str, label_set: str = "subclasses") -> set[float]:
    return {each.accuracy for key, each in found.items() if (key.protocol, key.label_set) == (protocol, label_set)}


def test_every_kind_of_search_is_done_once() -> None:
    corpus = balanced()
    found = search_clips([same("one", clustered(corpus)), same("two", clustered(corpus, 1))], corpus, EVERY_FOLD)
    expected = itertools.product(("one", "two"), METRICS, PROTOCOLS, ("subclasses", "superclasses"))
    assert set(found) == {SearchKey(*each) for each in expected}
    assert set(METRICS) == {"cosine", "euclidean"}
    assert set(PROTOCOLS) == {"leave_one_out", "fold_disjoint"}
    assert all(set(each.accuracy_at) == {2, 3, 4, 5} for each in found.values())


def test_planted_clusters_are_found_by_all() -> None:
    corpus = balanced()
    for each in search_one(clustered(corpus), corpus).values():
        assert each.accuracy == each.macro_f1 == each.map_at[5] == 1
        assert each.is_correct.all()
        assert len(each.is_correct) == 36


def test_other_takes_answer_each_other_only_where_they_may() -> None:
    # Each class is one pair of takes in one fold: nobody else has the right answer.
    folds = np.repeat(np.array(EVERY_FOLD), 4)
    labels = np.repeat(np.arange(6), 2)
    places = np.random.default_rng(1).standard_normal((6, 8))[labels]
    vectors = places + 0.001 * np.random.default_rng(2).standard_normal((12, 8))
    found = search_one(vectors, corpus_of(labels, folds))
    assert accuracies(found, "leave_one_out") == {1.0}
    assert accuracies(found, "fold_disjoint") == {0.0}


def test_neighbours_of_a_fold_may_mislead_too() -> None:
    # A fold's clips lie close together, whatever they are; a class's lie on a line through all folds.
    folds, labels = np.repeat(np.array(EVERY_FOLD), 2), np.tile([0, 2], 3)
    vectors = np.stack([np.full(6, 1000.0), 0.1 * labels, folds], axis=1)
    found = search_one(vectors, corpus_of(labels, folds))
    assert accuracies(found, "leave_one_out") == {0.0}
    assert accuracies(found, "fold_disjoint") == {1.0}


def test_queries_come_in_the_order_of_folds_and_of_items_in_them() -> None:
    corpus = balanced()
    vectors = np.random.default_rng(3).standard_normal((36, 4))
    for folds in (EVERY_FOLD, (3, 1)):
        rows = [row for fold in folds for row in range(36) if corpus.folds[row] == fold]
        for key, each in search_one(vectors, corpus, folds).items():
            labels = corpus.label_sets[key.label_set]
            nearest = [oracle(vectors, row, key, corpus.folds) for row in rows]
            assert each.predicted_labels.tolist() == labels[nearest].tolist()
            assert each.is_correct.tolist() == (labels[nearest] == labels[rows]).tolist()


def oracle(vectors: np.ndarray, row: int, key: SearchKey, folds: np.ndarray) -> int:
    """Find the nearest item, slowly."""
    best, nearest = np.inf, -1
    for item, vector in enumerate(vectors):
        if item == row or (key.protocol == "fold_disjoint" and folds[item] == folds[row]):
            continue
        query = vectors[row]
        lengths = np.linalg.norm(query) * np.linalg.norm(vector)
        distance = float(1 - query @ vector / lengths if key.metric == "cosine" else np.linalg.norm(query - vector))
        if distance < best:
            best, nearest = distance, item
    return nearest


def test_the_queries_of_a_fold_are_searched_in_its_own_matrix() -> None:
    corpus = balanced()
    good, noise = clustered(corpus), np.random.default_rng(4).standard_normal((36, 4))
    representation = Representation("mixed", "mixed", {1: good, 2: noise, 3: good})
    alone = search_one(noise, corpus, (2,))
    asks = np.sort(corpus.folds) == 2
    for key, each in search_clips([representation], corpus, EVERY_FOLD).items():
        assert each.is_correct[torch.from_numpy(~asks)].all()
        expected = alone[SearchKey("made", key.metric, key.protocol, key.label_set)]
        assert torch.equal(each.is_correct[torch.from_numpy(asks)], expected.is_correct)
        assert each.accuracy == pytest.approx((24 + 12 * expected.accuracy) / 36)


def test_lists_are_as_long_as_every_query_has_items_left() -> None:
    folds, labels = np.array([1, 1, 2, 2, 3, 3]), np.array([0, 2, 0, 2, 0, 2])
    found = search_one(np.eye(4)[labels], corpus_of(labels, folds))
    assert {key.protocol: set(each.map_at) for key, each in found.items()} == {
        "leave_one_out": {2, 3, 4, 5},
        "fold_disjoint": {2, 3, 4},
    }


def test_single_precision_is_searched_in_double() -> None:
    corpus = balanced()
    vectors = clustered(corpus).astype(np.float32)
    single, double = (search_one(own, corpus) for own in (vectors, vectors.astype(np.float64)))
    assert all(torch.equal(single[key].predicted_labels, double[key].predicted_labels) for key in double)


def test_every_two_are_compared_on_the_same_search() -> None:
    corpus = balanced()
    spreads = {"clear": 0.01, "blurred": 0.6, "noise": 9.0}
    names = list(spreads)
    made = [same(name, clustered(corpus, seed, spreads[name])) for seed, name in enumerate(names)]
    scores = search_clips(made, corpus, EVERY_FOLD)
    tests = compare_all(scores)
    assert len(tests) == 3 * len(METRICS) * len(PROTOCOLS) * 2
    for kind in itertools.product(METRICS, PROTOCOLS, ("subclasses", "superclasses")):
        own = [each for each in tests if (each.key.metric, each.key.protocol, each.key.label_set) == kind]
        assert [(each.first, each.second) for each in own] == list(itertools.combinations(names, 2))
        correct = {name: scores[SearchKey(name, *kind)].is_correct for name in names}
        expected = [mcnemar(correct[each.first], correct[each.second], "corrected") for each in own]
        assert [each.test for each in own] == expected
        p_values = torch.tensor([each.p_value for each in expected], dtype=torch.float64)
        assert [each.adjusted_p for each in own] == holm_adjust(p_values).tolist()
        assert all(each.key.representation == each.first for each in own)
    assert min(each.adjusted_p for each in tests) < 0.001


def test_one_alone_is_compared_with_nothing() -> None:
    corpus = balanced()
    assert compare_all(search_one(clustered(corpus), corpus)) == []
    assert compare_all({}) == []
