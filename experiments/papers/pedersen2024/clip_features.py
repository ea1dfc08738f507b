"""Features of whole clips that learned embeddings are compared with: statistics over patches, and baselines.

The statistics are those of Pedersen, Learning latent audio representations for search and retrieval (B.Sc. thesis, DTU,
2024), section 2.4.1, of a clip's N patch embeddings x_i, such as YAMNet's:

    mean    mu = 1/N sum_i x_i, eq. (2.14)
    std     sigma = sqrt(sum_i (x_i - mu)^2 / (N - 1)), eq. (2.15), which is printed without the square; 0 for one patch
    delta   slope of a line fitted to each 9 neighbouring values by least squares (Savitzky and Golay, 1964), eq. (2.16)

The thesis takes delta to be a derivative of the signal; its release differentiates along the feature axis ("over the
bands", section 4.1.1), whose order in a network's last layer means nothing, and then averages over patches. We do so
too, since that is what the thesis's best row was measured with. As both steps are linear, delta is the same filter
applied to the mean: it holds no more than the mean does. A derivative over time would not do better: slopes of
successive patches nearly cancel in the average, which comes to (x_N - x_1) / N, and forget all in between.

The other baselines need no pretrained network. What is fitted to data takes the rows to fit on, so that the clips that
ask can be kept out.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.signal import savgol_filter
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

FeatureName = Literal[
    "mean", "std", "delta", "mean+std", "mean+delta", "std+delta", "mean+std+delta", "sqrt_mean"
]  # fmt: skip
# The seven combinations of the thesis's appendix B in its order, and ours.
FEATURE_NAMES: tuple[FeatureName, ...] = get_args(FeatureName)
_ROUNDING_SHARE = 1e-12
_DELTA_WINDOW = 9  # the default of librosa.feature.delta, which the release calls


def clip_features(
    clips: Sequence[Float[np.ndarray, "_ feature"]], names: Sequence[FeatureName] = FEATURE_NAMES
) -> dict[FeatureName, Float[np.ndarray, "clip _"]]:
    """Compute features of clips from their patches.

    Args:
        clips: Patch embeddings [patch, feature] of each clip.
        names: `mean`, `std` and `delta`, joined by `+` where they are concatenated; `sqrt_mean` is the square root of
            the mean, which evens out the few strong activations of a network that ends in a ReLU.

    Returns:
        Features in double precision under their names, in the order given.

    Raises:
        ValueError: If there is no clip, one has no patch, a name is unknown, or the features are too few for `delta` or
            negative for `sqrt_mean`.
    """
    unknown = [name for name in names if name not in FEATURE_NAMES]
    if unknown:
        raise ValueError(f"Expected names among {', '.join(FEATURE_NAMES)}; got {', '.join(unknown)}.")
    _check_not_empty(clips)
    mean = np.stack([frames.mean(axis=0, dtype=np.float64) for frames in clips])
    parts = {"mean": mean}
    if any("std" in name for name in names):
        parts["std"] = np.stack([_std(frames) for frames in clips])
    if any("delta" in name for name in names):
        parts["delta"] = _delta(mean)
    if "sqrt_mean" in names:
        parts["sqrt_mean"] = _sqrt(mean)
    return {name: np.concatenate([parts[part] for part in name.split("+")], axis=1) for name in names}


def z_scored(
    features: Float[np.ndarray, "clip feature"], fit_rows: Int[np.ndarray, " fit"]
) -> Float[np.ndarray, "clip feature"]:
    """Standardise each feature, such as those of `LogMelStatistics`, whose units differ.

    Args:
        features: One row a clip.
        fit_rows: Clips whose mean and deviation are used; a feature that is constant among them is only centred.
    """
    _check_fit_rows(fit_rows, 1)
    rows = features.astype(np.float64)
    scaled: np.ndarray = StandardScaler().fit(rows[fit_rows]).transform(rows)
    return scaled


def log_mel_pictures(
    clips: Sequence[Float[np.ndarray, "_ mel"]], num_frames: int = 60
) -> Float[np.ndarray, "clip dim"]:
    """Bring log-mel spectrograms to one size and range, for `pca_whitened`.

    Values are mapped linearly to [0, 1] clip by clip, as the thesis does (section 3.1.4); a clip of one value becomes
    0. Frames are averaged in `num_frames` stretches of equal length; a clip of fewer frames repeats them.

    Args:
        clips: Log-mel frames [frame, mel] of each clip, such as those of `LogMel`.
        num_frames: Width of a picture.

    Returns:
        Pictures [frame, mel], frame by frame in one row.

    Raises:
        ValueError: If there is no clip, one has no frame, or `num_frames` is under 1.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1; got {num_frames}. Try 60.")
    _check_not_empty(clips)
    return np.stack([_picture(frames, num_frames) for frames in clips])


def pca_whitened(
    pictures: Float[np.ndarray, "clip dim"], fit_rows: Int[np.ndarray, " fit"], num_components: int = 64
) -> Float[np.ndarray, "clip component"]:
    """Project on principal components and scale each to unit variance.

    Whitening raises the last components to the first ones' rank, so they are computed to the last digit: scikit-learn's
    randomised solver moves nearest-neighbour accuracy by half a point from seed to seed.

    Args:
        pictures: One row a clip.
        fit_rows: Clips that components and variances are fitted on.
        num_components: Components kept; fewer where the last of them would be but rounding errors, which whitening
            would blow up.

    Raises:
        ValueError: If there are fewer rows or dimensions than components.
    """
    limit = min(len(fit_rows), pictures.shape[1])
    if not 1 <= num_components <= limit:
        raise ValueError(
            f"num_components must lie between 1 and the rows to fit on and the dimensions; got {num_components} for "
            f"{len(fit_rows)} rows of {pictures.shape[1]}. Try {limit}."
        )
    solver = "arpack" if num_components < limit else "full"  # arpack finds all but the last
    pca = PCA(num_components, whiten=True, svd_solver=solver, random_state=0).fit(pictures[fit_rows])
    projected: np.ndarray = pca.transform(pictures)[:, : num_real_components(pca)]
    return projected


def num_real_components(pca: PCA) -> int:
    """Count the components of a fitted PCA that hold more of the variance than rounding errors do, at least one."""
    return max(1, int((pca.explained_variance_ratio_ > _ROUNDING_SHARE).sum()))


def random_features(num_clips: int, dim: int, seed: int) -> Float[np.ndarray, "clip feature"]:
    """Draw normal vectors that know nothing of the clips: chance level of any search."""
    return np.random.default_rng(seed).standard_normal((num_clips, dim))


def _std(frames: np.ndarray) -> np.ndarray:
    if len(frames) == 1:
        return np.zeros(frames.shape[1])
    deviation: np.ndarray = frames.std(axis=0, ddof=1, dtype=np.float64)
    return deviation


def _delta(mean: np.ndarray) -> np.ndarray:
    """Filter the means, which equals the mean of the filtered patches."""
    if mean.shape[1] < _DELTA_WINDOW:
        raise ValueError(
            f"delta fits lines to {_DELTA_WINDOW} neighbouring features; got {mean.shape[1]}. Leave delta out."
        )
    slopes: np.ndarray = savgol_filter(mean, _DELTA_WINDOW, polyorder=1, deriv=1, axis=1, mode="interp")
    return slopes


def _sqrt(mean: np.ndarray) -> np.ndarray:
    if mean.min() < 0:
        raise ValueError(
            f"sqrt_mean needs features that are never negative; got {mean.min():.3g}. Leave it out for this network."
        )
    roots: np.ndarray = np.sqrt(mean)
    return roots


def _picture(frames: np.ndarray, num_frames: int) -> np.ndarray:
    values = frames.astype(np.float64)
    lowest, highest = values.min(), values.max()
    values = (values - lowest) / (highest - lowest if highest > lowest else 1)
    pooled = torch.nn.functional.adaptive_avg_pool1d(torch.from_numpy(values.T.copy()), num_frames)
    return pooled.T.numpy().flatten()


def _check_not_empty(clips: Sequence[np.ndarray]) -> None:
    empty = [position for position, frames in enumerate(clips) if len(frames) == 0]
    if empty or not clips:
        raise ValueError(
            f"Expected at least one clip, and frames of each; got {len(clips)} clips, none in those at {empty[:8]}. "
            "Leave out clips that could not be read."
        )


def _check_fit_rows(fit_rows: np.ndarray, fewest: int) -> None:
    if len(fit_rows) < fewest:
        raise ValueError(f"Expected at least {fewest} rows to fit on; got {len(fit_rows)}. Look at the folds.")
