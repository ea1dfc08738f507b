"""The study's tables of linear classifiers and of tests between models: every number in its place."""

from dataclasses import replace

import numpy as np

from experiments.papers.pedersen2024.clip_search import METRICS, PROTOCOLS, compare_all, search_clips
from experiments.papers.pedersen2024.linear_probe import ThresholdAccuracy
from experiments.papers.pedersen2024.tables import linear_table, mcnemar_table, pairs_table, sweep_table
from tests.experiments.papers.pedersen2024.makers import (
    CORPUS,
    DELTA,
    NO_SUPERCLASSES,
    VAE,
    VAE_64,
    VAE_128,
    linear_results,
    pair,
)


def test_linear_results_are_means_over_folds_beside_the_thesis_s() -> None:
    representations = [DELTA, VAE, VAE_64, VAE_128]
    table = linear_table(linear_results(representations, CORPUS), representations, CORPUS)
    assert table.headers == ["accuracy in %", "classes", "logistic regression", "thesis's", "linear SVM", "thesis's"]
    assert table.lines == [  # tables 4.3 and 4.4
        ["YAMNet, delta", "subclasses", "55.0", "84.8", "65.0", "85.8"],
        ["YAMNet, delta", "superclasses", "55.0", "88.8", "65.0", "88.8"],
        ["VAE, mean", "subclasses", "55.0", "26.3", "65.0", "12.3"],
        ["VAE, mean", "superclasses", "55.0", "42.3", "65.0", "40.0"],
        ["VAE of 64", "subclasses", "55.0", "", "65.0", ""],
        ["VAE of 64", "superclasses", "55.0", "", "65.0", ""],
        ["VAE of 128", "subclasses", "55.0", "26.3", "65.0", "12.3"],
        ["VAE of 128", "superclasses", "55.0", "42.3", "65.0", "40.0"],
    ]


def test_what_was_not_classified_has_no_line() -> None:
    table = linear_table(linear_results([VAE], NO_SUPERCLASSES), [DELTA, VAE], NO_SUPERCLASSES)
    assert [line[:2] for line in table.lines] == [["VAE, mean", "subclasses"]]


def test_the_sweep_has_a_line_a_threshold_and_says_where_nothing_is_left() -> None:
    points = [
        ThresholdAccuracy(threshold, num_features, label_set, classifier, accuracies)
        for threshold, num_features, accuracies in ((0.0, 1024, {1: 0.25, 2: 0.75}), (0.0025, 0, {}))
        for label_set in ("subclasses", "superclasses")
        for classifier in ("logistic", "svm")
    ]
    points[1] = replace(points[1], fold_accuracies={1: 0.4, 2: 0.4})
    table = sweep_table(points, CORPUS)
    assert table.headers[2:4] == ["subclasses, logistic regression", "subclasses, linear SVM"]
    assert table.lines == [["0.0000", "1024", "50.0", "40.0", "50.0", "50.0"], ["0.0025", "0", *["none left"] * 4]]


def test_mcnemar_s_table_has_ours_and_the_thesis_s_computed_anew() -> None:
    tests = [pair("vae_small", "yamnet_delta"), pair("vae_small", "vae_64"), pair("vae_64", "yamnet_delta")]
    lines = mcnemar_table(VAE, DELTA, tests, CORPUS).lines
    # (|20 - 3| - 1)^2 / 23
    assert lines[0] == ["VAE, mean / YAMNet, delta", "subclasses", "leave-one-out", "cosine", "5", "20", "3", "7",
                        "11.130", "< 0.001", "0.040"]  # fmt: skip
    assert lines[1:] == [  # tables 4.7 and 4.8
        ["thesis: VAE / YAMNet", "superclasses", "leave-one-out", "Euclidean", "292", "52", "1472", "184", "1321.234",
         "< 0.001", ""],
        ["thesis: VAE / YAMNet", "superclasses", "leave-one-out", "cosine", "310", "33", "1511", "146", "1412.907",
         "< 0.001", ""],
        ["thesis: VAE / YAMNet", "subclasses", "leave-one-out", "Euclidean", "25", "3", "1523", "449", "1512.032",
         "< 0.001", ""],
        ["thesis: VAE / YAMNet", "subclasses", "leave-one-out", "cosine", "33", "3", "1615", "349", "1604.030",
         "< 0.001", ""],
    ]  # fmt: skip


def test_mcnemar_s_table_has_our_lines_whichever_of_the_two_was_listed_first() -> None:
    # A study lists what is given before what it learns, and tests pairs in that order.
    random = np.random.default_rng(0)
    given, learned = (
        replace(each, by_fold={1: vectors, 2: vectors})
        for each in (DELTA, VAE)
        for vectors in [random.standard_normal((12, 3))]
    )
    scores = search_clips([given, learned], CORPUS, (1, 2))
    lines = mcnemar_table(learned, given, compare_all(scores), CORPUS).lines
    ours = [line for line in lines if line[0] == "VAE, mean / YAMNet, delta"]
    assert len(ours) == len(METRICS) * len(PROTOCOLS) * len(CORPUS.label_sets)
    for _, label_set, protocol, distance, *counts, _, _, _ in ours:
        searched = [
            scores[key].is_correct
            for name in ("vae_small", "yamnet_delta")
            for key in scores
            if (key.representation, key.label_set) == (name, label_set)
            and key.protocol == protocol.replace("-", "_")
            and key.metric == distance.lower()
        ]
        vae, yamnet = searched
        expected = [vae & yamnet, vae & ~yamnet, ~vae & yamnet, ~vae & ~yamnet]
        assert counts == [str(int(each.sum())) for each in expected]


def test_pairs_are_named_by_their_labels() -> None:
    table = pairs_table([pair("vae_small", "yamnet_delta", "euclidean")], [DELTA, VAE], CORPUS)
    assert table.lines == [
        ["VAE, mean", "YAMNet, delta", "subclasses", "leave-one-out", "Euclidean", "5", "20", "3", "7", "11.130",
         "< 0.001", "0.040"]
    ]  # fmt: skip
    assert len(table.headers) == 12
    assert pairs_table([], [DELTA], CORPUS).lines == []
