"""When the best answer is none: a threshold whose false alarms are bounded (split conformal prediction).

Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World (2005), section 4.2: of n + 1 exchangeable scores,
the last is among the k largest with a probability of at most k / (n + 1).
"""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from retrieval.files.indexes import IndexFileError
from storage.atomic import write_arrays

# growth beyond which a calibration is no longer taken for that of the index
_STALE_GROWTH = 1.1


class NoMatch:
    """Tell answers from chance, by the scores of queries that are known to be absent.

    Scores of longer queries scatter less, so that each number of segments has its own threshold; one that was not
    calibrated takes that of the next smaller number, which is the stricter. A threshold is the
    ceil((n + 1)(1 - alpha))-th smallest of n scores, and an answer must score above it: if the score of a further
    absent query is exchangeable with them, it does so with a probability of at most alpha, and without ties of at least
    alpha - 1 / (n + 1). The probability is over calibration and query together. It holds for the index that they were
    searched in: one that grows finds higher scores, and is to be calibrated again.

    Args:
        absent_scores: Best score of each absent query, by number of segments; at least ceil(1 / alpha) - 1 of each.
        num_items: Items of the index that was searched.
        alpha: False-alarm rate allowed.

    Raises:
        ValueError: If `alpha` is not between 0 and 1, there are no scores, too few, or one is NaN.
    """

    def __init__(
        self, absent_scores: Mapping[int, Float[np.ndarray, " _query"]], num_items: int, alpha: float = 0.01
    ) -> None:
        if not 0 < alpha < 1:
            raise ValueError(f"Expected a false-alarm rate between 0 and 1; got {alpha}. Usual is 0.01.")
        least = math.ceil(1 / alpha) - 1
        for num_segments, scores in absent_scores.items():
            if len(scores) < least or np.isnan(scores).any():
                raise ValueError(
                    f"A false-alarm rate of {alpha} takes at least {least} scores, none of them NaN; got {len(scores)} "
                    f"of queries of {num_segments} segments. Search more absent queries, or allow a higher rate."
                )
        if not absent_scores or min(absent_scores) < 1:
            raise ValueError(f"Expected scores by number of segments, from 1 on; got those of {sorted(absent_scores)}.")
        self.alpha, self.num_items = alpha, num_items
        self._scores = {count: np.sort(scores.astype(np.float64)) for count, scores in sorted(absent_scores.items())}

    @property
    def num_segments(self) -> list[int]:
        """Numbers of segments that are calibrated, ascending."""
        return list(self._scores)

    def threshold(self, num_segments: int) -> float:
        """Return the score that a match must exceed.

        Raises:
            ValueError: If queries so short were not calibrated.
        """
        scores = self._of(num_segments)
        # a tiny allowance for products like 100 * 0.99, which round up to the next integer
        rank = math.ceil((len(scores) + 1) * (1 - self.alpha) - 1e-9)
        return float(scores[rank - 1])

    def p_value(
        self, scores: Float[np.ndarray, " query"], num_segments: Int[np.ndarray, " query"]
    ) -> Float[np.ndarray, " query"]:
        """Return how likely an absent query scores as high: (1 + number of absent scores as high) / (n + 1).

        Of absent queries, at most a share of p has a value up to p.

        Raises:
            ValueError: If queries so short were not calibrated.
        """
        values = np.empty(len(scores))
        for count in np.unique(num_segments).tolist():
            absent, chosen = self._of(count), num_segments == count
            num_lower = np.searchsorted(absent, scores[chosen].astype(np.float64), side="left")
            values[chosen] = (1 + len(absent) - num_lower) / (len(absent) + 1)
        return values

    def is_match(
        self, scores: Float[np.ndarray, " query"], num_segments: Int[np.ndarray, " query"]
    ) -> Bool[np.ndarray, " query"]:
        """Whether scores exceed their thresholds.

        Raises:
            ValueError: If queries so short were not calibrated.
        """
        counts, numbers = np.unique(num_segments, return_inverse=True)
        limits = np.array([self.threshold(count) for count in counts.tolist()])
        found: np.ndarray = scores.astype(np.float64) > limits[numbers]
        return found

    def is_outgrown_by(self, num_items: int) -> bool:
        """Whether an index has so many items by now that it is to be calibrated again."""
        return num_items > _STALE_GROWTH * self.num_items

    def save(self, path: Path) -> None:
        """Write it as npz."""
        arrays = {f"scores_{count}": scores for count, scores in self._scores.items()}
        write_arrays(path, {"alpha": np.array(self.alpha), "num_items": np.array(self.num_items), **arrays})

    @classmethod
    def load(cls, path: Path) -> "NoMatch":
        """Read what `save` wrote.

        Raises:
            IndexFileError: If it holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                names = [name for name in arrays.files if name.startswith("scores_")]
                scores = {int(name.removeprefix("scores_")): arrays[name] for name in names}
                return cls(scores, int(arrays["num_items"]), float(arrays["alpha"]))
        except (OSError, KeyError, ValueError, EOFError) as error:
            raise IndexFileError(
                f"{path}: expected scores of absent queries, found a damaged file ({error}). Calibrate again."
            ) from error

    def _of(self, num_segments: int) -> np.ndarray:
        known = [count for count in self._scores if count <= num_segments]
        if not known:
            raise ValueError(
                f"Expected queries of at least {self.num_segments[0]} segments, as calibrated; got one of "
                f"{num_segments}. Calibrate with queries so short."
            )
        return self._scores[known[-1]]
