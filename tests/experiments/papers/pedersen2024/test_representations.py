"""Representations of clips: what is fitted has not seen the clips that ask, and each is what its name says."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from datamodules import DatasetError
from experiments.papers.pedersen2024.clip_features import FEATURE_NAMES
from experiments.papers.pedersen2024.representations import (
    Corpus,
    Representation,
    given_representations,
    learned_representations,
    read_corpus,
)
from experiments.papers.pedersen2024.runs import VAE_OF
from tests.lightning_modules.frontends.pretrained.test_yamnet import write_keras_release
from tests.replicas.esc50 import make_esc50

ESC50 = "data/esc50.yaml"
TEST_FOLD = 2


def options(root: Path) -> list[str]:
    return [f"--data.root={root}", f"--data.cache_dir={root.parent / 'cache'}"]


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Write 100 clips, and a copy in which those of the test fold are noise."""
    folder = tmp_path_factory.mktemp("corpora")
    first, second = (make_esc50(folder / name, num_classes=10, seconds=0.3) for name in ("first", "second"))
    generator = np.random.default_rng(0)
    for path in (second / "audio").glob(f"{TEST_FOLD}-*.wav"):
        soundfile.write(path, generator.uniform(-1, 1, 4_800), 16_000)
    return first, second


def corpus_of(num_items: int = 60, num_folds: int = 5) -> Corpus:
    folds = 1 + np.arange(num_items) % num_folds
    return Corpus("made up", folds, {"subclasses": np.arange(num_items) % 3}, {"subclasses": ["a", "b", "c"]})


def draw_windows(num_items: int, num_windows: int, num_latents: int, seed: int = 0) -> np.ndarray:
    """Draw windows of correlated latents that are not centred, float32 as a model leaves them."""
    generator = np.random.default_rng(seed)
    mixed = generator.standard_normal((num_items, num_windows, num_latents)) @ generator.standard_normal(
        (num_latents, num_latents)
    )
    return np.asarray(mixed + 3, np.float32)


def made_of(windows: dict[int, np.ndarray], corpus: Corpus) -> dict[str, Representation]:
    return {each.name: each for each in learned_representations(VAE_OF["vae_small"], windows, corpus)}


# The corpus.


def test_a_corpus_has_folds_classes_and_superclasses(replicas: tuple[Path, Path]) -> None:
    corpus = read_corpus(ESC50, [*options(replicas[0]), "--data.name", "a copy of ESC-50"])
    assert corpus.name == "a copy of ESC-50"
    assert np.bincount(corpus.folds).tolist() == [0, 20, 20, 20, 20, 20]
    names = corpus.class_names["subclasses"]
    assert names == ["dog", "rooster", "rain", "chirping_birds", "crying_baby", "laughing", "door_wood_knock",
                     "clock_tick", "siren", "church_bells"]  # fmt: skip
    assert np.bincount(corpus.label_sets["subclasses"]).tolist() == [10] * 10
    rows = np.flatnonzero(corpus.label_sets["subclasses"] == names.index("siren"))
    assert {corpus.class_names["superclasses"][label] for label in corpus.label_sets["superclasses"][rows]} == {
        "exterior"
    }
    assert set(corpus.label_sets) == set(corpus.class_names) == {"subclasses", "superclasses"}


def test_a_missing_corpus_is_an_error_of_the_data(in_tmp: Path) -> None:
    with pytest.raises(DatasetError, match="Expected ESC-50 in"):
        read_corpus(ESC50, ["--data.root=nowhere"])


# Given representations.


@pytest.mark.parametrize("method", ["pca", "log_mel"])
def test_what_is_fitted_does_not_see_the_test_fold(replicas: tuple[Path, Path], method: str) -> None:
    corpus = read_corpus(ESC50, options(replicas[0]))
    first, second = (
        given_representations(method, corpus, (TEST_FOLD, 3), ESC50, options(root))[0].by_fold for root in replicas
    )
    asks = corpus.folds == TEST_FOLD
    # columns of principal components may flip their sign
    signs = np.sign((first[TEST_FOLD][~asks] * second[TEST_FOLD][~asks]).sum(axis=0))
    assert np.allclose(first[TEST_FOLD][~asks], signs * second[TEST_FOLD][~asks], rtol=0, atol=1e-6)
    assert not np.allclose(first[TEST_FOLD][asks], signs * second[TEST_FOLD][asks], rtol=0, atol=0.1)
    # and for fold 3 the noise of fold 2 is among what is fitted on
    assert not np.allclose(np.abs(first[3][~asks]), np.abs(second[3][~asks]), rtol=0, atol=1e-2)


def test_pca_is_white_on_the_clips_it_is_fitted_on(replicas: tuple[Path, Path]) -> None:
    corpus = read_corpus(ESC50, options(replicas[0]))
    (made,) = given_representations("pca", corpus, (1, 5), ESC50, options(replicas[0]))
    assert (made.name, made.dim, made.label) == ("pca_whitened", 64, "PCA-64 of the log-mel, whitened")
    for fold, vectors in made.by_fold.items():
        assert vectors.shape == (100, 64)
        fitted = vectors[corpus.folds != fold]
        assert np.allclose(np.cov(fitted.T), np.eye(64), rtol=0, atol=1e-6)


def test_pca_of_few_clips_has_no_component_that_is_but_rounding(tmp_path: Path) -> None:
    root = make_esc50(tmp_path / "corpus", num_classes=5, clips_per_fold=2, seconds=0.3)  # 40 clips to fit on
    corpus = read_corpus(ESC50, options(root))
    (made,) = given_representations("pca", corpus, (1,), ESC50, options(root))
    fitted = made.by_fold[1][corpus.folds != 1]
    assert made.dim < len(fitted)  # centred, they span a dimension less than they are
    assert np.allclose(np.cov(fitted.T), np.eye(made.dim), rtol=0, atol=1e-6)


def test_log_mel_statistics_are_standardised_on_the_other_folds(replicas: tuple[Path, Path]) -> None:
    corpus = read_corpus(ESC50, options(replicas[0]))
    (made,) = given_representations("log_mel", corpus, (4,), ESC50, options(replicas[0]))
    fitted = made.by_fold[4][corpus.folds != 4]
    assert np.allclose(fitted.mean(axis=0), 0, rtol=0, atol=1e-6)
    assert np.allclose(fitted.std(axis=0), 1, rtol=0, atol=1e-6)


def test_random_vectors_repeat_and_are_the_same_for_all_folds() -> None:
    corpus = corpus_of()
    (first,), (second,) = (given_representations("random", corpus, (1, 2), ESC50, []) for _ in range(2))
    assert np.array_equal(first.by_fold[1], second.by_fold[2])
    assert first.by_fold[1].shape == (60, first.dim)


def test_yamnet_s_features_have_the_thesis_s_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_keras_release(tmp_path / "yamnet.h5")
    monkeypatch.setenv("EARMARK_YAMNET_WEIGHTS", str(tmp_path / "yamnet.h5"))
    root = make_esc50(tmp_path / "corpus", num_classes=2, clips_per_fold=1, seconds=1.0)
    made = given_representations("yamnet", read_corpus(ESC50, options(root)), (1, 2), ESC50, options(root))
    assert [each.name for each in made] == [f"yamnet_{name}" for name in FEATURE_NAMES]
    assert [each.published for each in made] == [f"yamnet_{name}" for name in FEATURE_NAMES[:-1]] + [None]
    assert [each.dim for each in made] == [1024, 1024, 1024, 2048, 2048, 2048, 3072, 1024]
    labels = {each.name: each.label for each in made}
    assert labels["yamnet_mean+std+delta"] == "YAMNet, mean + deviation + delta"
    assert all(each.by_fold[1] is each.by_fold[2] for each in made)  # nothing is fitted


# Learned representations.


def test_the_first_is_the_mean_over_windows() -> None:
    windows = {1: draw_windows(60, 4, 5, seed=1), 2: draw_windows(60, 4, 5, seed=2)}
    found = learned_representations(VAE_OF["vae_32"], windows, corpus_of())[0]
    assert (found.name, found.published, found.dim) == ("vae_32", "vae_32", 5)
    for fold, own in windows.items():
        expected = sum(own[:, window].astype(np.float64) for window in range(4)) / 4
        assert np.allclose(found.by_fold[fold], expected, rtol=0, atol=1e-12)


def test_whitened_has_identity_covariance_on_the_rows_it_is_fitted_on() -> None:
    corpus = corpus_of()
    found = made_of({1: draw_windows(60, 4, 5), 2: draw_windows(60, 4, 5, seed=2)}, corpus)["vae_small_whitened"]
    assert found.published is None
    for fold, vectors in found.by_fold.items():
        fitted = vectors[corpus.folds != fold]
        assert np.allclose(np.cov(fitted.T), np.eye(5), rtol=0, atol=1e-9)
        assert np.allclose(fitted.mean(axis=0), 0, rtol=0, atol=1e-9)
        assert not np.allclose(np.cov(vectors.T), np.eye(5), rtol=0, atol=1e-3)


def test_pooled_has_four_statistics_of_each_latent() -> None:
    corpus = corpus_of()
    windows = draw_windows(60, 4, 5)
    found = made_of({3: windows}, corpus)["vae_small_pooled"]
    assert found.dim == 20
    own = windows.astype(np.float64)
    parts = [own.mean(axis=1), own.std(axis=1), own.max(axis=1), own.min(axis=1)]
    expected = np.concatenate(parts, axis=1)
    fitted = expected[corpus.folds != 3]
    expected = (expected - fitted.mean(axis=0)) / fitted.std(axis=0)
    assert np.allclose(found.by_fold[3], expected, rtol=0, atol=1e-4)  # statistics are of float32


@pytest.mark.parametrize("name", ["vae_small", "vae_small_whitened", "vae_small_pooled"])
def test_other_queries_of_the_test_fold_change_nothing_else(name: str) -> None:
    corpus = corpus_of()
    asks = corpus.folds == TEST_FOLD
    windows = draw_windows(60, 4, 5)
    changed = windows.copy()
    changed[asks] *= -7
    first, second = (made_of({TEST_FOLD: own}, corpus)[name].by_fold[TEST_FOLD] for own in (windows, changed))
    assert np.allclose(first[~asks], second[~asks], rtol=0, atol=1e-9)
    assert not np.allclose(first[asks], second[asks], rtol=0, atol=0.1)


def test_one_window_has_nothing_to_pool() -> None:
    found = made_of({1: draw_windows(60, 1, 5)}, corpus_of())
    assert list(found) == ["vae_small", "vae_small_whitened"]


def test_too_few_rows_to_whiten_leave_it_out() -> None:
    corpus = corpus_of(num_items=10)  # 8 to fit on
    assert "vae_small_whitened" not in made_of({1: draw_windows(10, 2, 8)}, corpus)
    found = made_of({1: draw_windows(10, 2, 7)}, corpus)["vae_small_whitened"]
    fitted = found.by_fold[1][corpus.folds != 1]
    assert np.allclose(np.cov(fitted.T), np.eye(7), rtol=0, atol=1e-6)
