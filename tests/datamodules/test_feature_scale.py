"""Statistics in chunks are those of the whole in float64, standardising can be undone, and a level leaves no trace."""

import numpy as np
import pytest

from datamodules.batches.clip_frames import ClipFrames
from datamodules.batches.feature_dataset import ClipFeatures
from datamodules.feature_scale import CenteredClips, FeatureScale, StandardizedClips, measure_scale

NUM_CLIPS, NUM_FRAMES, FEATURE_DIM = 23, 7, 5
INDICES = np.array([1, 2, 3, 5, 8, 13, 21, 22])


def _frames(offset: float = 0.0) -> np.ndarray:
    """Features of different means and deviations; float32, as a cache has them."""
    values = np.random.default_rng(0).standard_normal((NUM_CLIPS * NUM_FRAMES, FEATURE_DIM))
    return (values * [1, 10, 0.1, 3, 1] + [0, -80, 5, 1e3, offset]).astype(np.float32)


def _clips(frames: np.ndarray) -> ClipFrames:
    return ClipFrames(frames, np.arange(0, len(frames) + 1, NUM_FRAMES), NUM_FRAMES)


@pytest.mark.parametrize("values_at_once", [1, NUM_FRAMES * FEATURE_DIM * 3, 10**6])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_chunks_give_the_statistics_of_the_whole(values_at_once: int, offset: float) -> None:
    frames = _frames(offset)
    rows = frames.reshape(NUM_CLIPS, NUM_FRAMES, FEATURE_DIM)[INDICES].reshape(-1, FEATURE_DIM).astype(np.float64)
    scale = measure_scale(_clips(frames), INDICES, values_at_once)
    np.testing.assert_allclose(scale.mean, rows.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(scale.deviation, rows.std(axis=0), rtol=1e-10)


@pytest.mark.parametrize("values_at_once", [1, FEATURE_DIM * 3, 10**6])
def test_means_are_measured_alike(values_at_once: int) -> None:
    means = _frames()
    scale = measure_scale(means, INDICES, values_at_once)
    chosen = means[INDICES].astype(np.float64)
    np.testing.assert_allclose(scale.mean, chosen.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(scale.deviation, chosen.std(axis=0), rtol=1e-10)


def test_hand_worked_scale() -> None:
    features = np.array([[1.0, 5.0], [3.0, 5.0], [100.0, 0.0]])
    scale = measure_scale(features, np.array([0, 1]))
    assert scale.mean.tolist() == [2, 5]
    assert scale.deviation.tolist() == [1, 1]  # the second feature doesn't change
    assert StandardizedClips(features, scale)[np.array([2, 0])].tolist() == [[98, -5], [-1, 0]]


@pytest.mark.parametrize("value", [0.1, -1e-30, 1e30])
def test_feature_that_does_not_change_becomes_0(value: float) -> None:
    features = np.full((1000, 1), value, np.float32)
    scale = measure_scale(features, np.arange(1000), 37)
    assert scale.deviation.tolist() == [1]
    assert not StandardizedClips(features, scale)[np.arange(1000)].any()


def test_one_clip_is_enough() -> None:
    scale = measure_scale(np.array([[3.0, 4.0]]), np.array([0]))
    assert scale.mean.tolist() == [3, 4]
    assert scale.deviation.tolist() == [1, 1]


@pytest.mark.parametrize("shape", [(FEATURE_DIM,), (4, FEATURE_DIM), (2, 3, FEATURE_DIM), (2, 1, 3, FEATURE_DIM)])
def test_restoring_undoes_standardizing(shape: tuple[int, ...]) -> None:
    scale = measure_scale(_frames(), INDICES)
    features = np.random.default_rng(1).standard_normal(shape)
    np.testing.assert_allclose(scale.restore(scale.standardize(features)), features, rtol=0, atol=1e-12)
    np.testing.assert_allclose(scale.standardize(scale.restore(features)), features, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_restored_features_have_the_precision_given(dtype: type) -> None:
    scale = FeatureScale(np.array([1.0]), np.array([2.0]))
    restored = scale.restore(np.ones((2, 1), dtype))
    assert restored.dtype == dtype
    assert restored.tolist() == [[3], [3]]


@pytest.mark.parametrize("features", [_frames(), _clips(_frames())], ids=["means", "frames"])
def test_centred_clips_have_mean_0_and_keep_their_differences(features: ClipFeatures) -> None:
    centred = CenteredClips(features)[INDICES]
    raw = features[INDICES].astype(np.float64)
    axes = tuple(range(1, raw.ndim))
    np.testing.assert_allclose(centred.mean(axis=axes), 0, atol=1e-10)
    difference = (raw - centred).reshape(len(INDICES), -1)
    np.testing.assert_allclose(difference, difference[:, :1] * np.ones_like(difference), rtol=0, atol=1e-9)


def test_a_gain_in_db_leaves_centred_frames_as_they_were() -> None:
    frames = np.random.default_rng(3).integers(-80, 0, (NUM_CLIPS * NUM_FRAMES, FEATURE_DIM)).astype(np.float32)
    gains_db = np.repeat(np.random.default_rng(4).integers(-20, 21, NUM_CLIPS), NUM_FRAMES)[:, None]
    louder = frames + gains_db.astype(np.float32)
    everything = np.arange(NUM_CLIPS)
    before, after = (CenteredClips(_clips(rows))[everything] for rows in (frames, louder))
    np.testing.assert_allclose(before, after, rtol=0, atol=1e-12)
    assert np.abs(_clips(frames)[everything] - _clips(louder)[everything]).max() > 1


@pytest.mark.parametrize("values_at_once", [1, NUM_FRAMES * FEATURE_DIM * 2, 10**6])
def test_padding_is_neither_measured_nor_changed(values_at_once: int) -> None:
    frames = _frames()
    lengths = np.arange(1, 9)  # of clips one after the other; 5 are served of each
    clips = ClipFrames(frames, np.concatenate([[0], np.cumsum(lengths)]), 5, "pad")
    indices = np.array([0, 3, 4, 6, 7])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.concatenate([frames[starts[clip] : starts[clip] + min(lengths[clip], 5)] for clip in indices])
    scale = measure_scale(clips, indices, values_at_once, clips.num_frames)
    np.testing.assert_allclose(scale.mean, rows.astype(np.float64).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(scale.deviation, rows.astype(np.float64).std(axis=0), rtol=1e-10)
    served = StandardizedClips(clips, scale, clips.num_frames)[indices]
    is_own = np.arange(5) < clips.num_frames[indices, None]
    np.testing.assert_allclose(served[is_own], scale.standardize(rows), atol=1e-12)
    assert not served[~is_own].any()
    centred = CenteredClips(clips, clips.num_frames)[indices]
    assert not centred[~is_own].any()
    np.testing.assert_allclose(centred[1, :4], clips[indices][1, :4] - clips[indices][1, :4].mean(), atol=1e-4)
