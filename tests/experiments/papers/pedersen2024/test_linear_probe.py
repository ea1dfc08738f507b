"""Linear probes on planted classes, on noise, and over variance thresholds."""

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from experiments.papers.pedersen2024 import linear_probe as module
from experiments.papers.pedersen2024.linear_probe import (
    CLASSIFIERS,
    Classifier,
    linear_accuracy,
    threshold_sweep,
)
from experiments.papers.pedersen2024.runs import THRESHOLDS

NUM_CLIPS, NUM_CLASSES, NUM_FEATURES = 200, 4, 30
LABELS = np.arange(NUM_CLIPS) % NUM_CLASSES
FOLDS = np.arange(NUM_CLIPS) // NUM_CLASSES % 5 + 1


@pytest.fixture(autouse=True)
def refuse_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning)  # scikit-learn's ConvergenceWarning is one
        yield


def draw_separable(seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centers = generator.standard_normal((NUM_CLASSES, NUM_FEATURES))
    return centers[LABELS] + 0.05 * generator.standard_normal((NUM_CLIPS, NUM_FEATURES))


@pytest.mark.parametrize("classifier", CLASSIFIERS)
@pytest.mark.parametrize("num_components", [5, 128])
def test_separable_classes_are_told_apart(classifier: Classifier, num_components: int) -> None:
    features = draw_separable()
    found = linear_accuracy(lambda fold: features, LABELS, FOLDS, classifier, num_components)
    assert found == dict.fromkeys(range(1, 6), 1.0)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_random_labels_stay_near_chance(classifier: Classifier) -> None:
    features = draw_separable()
    labels = np.random.default_rng(1).integers(0, NUM_CLASSES, NUM_CLIPS)
    found = linear_accuracy(lambda fold: features, labels, FOLDS, classifier)
    # 200 guesses at 1 in 4: five standard deviations are 0.15
    assert 0.1 < np.mean(list(found.values())) < 0.4


def test_equals_scikit_learn_step_by_step() -> None:
    generator = np.random.default_rng(2)
    features = draw_separable() + 2 * generator.standard_normal((NUM_CLIPS, NUM_FEATURES))
    models = {"logistic": LogisticRegression(C=0.01), "svm": LinearSVC(C=0.01, dual=False)}
    for name in CLASSIFIERS:
        found = linear_accuracy(lambda fold: features, LABELS, FOLDS, name, num_components=8)
        assert 0.25 < np.mean(list(found.values())) < 1
        for fold, accuracy in found.items():
            is_test = fold == FOLDS
            pca = PCA(8, svd_solver="full").fit(features[~is_test])
            scaler = StandardScaler().fit(pca.transform(features[~is_test]))
            train, test = (scaler.transform(pca.transform(features[rows])) for rows in (~is_test, is_test))
            model = models[name].fit(train, LABELS[~is_test])
            assert accuracy == pytest.approx(model.score(test, LABELS[is_test]), abs=1e-12)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_each_fold_has_its_own_features(classifier: Classifier) -> None:
    good, asked = draw_separable(), []

    def features_of_fold(fold: int) -> np.ndarray:
        asked.append(fold)
        return good if fold != 3 else np.random.default_rng(3).standard_normal(good.shape)

    found = linear_accuracy(features_of_fold, LABELS, FOLDS, classifier)
    assert asked == [1, 2, 3, 4, 5]
    assert found[3] < 0.6
    assert all(found[fold] == 1 for fold in (1, 2, 4, 5))
    some = linear_accuracy(features_of_fold, LABELS, FOLDS, classifier, test_folds=(4, 3))
    assert some == {3: found[3], 4: 1.0}


def test_labels_of_the_test_fold_are_not_fitted_on() -> None:
    features = draw_separable()
    wrong = np.where(FOLDS == 2, (LABELS + 1) % NUM_CLASSES, LABELS)
    for classifier in CLASSIFIERS:
        assert linear_accuracy(lambda fold: features, wrong, FOLDS, classifier, test_folds=(2,)) == {2: 0.0}


def test_rounding_errors_are_no_components() -> None:
    # three directions in thirty features; the other components are 1e-16 of them, and would be scaled up to one
    generator = np.random.default_rng(4)
    latents = np.eye(NUM_CLASSES)[LABELS][:, :3] + 0.05 * generator.standard_normal((NUM_CLIPS, 3))
    features = latents @ generator.standard_normal((3, NUM_FEATURES))
    train, test = module._split(features, FOLDS == 1, num_components=20)
    assert train.shape == (160, 3)
    assert test.shape == (40, 3)


def test_sweep_keeps_what_scikit_learn_keeps() -> None:
    generator = np.random.default_rng(5)
    features = generator.standard_normal((NUM_CLIPS, NUM_FEATURES)) * np.sqrt(np.linspace(0, 0.003, NUM_FEATURES))
    features[:, 1] = 0.1
    assert features.var(axis=0)[1] > 0  # by rounding
    found = threshold_sweep(features, {"four": LABELS}, FOLDS, thresholds=THRESHOLDS, classifiers=["logistic"])
    assert [point.threshold for point in found] == list(THRESHOLDS)
    expected = [VarianceThreshold(threshold).fit(features).get_support().sum() for threshold in THRESHOLDS]
    assert [point.num_features for point in found] == expected
    assert expected[0] == NUM_FEATURES - 2
    assert len(set(expected)) > 5


def test_thresholds_are_those_of_the_thesis() -> None:
    assert len(THRESHOLDS) == 26
    assert (THRESHOLDS[0], THRESHOLDS[3], THRESHOLDS[-1]) == (0.0, 0.0003, 0.0025)


def test_sweep_equals_the_probe_on_what_is_left() -> None:
    features = draw_separable() + np.random.default_rng(6).standard_normal((NUM_CLIPS, NUM_FEATURES))
    threshold = float(np.median(features.var(axis=0)))
    halves = {"four": LABELS, "two": LABELS % 2}
    found = threshold_sweep(features, halves, FOLDS, thresholds=[0.0, threshold], num_components=6)
    order = [(point.threshold, point.label_set, point.classifier) for point in found]
    assert order == [(at, name, kind) for at in (0.0, threshold) for name in halves for kind in CLASSIFIERS]
    for point in found:
        left = features[:, features.var(axis=0) > point.threshold]
        assert left.shape[1] == point.num_features
        expected = linear_accuracy(lambda fold: left, halves[point.label_set], FOLDS, point.classifier, 6)  # noqa: B023
        assert point.fold_accuracies == expected
        assert point.accuracy == pytest.approx(np.mean(list(expected.values())), abs=1e-12)
    assert found[0].fold_accuracies != found[4].fold_accuracies


def test_a_threshold_that_leaves_nothing_is_missing() -> None:
    features = draw_separable()
    found = threshold_sweep(features, {"four": LABELS}, FOLDS, thresholds=[0.0, 1e9], classifiers=["svm"])
    assert [point.num_features for point in found] == [NUM_FEATURES, 0]
    assert found[0].accuracy == 1
    assert found[1].accuracy is None
    assert found[1].fold_accuracies == {}


def test_equal_masks_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    features, widths = draw_separable(), []
    split = module._split

    def count(features: np.ndarray, is_test: np.ndarray, num_components: int) -> tuple[np.ndarray, np.ndarray]:
        widths.append(features.shape[1])
        return split(features, is_test, num_components)

    monkeypatch.setattr(module, "_split", count)
    lowest = float(features.var(axis=0).min())
    found = threshold_sweep(features, {"four": LABELS}, FOLDS, thresholds=[0.0, lowest / 2, lowest, 1e9])
    assert widths == [NUM_FEATURES] * 5 + [NUM_FEATURES - 1] * 5
    assert found[0].fold_accuracies == found[2].fold_accuracies


@pytest.mark.usefixtures("unchecked_types")
def test_refuses_what_it_cannot_do() -> None:
    features = draw_separable()
    with pytest.raises(ValueError, match="classifiers among logistic, svm; got tree"):
        linear_accuracy(lambda fold: features, LABELS, FOLDS, "tree")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="two folds or more"):
        linear_accuracy(lambda fold: features, LABELS, np.ones_like(FOLDS), "svm")
    with pytest.raises(ValueError, match="got 199 labels and 200 clips"):
        threshold_sweep(features, {"four": LABELS[1:]}, FOLDS)
    with pytest.raises(ValueError, match="num_components must be at least 1"):
        linear_accuracy(lambda fold: features, LABELS, FOLDS, "svm", num_components=0)
    with pytest.raises(ValueError, match=r"test folds among \[1, 2, 3, 4, 5\]; got \[6\]"):
        linear_accuracy(lambda fold: features, LABELS, FOLDS, "svm", test_folds=[6])
    with pytest.raises(ValueError, match="got 199 rows"):
        linear_accuracy(lambda fold: features[1:], LABELS, FOLDS, "svm")
    with pytest.raises(ValueError, match="never negative"):
        threshold_sweep(features, {"four": LABELS}, FOLDS, thresholds=[-1.0])
    features[7, 7] = np.nan
    with pytest.raises(ValueError, match="1 with NaN"):
        threshold_sweep(features, {"four": LABELS}, FOLDS)
