"""The tables of the thesis's study, ours beside its own: search, linear classification, tests between models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.compare.study_table import StudyTable, p_text, percent, shares
from experiments.papers.pedersen2024.clip_search import METRICS, PROTOCOLS, PairTest, SearchKey
from experiments.papers.pedersen2024.linear_probe import Classifier, ThresholdAccuracy
from experiments.papers.pedersen2024.published import read_published
from experiments.papers.pedersen2024.representations import Corpus, Representation
from retrieval.metrics import ContingencyTable, NeighbourScores, mcnemar_of_table

_PROTOCOL_LABELS = {"leave_one_out": "leave-one-out", "fold_disjoint": "fold-disjoint"}
_DISTANCE_LABELS = {"cosine": "cosine", "euclidean": "Euclidean"}
_CLASSIFIER_LABELS = {"logistic": "logistic regression", "svm": "linear SVM"}
_TEST_HEADERS = [
    "classes", "protocol", "distance", "both right", "only the first", "only the second", "neither", "chi-square", "p",
    "p, Holm",
]  # fmt: skip
_THESIS = read_published()
# The thesis compares its VAE with this feature of YAMNet.
THESIS_RIVAL = "yamnet_delta"


@dataclass(frozen=True)
class LinearResult:
    """Linear classification of one representation.

    Attributes:
        representation: Its name.
        label_set: What the classes are.
        classifier: Which.
        fold_accuracies: Share of correct clips by test fold.
    """

    representation: str
    label_set: str
    classifier: Classifier
    fold_accuracies: Mapping[int, float]


def overview_table(
    scores: Mapping[SearchKey, NeighbourScores], representations: Sequence[Representation], corpus: Corpus
) -> StudyTable:
    """Lay out 1-NN accuracy: a line a representation and distance, a column a protocol and label set."""
    thesis = _THESIS.search
    headers = ["1-NN accuracy in %", "size", "distance"]
    headers += [f"{_PROTOCOL_LABELS[protocol]}, {name}" for protocol in PROTOCOLS for name in corpus.label_sets]
    headers += [f"thesis, leave-one-out, {name}" for name in corpus.label_sets]
    lines = []
    for each in representations:
        for metric in METRICS:
            line = [each.label, str(each.dim), _DISTANCE_LABELS[metric]]
            for protocol in PROTOCOLS:
                for label_set in corpus.label_sets:
                    line.append(percent(scores[SearchKey(each.name, metric, protocol, label_set)].accuracy))
            for label_set in corpus.label_sets:
                theirs = thesis.get(label_set, {}).get(each.published or "", {}).get(metric)
                line.append(percent(theirs[0]) if theirs else "")
            lines.append(line)
    return StudyTable("overview", "Nearest-neighbour search", headers, lines, _data_notes(corpus, _num_queries(scores)))


def full_table(
    scores: Mapping[SearchKey, NeighbourScores], representations: Sequence[Representation], corpus: Corpus
) -> StudyTable:
    """Lay out every score of every search, with a line of the thesis's below ours where it has one."""
    thesis = _THESIS.search
    # lists are shorter where a query has few items left
    cutoffs = sorted({cutoff for each in scores.values() for cutoff in each.accuracy_at}, reverse=True)
    headers = ["features", "classes", "protocol", "distance", "accuracy", "precision", "recall", "F1"]
    for cutoff in cutoffs:
        headers += [f"MAP@{cutoff}, thesis's", f"mAP@{cutoff}", f"Acc@{cutoff}", f"P@{cutoff}"]
    lines = []
    for each in representations:
        for key, own in scores.items():
            if key.representation != each.name:
                continue
            line = [each.label, key.label_set, _PROTOCOL_LABELS[key.protocol], _DISTANCE_LABELS[key.metric]]
            line += shares([own.accuracy, own.macro_precision, own.macro_recall, own.macro_f1])
            for cutoff in cutoffs:
                line += shares(
                    [each_at.get(cutoff) for each_at in
                     (own.map_over_hits_at, own.map_at, own.accuracy_at, own.precision_at)]
                )  # fmt: skip
            lines.append(line)
            theirs = thesis.get(key.label_set, {}).get(each.published or "", {}).get(key.metric)
            if theirs and key.protocol == "leave_one_out":
                at = {5 - position: theirs[4 + 2 * position : 6 + 2 * position] for position in range(4)}
                line = ["the thesis's", *line[1:4], *shares(theirs[:4])]
                for cutoff in cutoffs:
                    line += [*shares([at[cutoff][0]]), "", *shares([at[cutoff][1]]), ""]
                lines.append(line)
    notes = [
        "Macro means over classes. Acc@k: a hit among the first k. MAP@k as the thesis has it divides by the hits "
        "found and leaves out queries without one, so that a random order scores high; mAP@k divides by the smaller of "
        "k and the relevant clips.",
        *_data_notes(corpus, _num_queries(scores)),
    ]
    return StudyTable("search", "All scores of the search", headers, lines, notes)


def linear_table(
    results: Sequence[LinearResult], representations: Sequence[Representation], corpus: Corpus
) -> StudyTable:
    """Lay out linear classification, as in tables 4.3 and 4.4."""
    thesis = _THESIS.linear
    classifiers = list(dict.fromkeys(result.classifier for result in results))
    headers = ["accuracy in %", "classes"]
    headers += [text for name in classifiers for text in (_CLASSIFIER_LABELS[name], "thesis's")]
    by_key = {(result.representation, result.label_set, result.classifier): result for result in results}
    lines = []
    for each in representations:
        for label_set in corpus.label_sets:
            if (each.name, label_set, classifiers[0]) not in by_key:
                continue
            theirs = thesis.get(label_set, {}).get(each.published_linear or "")
            line = [each.label, label_set]
            for position, classifier in enumerate(classifiers):
                folds = by_key[each.name, label_set, classifier].fold_accuracies
                mean = sum(folds.values()) / len(folds)
                line += [percent(mean), percent(theirs[position]) if theirs else ""]
            lines.append(line)
    test_folds = {fold for result in results for fold in result.fold_accuracies}
    num_queries = sum(int((corpus.folds == fold).sum()) for fold in test_folds)
    notes = [
        "Mean over test folds; the classifier and all it rests on has not seen the fold.",
        *_data_notes(corpus, num_queries),
    ]
    return StudyTable("linear", "Linear classification", headers, lines, notes)


def class_table(
    scores: Mapping[SearchKey, NeighbourScores], representations: Sequence[Representation], corpus: Corpus
) -> StudyTable:
    """Lay out the share of each class's queries that a clip of it answers, by cosine, leave-one-out (figure 4.4)."""
    label_set, names = next(iter(corpus.class_names.items()))
    missing = _THESIS.missing_in_audioset
    by_class = [
        class_accuracies(scores[SearchKey(each.name, "cosine", "leave_one_out", label_set)], names)
        for each in representations
    ]
    lines = [
        [
            f"{name}, not in AudioSet" if name in missing else name,
            *(percent(own[name]) if name in own else "" for own in by_class),
        ]
        for name in names
    ]
    headers = ["1-NN accuracy in %", *(each.label for each in representations)]
    return StudyTable("classes", "Each class", headers, lines, _data_notes(corpus, _num_queries(scores)))


def class_accuracies(scores: NeighbourScores, class_names: Sequence[str]) -> dict[str, float]:
    """Return the share of each class's queries that a clip of it answers, by name; of classes that are asked for."""
    counts = scores.confusion.double()
    num_queries = counts.sum(dim=1)
    right = (counts.diagonal() / num_queries).tolist()
    asked = (num_queries > 0).tolist()
    return {
        class_names[label]: share
        for label, share, is_asked in zip(scores.classes.tolist(), right, asked, strict=True)
        if is_asked
    }


def sweep_table(points: Sequence[ThresholdAccuracy], corpus: Corpus) -> StudyTable:
    """Lay out the sweep of variance thresholds, figure 4.1."""
    columns = list(dict.fromkeys((point.label_set, point.classifier) for point in points))
    headers = ["threshold", "features kept", *(f"{name}, {_CLASSIFIER_LABELS[kind]}" for name, kind in columns)]
    lines = []
    for threshold in dict.fromkeys(point.threshold for point in points):
        own = {(point.label_set, point.classifier): point for point in points if point.threshold == threshold}
        first = next(iter(own.values()))
        accuracies = [own[column].accuracy for column in columns]
        cells = ["none left" if value is None else percent(value) for value in accuracies]
        lines.append([f"{threshold:.4f}", str(first.num_features), *cells])
    note = (
        f"{corpus.name}, {len(corpus.folds)} clips, mean over the folds; variances are over all clips, as in the "
        "thesis, all else is fitted on the other folds."
    )
    return StudyTable("sweep", "Features by their variance, then PCA", headers, lines, [note])


def mcnemar_table(
    first: Representation, second: Representation, tests: Sequence[PairTest], corpus: Corpus
) -> StudyTable:
    """Lay out McNemar's test of two representations, as in tables 4.7 and 4.8, and the thesis's own, computed anew."""
    lines = []
    for each in tests:
        if {each.first, each.second} != {first.name, second.name}:
            continue
        table = each.test.table if each.first == first.name else _swapped(each.test.table)
        lines.append([f"{first.label} / {second.label}", *_test_cells(each, table)])
    for label_set, by_metric in _THESIS.mcnemar.items():
        for metric, theirs in by_metric.items():
            test = mcnemar_of_table(ContingencyTable(*theirs.table), "corrected")
            where = [label_set, "leave-one-out", _DISTANCE_LABELS[metric]]
            counts = _counts(test.table)
            lines.append(["thesis: VAE / YAMNet", *where, *counts, f"{test.statistic:.3f}", p_text(test.p_value), ""])
    notes = [
        "Continuity-corrected, eq. (2.11); Holm's correction over all pairs of representations of the same search."
    ]
    return StudyTable(
        "mcnemar",
        "McNemar's test",
        ["models", *_TEST_HEADERS],
        lines,
        [*notes, *_data_notes(corpus, _num_tested(tests))],
    )


def pairs_table(tests: Sequence[PairTest], representations: Sequence[Representation], corpus: Corpus) -> StudyTable:
    """Lay out McNemar's test of every two representations."""
    labels = {each.name: each.label for each in representations}
    lines = [[labels[each.first], labels[each.second], *_test_cells(each, each.test.table)] for each in tests]
    title, headers = "McNemar's test of every two representations", ["first", "second", *_TEST_HEADERS]
    return StudyTable("pairs", title, headers, lines, _data_notes(corpus, _num_tested(tests)))


def _data_notes(corpus: Corpus, num_queries: int) -> list[str]:
    return [
        f"Ours: {corpus.name}, {num_queries} of {len(corpus.folds)} clips ask. Fold-disjoint: no neighbour from the "
        "query's own fold, where other takes of its recording are. What is trained or fitted has not seen the query's "
        "fold.",
        f"The thesis's: {_THESIS.corpus}. {_THESIS.source}.",
    ]


def _num_queries(scores: Mapping[SearchKey, NeighbourScores]) -> int:
    return len(next(iter(scores.values())).is_correct)


def _num_tested(tests: Sequence[PairTest]) -> int:
    return tests[0].test.table.num_queries if tests else 0


def _test_cells(test: PairTest, table: ContingencyTable) -> list[str]:
    """Show how was searched, who was right, and the test."""
    where = [test.key.label_set, _PROTOCOL_LABELS[test.key.protocol], _DISTANCE_LABELS[test.key.metric]]
    p_values = [p_text(test.test.p_value), p_text(test.adjusted_p)]
    return [*where, *_counts(table), f"{test.test.statistic:.3f}", *p_values]


def _counts(table: ContingencyTable) -> list[str]:
    counts = (table.both_correct, table.only_a_correct, table.only_b_correct, table.neither_correct)
    return [str(count) for count in counts]


def _swapped(table: ContingencyTable) -> ContingencyTable:
    return ContingencyTable(table.both_correct, table.only_b_correct, table.only_a_correct, table.neither_correct)
