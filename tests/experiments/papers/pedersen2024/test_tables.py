"""The study's tables: every number in its place, the thesis's in its line, and gaps where one has none."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.compare.study_table import Quantity, StudyTable, table_files
from experiments.papers.pedersen2024.clip_search import (
    METRICS,
    PROTOCOLS,
    PairTest,
    SearchKey,
    compare_all,
    search_clips,
)
from experiments.papers.pedersen2024.linear_probe import CLASSIFIERS, ThresholdAccuracy
from experiments.papers.pedersen2024.representations import Corpus, Representation
from experiments.papers.pedersen2024.tables import (
    LinearResult,
    full_table,
    linear_table,
    mcnemar_table,
    overview_table,
    pairs_table,
    sweep_table,
)
from retrieval.metrics import ContingencyTable, NeighbourScores, mcnemar_of_table

FOLDS = np.array([1, 2] * 6)
LABELS = np.repeat(np.arange(4), 3)
CORPUS = Corpus(
    "a copy_of ESC-50, 10 % of it",
    FOLDS,
    {"subclasses": LABELS, "superclasses": LABELS // 2},
    {"subclasses": ["dog", "cow", "rain", "siren"], "superclasses": ["animals", "exterior"]},
)
NO_SUPERCLASSES = replace(
    CORPUS, label_sets={"subclasses": LABELS}, class_names={"subclasses": ["dog", "cow", "rain", "siren"]}
)


def represented(
    name: str, label: str, published: str | None = None, dim: int = 3, linear: str | None = None
) -> Representation:
    return Representation(name, label, {1: np.zeros((12, dim)), 2: np.zeros((12, dim))}, published, linear)


DELTA = represented("yamnet_delta", "YAMNet, delta", "yamnet_delta", 1024, "yamnet_delta")
VAE = represented("vae_small", "VAE, mean", linear="vae_128")
VAE_64 = represented("vae_64", "VAE of 64", "vae_64", 64)
VAE_128 = represented("vae_128", "VAE of 128", "vae_128", 128, "vae_128")


def scored(accuracy: float, cutoffs: tuple[int, ...] = (2, 3, 4, 5)) -> NeighbourScores:
    """Return scores that differ from each other, so that none can stand for another."""
    return NeighbourScores(
        accuracy=accuracy,
        macro_precision=accuracy + 0.01,
        macro_recall=accuracy + 0.02,
        macro_f1=accuracy + 0.03,
        accuracy_at={cutoff: accuracy + 0.1 + cutoff / 1000 for cutoff in cutoffs},
        map_over_hits_at={cutoff: accuracy + 0.2 + cutoff / 1000 for cutoff in cutoffs},
        precision_at={cutoff: accuracy + 0.3 + cutoff / 1000 for cutoff in cutoffs},
        map_at={cutoff: accuracy + 0.4 + cutoff / 1000 for cutoff in cutoffs},
        is_correct=torch.zeros(12, dtype=torch.bool),
        predicted_labels=torch.zeros(12, dtype=torch.int64),
        classes=torch.arange(4),
        confusion=torch.eye(4, dtype=torch.int64),
    )


def all_scored(representations: list[Representation], corpus: Corpus) -> dict[SearchKey, NeighbourScores]:
    """Score each search with an accuracy of its own: 0.101, 0.102 and so on."""
    keys = [
        SearchKey(each.name, metric, protocol, label_set)
        for each in representations
        for metric in METRICS
        for protocol in PROTOCOLS
        for label_set in corpus.label_sets
    ]
    return {key: scored(0.1 + position / 1000) for position, key in enumerate(keys, start=1)}


def by_header(table: StudyTable) -> list[dict[str, str]]:
    return [dict(zip(table.headers, line, strict=True)) for line in table.lines]


# The overview.


def test_the_overview_has_a_line_a_representation_and_distance() -> None:
    scores = all_scored([DELTA, VAE], CORPUS)
    table = overview_table(scores, [DELTA, VAE], CORPUS)
    assert table.headers == [
        "1-NN accuracy in %", "size", "distance", "leave-one-out, subclasses", "leave-one-out, superclasses",
        "fold-disjoint, subclasses", "fold-disjoint, superclasses", "thesis, leave-one-out, subclasses",
        "thesis, leave-one-out, superclasses",
    ]  # fmt: skip
    lines = {(line["1-NN accuracy in %"], line["distance"]): line for line in by_header(table)}
    assert [tuple(line[:3]) for line in table.lines] == [
        ("YAMNet, delta", "1024", "cosine"), ("YAMNet, delta", "1024", "Euclidean"),
        ("VAE, mean", "3", "cosine"), ("VAE, mean", "3", "Euclidean"),
    ]  # fmt: skip
    labels = {"leave_one_out": "leave-one-out", "fold_disjoint": "fold-disjoint", "euclidean": "Euclidean"}
    names = {each.name: each.label for each in (DELTA, VAE)}
    for key, own in scores.items():
        line = lines[names[key.representation], labels.get(key.metric, key.metric)]
        assert line[f"{labels[key.protocol]}, {key.label_set}"] == f"{100 * own.accuracy:.1f}"


def test_the_thesis_s_accuracies_stand_beside_their_own_distance() -> None:
    # tables 4.6 and 4.5 as printed
    representations = [DELTA, VAE_64, VAE_128, VAE]
    table = overview_table(all_scored(representations, CORPUS), representations, CORPUS)
    theirs = {
        (line["1-NN accuracy in %"], line["distance"]): (
            line["thesis, leave-one-out, subclasses"],
            line["thesis, leave-one-out, superclasses"],
        )
        for line in by_header(table)
    }
    assert theirs == {
        ("YAMNet, delta", "cosine"): ("83.8", "91.3"),
        ("YAMNet, delta", "Euclidean"): ("81.2", "88.8"),
        ("VAE of 64", "cosine"): ("2.1", "19.0"),
        ("VAE of 64", "Euclidean"): ("2.5", "20.5"),  # 0.0255 is a hair under in binary
        ("VAE of 128", "cosine"): ("", "17.7"),  # its subclasses' table repeats the superclasses'
        ("VAE of 128", "Euclidean"): ("", "18.8"),
        ("VAE, mean", "cosine"): ("", ""),
        ("VAE, mean", "Euclidean"): ("", ""),
    }


# All scores.


def test_all_scores_stand_under_their_names_and_the_thesis_s_below() -> None:
    scores = all_scored([VAE_64], CORPUS)
    lines = by_header(full_table(scores, [VAE_64], CORPUS))
    ours = [line for line in lines if line["features"] == "VAE of 64"]
    assert len(ours) == len(scores)
    key = SearchKey("vae_64", "euclidean", "leave_one_out", "superclasses")
    where = {"classes": "superclasses", "protocol": "leave-one-out", "distance": "Euclidean"}
    (position,) = [
        position for position, line in enumerate(lines) if line.items() >= ({"features": "VAE of 64"} | where).items()
    ]
    own = scores[key]
    assert lines[position]["accuracy"] == f"{own.accuracy:.3f}"
    assert lines[position]["precision"] == f"{own.macro_precision:.3f}"
    assert lines[position]["recall"] == f"{own.macro_recall:.3f}"
    assert lines[position]["F1"] == f"{own.macro_f1:.3f}"
    for cutoff in (2, 3, 4, 5):
        assert lines[position][f"MAP@{cutoff}, thesis's"] == f"{own.map_over_hits_at[cutoff]:.3f}"
        assert lines[position][f"mAP@{cutoff}"] == f"{own.map_at[cutoff]:.3f}"
        assert lines[position][f"Acc@{cutoff}"] == f"{own.accuracy_at[cutoff]:.3f}"
        assert lines[position][f"P@{cutoff}"] == f"{own.precision_at[cutoff]:.3f}"
    # table 4.5, lower half, Euc. Dist.
    assert lines[position + 1] == {"features": "the thesis's"} | where | {
        "accuracy": "0.205", "precision": "0.205", "recall": "0.205", "F1": "0.205",
        "MAP@5, thesis's": "0.565", "mAP@5": "", "Acc@5": "0.559", "P@5": "",
        "MAP@4, thesis's": "0.616", "mAP@4": "", "Acc@4": "0.503", "P@4": "",
        "MAP@3, thesis's": "0.696", "mAP@3": "", "Acc@3": "0.424", "P@3": "",
        "MAP@2, thesis's": "0.813", "mAP@2": "", "Acc@2": "0.327", "P@2": "",
    }  # fmt: skip


def test_the_thesis_has_lines_under_leave_one_out_alone() -> None:
    representations = [DELTA, VAE]
    table = full_table(all_scored(representations, CORPUS), representations, CORPUS)
    theirs = [line[1:5] for line in table.lines if line[0] == "the thesis's"]
    assert sorted(theirs) == [
        ["subclasses", "leave-one-out", "Euclidean", "0.812"],
        ["subclasses", "leave-one-out", "cosine", "0.838"],
        ["superclasses", "leave-one-out", "Euclidean", "0.888"],
        ["superclasses", "leave-one-out", "cosine", "0.913"],
    ]
    (line,) = [line for line in by_header(table) if line["accuracy"] == "0.812"]
    assert (line["MAP@5, thesis's"], line["Acc@5"]) == ("0.896", "0.899")
    assert line["MAP@4, thesis's"] == line["Acc@2"] == ""  # what table 4.6 leaves out


def test_lists_too_short_for_some_cut_off_leave_its_cells_empty() -> None:
    # six clips in three folds: five others, but four of other folds
    labels = np.array([0, 1, 0, 1, 0, 1])
    corpus = Corpus("tiny", np.array([1, 1, 2, 2, 3, 3]), {"subclasses": labels}, {"subclasses": ["a", "b"]})
    tiny = Representation("tiny", "tiny", dict.fromkeys((1, 2, 3), np.eye(2)[labels]))
    table = full_table(search_clips([tiny], corpus, (1, 2, 3)), [tiny], corpus)
    for line in by_header(table):
        assert line["Acc@4"]
        assert (line["Acc@5"] == "") == (line["protocol"] == "fold-disjoint")


# Linear classification.


def linear_results(representations: list[Representation], corpus: Corpus) -> list[LinearResult]:
    return [
        LinearResult(each.name, label_set, classifier, {fold: 0.4 + fold / 10 + position / 10 for fold in (1, 2)})
        for each in representations
        for label_set in corpus.label_sets
        for position, classifier in enumerate(CLASSIFIERS)
    ]


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
    assert table.lines == [
        ["0.0000", "1024", "50.0", "40.0", "50.0", "50.0"],
        ["0.0025", "0", *["none left"] * 4],
    ]


# Tests between models.


def pair(
    first: str, second: str, metric: str = "cosine", counts: tuple[int, int, int, int] = (5, 20, 3, 7)
) -> PairTest:
    key = SearchKey(first, "cosine" if metric == "cosine" else "euclidean", "leave_one_out", "subclasses")
    return PairTest(first, second, key, mcnemar_of_table(ContingencyTable(*counts), "corrected"), 0.04)


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


# Files.


@pytest.mark.parametrize("corpus", [CORPUS, NO_SUPERCLASSES])
@pytest.mark.parametrize("representations", [[VAE], [DELTA, VAE]])
def test_every_table_can_do_without_yamnet_and_superclasses(
    corpus: Corpus, representations: list[Representation]
) -> None:
    scores = all_scored(representations, corpus)
    tables = [
        overview_table(scores, representations, corpus),
        full_table(scores, representations, corpus),
        linear_table(linear_results(representations, corpus), representations, corpus),
    ]
    for table in tables:
        assert table.lines
        assert all(len(line) == len(table.headers) for line in table.lines)
        assert ("superclasses" in str(table.headers) + str(table.lines)) == ("superclasses" in corpus.label_sets)


def test_a_table_is_written_in_three_formats(tmp_path: Path) -> None:
    table = mcnemar_table(VAE, DELTA, [pair("vae_small", "yamnet_delta")], CORPUS)
    files = table_files([table], tmp_path)
    assert set(files) == {tmp_path / f"mcnemar.{suffix}" for suffix in ("md", "tex", "csv")}
    assert list(csv.reader(io.StringIO(files[tmp_path / "mcnemar.csv"]))) == [
        table.headers,
        *([repr(cell.value) if isinstance(cell, Quantity) else cell for cell in line] for line in table.lines),
    ]
    assert 0 < float(files[tmp_path / "mcnemar.csv"].splitlines()[1].split(",")[-2]) < 0.001  # shown as < 0.001
    markdown = files[tmp_path / "mcnemar.md"].splitlines()
    assert markdown[0] == "## McNemar's test"
    assert [cell.strip() for cell in markdown[4].strip("|").split("|")] == table.lines[0]
    assert any(line.startswith("Ours: a copy_of ESC-50, 10 % of it, 35 of 12 clips ask.") for line in markdown)
    assert any(line.startswith("The thesis's: ESC-50. Pedersen (2024)") for line in markdown)


def test_latex_has_nothing_left_to_escape(tmp_path: Path) -> None:
    odd = represented("odd", "50 % of a_b & c #1, < 3")
    scores = all_scored([odd], CORPUS)
    tables = [overview_table(scores, [odd], CORPUS), full_table(scores, [odd], CORPUS)]
    tables.append(mcnemar_table(VAE, DELTA, [], CORPUS))
    files = table_files(tables, tmp_path)
    for table in tables:
        text = files[tmp_path / f"{table.name}.tex"]
        assert "\\begin{tabular}" in text
        assert "a copy\\_of ESC-50, 10 \\% of it" in text
        assert not re.search(r"(?<!\\)[%_#]", text)
        # one & between two cells, and no other
        rows = [line for line in text.splitlines() if line.endswith("\\\\")]
        assert len(rows) == 1 + len(table.lines)
        assert all(len(re.findall(r"(?<!\\)&", row)) == len(table.headers) - 1 for row in rows)
    overview = files[tmp_path / "overview.tex"]
    assert "50 \\% of a\\_b \\& c \\#1, \\ensuremath{<} 3" in overview
    assert "\\ensuremath{<} 0.001" in files[tmp_path / "mcnemar.tex"]
