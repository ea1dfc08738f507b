"""Alignments by hand: three tracks of 4, 3 and 5 items."""

import numpy as np
import pytest

from retrieval.index import alignment as alignment_module
from retrieval.index import propose_alignments, rank_alignments, score_alignments

TRACK_STARTS, LENGTHS = np.array([0, 4, 7, 12]), np.array([2, 3])
# of query 0: item 1 at segment 0, items 2 and 4 at segment 1; of query 1: starts 7, 9 and, at its end, 10
ITEM_IDS = np.array([[1, -1], [2, 4], [7, 9], [8, -1], [12 - 1, 9]])


def test_starts_within_one_track_are_proposed_with_their_votes() -> None:
    found = propose_alignments(ITEM_IDS, LENGTHS, TRACK_STARTS)
    # item 4 of track 1 can't be a second segment; items 9 and 11 at segments 0 and 2 both say 9; item 9 at 2 says 7
    assert list(zip(found.query, found.start, found.votes, strict=True)) == [(0, 1, 2), (1, 7, 3), (1, 9, 2)]


@pytest.mark.parametrize("chunk", [1, 1_000_000])
def test_scores_are_means_over_all_segments_and_rank(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment_module, "_CHUNK_PAIRS", chunk)
    found = propose_alignments(ITEM_IDS, LENGTHS, TRACK_STARTS)
    table = np.arange(60, dtype=np.float32).reshape(5, 12)
    scores = score_alignments(found, LENGTHS, lambda segments, items: table[segments, items])
    assert scores.tolist() == [
        (table[0, 1] + table[1, 2]) / 2, table[[2, 3, 4], [7, 8, 9]].mean(), table[[2, 3, 4], [9, 10, 11]].mean(),
    ]  # fmt: skip
    assert rank_alignments(found, scores, TRACK_STARTS, 3).tolist() == [0, 2]
    assert rank_alignments(found, scores, TRACK_STARTS, 3, "votes").tolist() == [0, 1]
    assert rank_alignments(found, np.zeros(3), TRACK_STARTS, 1).tolist() == [0, 1]
