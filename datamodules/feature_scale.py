"""Features without each clip's level, and on the scale of the database: mean 0 and deviation 1.

Statistics are merged chunk by chunk (Chan, Golub, LeVeque: Updating Formulae and a Pairwise Algorithm for Computing
Sample Variances, 1979), so that frames of a corpus needn't fit into memory.
"""

from dataclasses import dataclass

import numpy as np

from datamodules.batches.clip_frames import own_frames
from datamodules.batches.feature_dataset import ClipFeatures

_VALUES_AT_ONCE = 2**22  # 32 MiB as float64, of which there are some copies


@dataclass(frozen=True)
class FeatureScale:
    """Scale of each feature, over all clips and frames it was measured on.

    Attributes:
        mean: float64 [feature].
        deviation: float64 [feature]; never 0, but 1 for a feature that doesn't change.
    """

    mean: np.ndarray
    deviation: np.ndarray

    def standardize(self, features: np.ndarray) -> np.ndarray:
        """Return [..., feature] with mean 0 and deviation 1, as float64."""
        return np.asarray((features - self.mean) / self.deviation)

    def restore(self, features: np.ndarray) -> np.ndarray:
        """Undo `standardize` for [..., feature], in the precision of what is given."""
        return np.asarray(features * self.deviation + self.mean, features.dtype)


class CenteredClips:
    """Features of clips less each clip's own mean over its frames and features.

    A gain in decibels, the same for all frames and features of a log spectrogram, leaves nothing behind.

    Args:
        features: What is indexed by clips, [clip, feature] or [clip, frame, feature].
        num_frames: Frames of each clip that aren't padding; padding is not counted and stays 0. None if there is none.
    """

    def __init__(self, features: ClipFeatures, num_frames: np.ndarray | None = None) -> None:
        self._features = features
        self._num_frames = num_frames

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """Return the centred features of these clips, as float64."""
        features = self._features[indices].astype(np.float64)
        axes = tuple(range(1, features.ndim))
        if self._num_frames is None:
            return np.asarray(features - features.mean(axis=axes, keepdims=True))
        is_own = own_frames(self._num_frames[indices], features.shape[1])[:, :, None]
        return np.asarray((features - features.mean(axis=axes, keepdims=True, where=is_own)) * is_own)


class StandardizedClips:
    """Features of clips on a scale.

    Args:
        features: What is indexed by clips, [clip, feature] or [clip, frame, feature].
        scale: What takes them to mean 0 and deviation 1.
        num_frames: Frames of each clip that aren't padding, which stays 0; None if there is none.
    """

    def __init__(self, features: ClipFeatures, scale: FeatureScale, num_frames: np.ndarray | None = None) -> None:
        self._features = features
        self._scale = scale
        self._num_frames = num_frames

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """Return the standardised features of these clips, as float64."""
        features = self._scale.standardize(self._features[indices])
        if self._num_frames is not None:
            features *= own_frames(self._num_frames[indices], features.shape[1])[:, :, None]
        return features


def measure_scale(
    features: ClipFeatures,
    indices: np.ndarray,
    values_at_once: int = _VALUES_AT_ONCE,
    num_frames: np.ndarray | None = None,
) -> FeatureScale:
    """Measure mean and deviation of each feature in float64, some clips at a time.

    With a chunk of size m, mean u and sum of squared differences S, and n, mean, squares of what came before:
    squares += S + (u - mean)^2 n m / (n + m) and mean += (u - mean) m / (n + m), eq. (2.1) of Chan et al. (1979) by
    means. Values are taken from the first row's, so that a feature that doesn't change has a deviation of exactly 0.

    Args:
        features: What is indexed by clips, [clip, feature] or [clip, frame, feature].
        indices: The clips to measure, at least one.
        values_at_once: Values of a chunk, but at least one clip.
        num_frames: Frames of each clip that aren't padding, which is not measured; None if there is none.
    """
    first = features[indices[:1]].astype(np.float64)
    feature_dim = first.shape[-1]
    origin = first.reshape(-1, feature_dim)[0]
    clips_at_once = max(1, values_at_once // first.size)
    num_rows, mean, squares = 0, np.zeros(feature_dim), np.zeros(feature_dim)
    for start in range(0, len(indices), clips_at_once):
        clips = indices[start : start + clips_at_once]
        rows = features[clips]
        if num_frames is not None:
            rows = rows[own_frames(num_frames[clips], rows.shape[1])]
        chunk = rows.reshape(-1, feature_dim) - origin
        chunk_mean = chunk.mean(axis=0)
        total, difference = num_rows + len(chunk), chunk_mean - mean
        chunk -= chunk_mean
        squares += np.einsum("ij,ij->j", chunk, chunk) + difference**2 * (num_rows * len(chunk) / total)
        mean += difference * (len(chunk) / total)
        num_rows = total
    deviation = np.sqrt(squares / num_rows)
    return FeatureScale(origin + mean, np.where(deviation > 0, deviation, 1))
