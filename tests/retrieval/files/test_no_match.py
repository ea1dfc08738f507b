"""Thresholds hold what they promise on scores drawn afresh."""

from pathlib import Path

import numpy as np
import pytest

from retrieval.index import IndexFileError, NoMatch
from tests.draws import draw


@pytest.mark.parametrize(("num_scores", "alpha"), [(99, 0.01), (19, 0.05), (200, 0.1), (5, 0.5)])
def test_fresh_absent_queries_raise_few_false_alarms(num_scores: int, alpha: float) -> None:
    rates = []
    for seed in range(400):
        no_match = NoMatch({4: draw(num_scores, seed=seed).numpy()}, 1000, alpha)
        fresh, lengths = draw(100, seed=1000 + seed).numpy(), np.full(100, 4)
        is_match = no_match.is_match(fresh, lengths)
        rates.append(float(is_match.mean()))
        assert (no_match.p_value(fresh, lengths)[is_match] <= alpha + 1e-12).all()
    error = np.std(rates) / np.sqrt(len(rates))
    assert alpha - 1 / (num_scores + 1) - 4 * error <= np.mean(rates) <= alpha + 4 * error


def test_the_threshold_is_the_conformal_quantile() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))
    assert NoMatch({1: scores}, 1).threshold(1) == 99
    assert NoMatch({1: scores}, 1, alpha=0.02).threshold(1) == 98
    assert NoMatch({1: scores}, 1, alpha=0.1).threshold(1) == 90
    found = NoMatch({1: scores}, 1).p_value(np.array([0.0, 50.0, 99.0, 99.5]), np.ones(4, dtype=np.int64))
    assert found.tolist() == [1.0, 0.51, 0.02, 0.01]


def test_each_length_has_its_threshold_and_others_the_next_shorter_one(tmp_path: Path) -> None:
    no_match = NoMatch({11: np.linspace(0, 0.5, 99), 1: np.linspace(0, 0.9, 99)}, 7)
    no_match.save(tmp_path / "no_match.npz")
    for calibrated in (no_match, NoMatch.load(tmp_path / "no_match.npz")):
        assert calibrated.num_segments == [1, 11]
        assert (calibrated.num_items, calibrated.alpha) == (7, 0.01)
        assert [calibrated.threshold(count) for count in (1, 10, 11, 41)] == pytest.approx([0.9, 0.9, 0.5, 0.5])
        lengths = np.array([1, 11, 30])
        assert calibrated.is_match(np.array([0.7, 0.7, 0.4]), lengths).tolist() == [False, True, False]
    assert not no_match.is_outgrown_by(7)
    assert no_match.is_outgrown_by(8)
    with pytest.raises(ValueError, match="at least 11 segments, as calibrated; got one of 3"):
        NoMatch({11: np.linspace(0, 1, 99)}, 7).threshold(3)


def test_too_few_scores_are_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.01 takes at least 99 scores, none of them NaN; got 98"):
        NoMatch({1: draw(98).numpy()}, 1)
    with pytest.raises(ValueError, match="none of them NaN"):
        NoMatch({1: np.full(99, np.nan)}, 1)
    with pytest.raises(ValueError, match="between 0 and 1; got 1"):
        NoMatch({1: draw(99).numpy()}, 1, alpha=1.0)
    for scores in ({}, {0: draw(99).numpy()}):
        with pytest.raises(ValueError, match="scores by number of segments"):
            NoMatch(scores, 1)


def test_a_damaged_file_is_noticed(tmp_path: Path) -> None:
    for content in (b"", b"damaged"):
        (tmp_path / "no_match.npz").write_bytes(content)
        with pytest.raises(IndexFileError, match=r"expected scores of absent queries, found a damaged file"):
            NoMatch.load(tmp_path / "no_match.npz")
