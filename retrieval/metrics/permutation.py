"""The paired permutation test: signs of the differences between two methods, flipped at random.

If two methods are equally good, either of a query's two scores could have come from either method, so every sign of its
difference is equally likely (Fisher, The design of experiments, 1935; for retrieval Smucker, Allan and Carterette, A
comparison of statistical significance tests for information retrieval evaluation, 2007).
"""

import numpy as np
from jaxtyping import Float
from torch import Tensor

# A batch of flips holds about this many signs: 4 MB of doubles, which stay in the cache.
_BATCH_SIGNS = 500_000
# Two means are tied if they differ by less than this share of the mean magnitude: above the rounding of single
# precision, which would tell apart resamples that are equal on paper, and far below any difference that matters.
TIE_TOLERANCE = 1e-6


def sign_flip_p_value(differences: Float[Tensor, " query"], num_resamples: int = 10_000, seed: int = 0) -> float:
    """Compute the two-sided p-value of the mean difference under random sign flips.

    p is the share of flips whose mean is at least as far from zero as the observed one. Queries without a difference
    can't change it and are left out. All flips are enumerated if that takes no more than `num_resamples`; otherwise
    they are drawn, and the observed one counts among them: p = (1 + count) / (1 + num_resamples) (Phipson and Smyth,
    2010), never below 1 / (1 + num_resamples).

    `scipy.stats.permutation_test` does the same, but 10,000 flips of 10,000 queries take it 7 s, and 0.04 s here.

    Args:
        differences: Score of one method minus that of the other, one a query.
        num_resamples: Flips to draw, or the most to enumerate.
        seed: Seed of the drawing.

    Raises:
        ValueError: If there is no difference or one that is not finite, or `num_resamples` is under 1.
    """
    check_num_resamples(num_resamples)
    values = differences.double().cpu().numpy()
    if len(values) == 0 or not bool(np.isfinite(values).all()):
        raise ValueError(
            f"Expected finite differences of at least one query; got {int((~np.isfinite(values)).sum())} that are not "
            f"finite of {len(values)}. Look at the scores they come from."
        )
    values = values[values != 0]
    num_flips = 1 << len(values)
    if num_flips <= num_resamples:
        return _count_extreme(values, _every_flip(len(values))) / num_flips
    rng = np.random.default_rng(seed)
    rows = max(1, _BATCH_SIGNS // len(values))
    num_extreme = sum(
        _count_extreme(values, _draw_flips(min(rows, num_resamples - start), len(values), rng))
        for start in range(0, num_resamples, rows)
    )
    return (1 + num_extreme) / (1 + num_resamples)


def check_num_resamples(num_resamples: int) -> None:
    """Refuse a number of resamples that is not positive.

    Raises:
        ValueError: If it is under 1.
    """
    if num_resamples < 1:
        raise ValueError(f"num_resamples must be at least 1; got {num_resamples}. Try 10000.")


def _count_extreme(values: np.ndarray, is_kept: np.ndarray) -> int:
    """Count the rows of `is_kept` [flip, query] whose signed sum is at least as far from zero as the plain sum."""
    observed = values.sum()
    flipped = 2 * (is_kept.astype(np.float64) @ values) - observed
    return int((np.abs(flipped) >= abs(observed) - TIE_TOLERANCE * np.abs(values).sum()).sum())


def _every_flip(num_values: int) -> np.ndarray:
    return np.arange(2**num_values)[:, None] >> np.arange(num_values) & 1


def _draw_flips(num_flips: int, num_values: int, rng: np.random.Generator) -> np.ndarray:
    # whole words a flip, so that the batches don't change what is drawn
    words = rng.integers(0, 2**64, size=(num_flips, -(-num_values // 64)), dtype=np.uint64)
    return np.unpackbits(words.view(np.uint8), axis=1, count=num_values)
