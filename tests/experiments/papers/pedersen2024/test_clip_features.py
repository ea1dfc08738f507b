"""Features of clips against hand-worked values, and that what is fitted sees only the rows it is given."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.signal import savgol_filter

from experiments.papers.pedersen2024.clip_features import (
    FEATURE_NAMES,
    clip_features,
    log_mel_pictures,
    pca_whitened,
    random_features,
    z_scored,
)


def draw_clips(num_features: int = 20) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.random((num_patches, num_features), dtype=np.float32) for num_patches in (10, 1, 2, 15)]


def test_mean_and_deviation_by_hand() -> None:
    clips = [np.array([[1.0, 4.0], [3.0, 4.0], [8.0, 4.0]]), np.array([[2.0, 9.0]])]
    found = clip_features(clips, ["mean", "std", "sqrt_mean"])
    assert np.allclose(found["mean"], [[4, 4], [2, 9]], rtol=0, atol=1e-12)
    # (9 + 1 + 16) / 2, and no deviation of a single patch
    assert np.allclose(found["std"], [[math.sqrt(13), 0.0], [0.0, 0.0]], rtol=0, atol=1e-12)
    assert np.allclose(found["sqrt_mean"], [[2.0, 2.0], [math.sqrt(2), 3.0]], rtol=0, atol=1e-12)


def test_delta_is_the_slope_of_a_fitted_line() -> None:
    clips = draw_clips()
    found = clip_features(clips, ["delta"])["delta"]
    places = np.arange(-4, 5)
    for row, frames in enumerate(clips):
        slopes = np.array(
            [
                # the least-squares slope of 9 neighbours, sum of i y_i / sum of i^2 = 60; at the ends that of the
                # outermost 9 stands for all
                [float(places @ frame[min(max(band, 4), 15) - 4 :][:9]) / 60 for band in range(20)]
                for frame in frames.astype(np.float64)
            ]
        )
        assert np.allclose(found[row], slopes.mean(axis=0), rtol=0, atol=1e-12)


def test_delta_runs_along_features_and_averages_over_patches() -> None:
    clips = draw_clips()
    found = clip_features(clips, ["delta"])["delta"]
    for row, frames in enumerate(clips):
        filtered = savgol_filter(frames.astype(np.float64), 9, polyorder=1, deriv=1, axis=1, mode="interp")
        assert np.allclose(found[row], filtered.mean(axis=0), rtol=0, atol=1e-12)
        # the order of patches in time is lost
        shuffled = clip_features([frames[::-1]], ["delta"])["delta"][0]
        assert np.allclose(found[row], shuffled, rtol=0, atol=1e-12)


def test_combinations_are_concatenations() -> None:
    found = clip_features(draw_clips())
    assert tuple(found) == FEATURE_NAMES
    for name, values in found.items():
        parts = name.split("+")
        assert values.shape == (4, 20 * len(parts))
        assert values.dtype == np.float64
        if len(parts) > 1:
            joined: list[np.ndarray] = [found[part] for part in FEATURE_NAMES if part in parts]
            assert np.array_equal(values, np.concatenate(joined, axis=1))
    assert sum("+" in name for name in found) == 4


def test_only_what_is_asked_for_is_checked() -> None:
    signed = [np.array([[1.0, -2.0]]), np.array([[1.0, 2.0]])]
    assert list(clip_features(signed, ["mean+std"])) == ["mean+std"]
    with pytest.raises(ValueError, match="never negative; got -2"):
        clip_features(signed, ["sqrt_mean"])
    with pytest.raises(ValueError, match="9 neighbouring features; got 2"):
        clip_features(signed, ["delta"])


@pytest.mark.usefixtures("unchecked_types")
def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"names among mean, std, .*; got median"):
        clip_features(draw_clips(), ["mean", "median"])  # type: ignore[list-item]


def test_clips_without_frames_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got 2 clips, none in those at \[1\]"):
        clip_features([np.ones((3, 4)), np.ones((0, 4))], ["mean"])
    with pytest.raises(ValueError, match="got 0 clips"):
        log_mel_pictures([])


def test_z_scores_by_hand() -> None:
    features = np.array([[0.0, 5.0, 1.0], [4.0, 5.0, 2.0], [6.0, 7.0, 9.0]])
    found = z_scored(features, np.array([0, 1]))
    # means 2, 5, 1.5 and deviations 2, 0, 0.5 of the first two rows
    assert np.allclose(found, [[-1, 0, -1], [1, 0, 1], [2, 2, 15]], rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="at least 1 rows"):
        z_scored(features, np.array([], dtype=int))


@pytest.mark.parametrize("transform", [z_scored, lambda features, rows: pca_whitened(features, rows, 3)])
def test_rows_that_are_not_fitted_on_change_nothing(
    transform: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> None:
    features = np.random.default_rng(0).standard_normal((40, 12))
    fit_rows = np.arange(30)
    changed = features.copy()
    changed[35:] = 1000 * changed[35:] + 7
    before, after = transform(features, fit_rows), transform(changed, fit_rows)
    assert np.array_equal(before[:35], after[:35])
    assert not np.allclose(before[35:], after[35:])
    fitted_on = features.copy()
    fitted_on[5] += 1
    assert not np.allclose(before[:5], transform(fitted_on, fit_rows)[:5])


@pytest.mark.parametrize("num_components", [5, 8])
def test_whitened_components_are_uncorrelated_and_ordered(num_components: int) -> None:
    generator = np.random.default_rng(0)
    scales = 2.0 ** -np.arange(8)
    rotation, _ = np.linalg.qr(generator.standard_normal((8, 8)))
    latents = generator.standard_normal((300, 8))
    fit_rows = np.arange(200)
    found = pca_whitened(latents * scales @ rotation, fit_rows, num_components)
    assert found.shape == (300, num_components)
    assert np.allclose(np.cov(found[fit_rows].T), np.eye(num_components), rtol=0, atol=1e-9)
    # the planted axes, widest first
    correlation = np.abs(np.corrcoef(found[fit_rows].T, latents[fit_rows].T)[:num_components, num_components:])
    assert (correlation.argmax(axis=1) == np.arange(num_components)).all()
    assert np.array_equal(found, pca_whitened(latents * scales @ rotation, fit_rows, num_components))


def test_more_components_than_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got 6 for 5 rows of 9\. Try 5"):
        pca_whitened(np.zeros((20, 9)), np.arange(5), 6)


def test_pictures_by_hand() -> None:
    frames = np.array([[0.0, 10.0], [10.0, 20.0], [20.0, 20.0], [20.0, 40.0]], dtype=np.float32)
    silent = np.full((1, 2), -100.0, dtype=np.float32)
    found = log_mel_pictures([frames, silent], num_frames=2)
    # [0, 40] becomes [0, 1]; pairs of frames are averaged; one frame fills both stretches
    assert np.allclose(found, [[0.125, 0.375, 0.5, 0.75], [0.0, 0.0, 0.0, 0.0]], rtol=0, atol=1e-7)
    level = log_mel_pictures([3 * frames - 50], num_frames=2)
    assert np.allclose(level[0], found[0], rtol=0, atol=1e-6)
    assert log_mel_pictures([np.zeros((157, 64)), np.ones((3, 64))]).shape == (2, 60 * 64)
    with pytest.raises(ValueError, match="num_frames must be at least 1"):
        log_mel_pictures([frames], 0)


def test_random_features_follow_their_seed() -> None:
    first = random_features(500, 8, seed=1)
    assert np.array_equal(first, random_features(500, 8, seed=1))
    assert not np.array_equal(first, random_features(500, 8, seed=2))
    assert abs(first.mean()) < 0.1
    assert abs(first.std() - 1) < 0.1


def test_whitening_leaves_out_directions_that_are_but_rounding() -> None:
    # what a bottleneck of 3 units leaves of 8 latents, in single precision
    generator = np.random.default_rng(0)
    flat = (generator.standard_normal((60, 3)) @ generator.standard_normal((3, 8))).astype(np.float32)
    whitened = pca_whitened(flat.astype(np.float64), np.arange(50), 8)
    assert whitened.shape == (60, 3)
    np.testing.assert_allclose(whitened[:50].std(axis=0, ddof=1), 1, rtol=1e-6)
