"""Sequence search against planted alignments, and against a slow loop over everything."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from retrieval.index import (
    BudgetProbing,
    FingerprintIndex,
    FingerprintSettings,
    NoMatch,
    search_sequences,
)
from retrieval.index import alignment as alignment_module
from tests.draws import draw
from tests.retrieval.index.makers import DIM, bit_hash

EVERY_CODE = BudgetProbing(1 << 12)
COUNTS = [12, 5, 30, 8]


def unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=1)


@pytest.fixture
def vectors() -> Tensor:
    return unit(draw(sum(COUNTS), DIM))


@pytest.fixture
def index(tmp_path: Path, vectors: Tensor) -> FingerprintIndex:
    """In two shards, with a track removed."""
    made = FingerprintIndex.create(tmp_path / "index", bit_hash(), FingerprintSettings(DIM, storage="float32"))
    parts = list(zip("abcd", vectors.split(COUNTS), strict=True))
    made.add(parts[:2])
    made.add([("gone", unit(draw(20, DIM, seed=3)))])
    made.add(parts[2:])
    made.remove(["gone"])
    return made


def test_planted_queries_are_found_with_gaps_and_at_ends(index: FingerprintIndex, vectors: Tensor) -> None:
    tracks = vectors.split(COUNTS)
    gappy = tracks[2][10:20].clone()
    gappy[2:7] = unit(draw(5, DIM, seed=7))  # half of it is something else
    queries = [tracks[0][:4], tracks[1], tracks[2][-6:], gappy, tracks[3][7:]]
    found = search_sequences(index, queries, probing=EVERY_CODE)
    best = [matches[0] for matches in found.matches]
    assert [match.track for match in best] == ["a", "b", "c", "c", "d"]
    assert [match.track_start_seconds for match in best] == pytest.approx([0, 0, 2.4, 1.0, 0.7])
    assert [match.track_end_seconds for match in best] == pytest.approx([1.3, 1.4, 3.9, 2.9, 1.7])
    assert [match.query_end_seconds for match in best] == pytest.approx([1.3, 1.4, 1.5, 1.9, 1.0])
    assert [match.num_segments for match in best] == [4, 5, 6, 10, 1]
    assert [match.votes for match in best][:3] == [4, 5, 6]
    assert best[3].votes >= 5
    assert best[0].score == pytest.approx(1)
    assert best[3].score == pytest.approx(float((gappy * tracks[2][10:20]).sum(dim=1).mean()))
    assert found.num_probed.tolist() == [1 << 12] * 5
    assert found.num_evaluated.tolist() == [sum(COUNTS)] * 5


def test_matches_do_not_cross_the_ends_of_tracks(index: FingerprintIndex, vectors: Tensor) -> None:
    """A query that lies across two tracks, or begins before one, is in none."""
    across = vectors[9:15]  # 3 of a, 3 of b
    too_long = torch.cat([vectors[12:17], vectors[12:13]])
    matches = search_sequences(index, [across, too_long], 4, probing=EVERY_CODE).matches
    for query, of_query in zip((across, too_long), matches, strict=True):
        assert of_query
        for match in of_query:
            count = COUNTS["abcd".index(match.track)]
            assert 0 <= round(match.track_start_seconds / 0.1) <= count - len(query)
            assert match.score < 0.99
    assert all(match.track != "b" for match in matches[0] + matches[1])


def by_loop(
    index: FingerprintIndex, vectors: Tensor, query: Tensor, num_nearest: int, rank_by: str
) -> list[tuple[str, int, int, float]]:
    """Return track, start, votes and score, best first, one a track."""
    proposals: Counter[tuple[int, int]] = Counter()
    tracks = vectors.split(COUNTS)
    for o, segment in enumerate(query):
        for item in (vectors @ segment).topk(num_nearest).indices.tolist():
            track = next(n for n in range(4) if item < sum(COUNTS[: n + 1]))
            start = item - sum(COUNTS[:track]) - o
            if 0 <= start <= COUNTS[track] - len(query):
                proposals[track, start] += 1
    rows = [
        (track, start, votes, float((tracks[track][start : start + len(query)] * query).sum(dim=1).double().mean()))
        for (track, start), votes in proposals.items()
    ]
    rows.sort(key=lambda row: (-row[3], -row[2], row[:2]) if rank_by == "score" else (-row[2], row[:2]))
    best: dict[str, tuple[str, int, int, float]] = {}
    for row in rows:
        best.setdefault("abcd"[row[0]], ("abcd"[row[0]], *row[1:]))
    return list(best.values())


@pytest.mark.parametrize("rank_by", ["score", "votes"])
@pytest.mark.parametrize("num_nearest", [1, 4])
@pytest.mark.parametrize("chunk", [3, 1_000_000])
def test_a_slow_loop_finds_the_same(
    index: FingerprintIndex,
    vectors: Tensor,
    rank_by: str,
    num_nearest: int,
    chunk: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alignment_module, "_CHUNK_PAIRS", chunk)
    queries = [unit(draw(length, DIM, seed=length)) for length in (1, 2, 3, 5, 8, 9, 31)]
    queries += [unit(vectors[20:26] + 0.4 * draw(6, DIM, seed=5))]
    found = search_sequences(index, queries, 4, num_nearest, rank_by, EVERY_CODE)  # type: ignore[arg-type]
    for query, matches in zip(queries, found.matches, strict=True):
        expected = by_loop(index, vectors, query, num_nearest, rank_by)
        ours = [(match.track, round(match.track_start_seconds / 0.1), match.votes) for match in matches]
        assert sorted(ours) == sorted(row[:3] for row in expected)
        assert ours == [row[:3] for row in expected]
        assert [match.score for match in matches] == pytest.approx([row[3] for row in expected], abs=1e-6)
    assert found.matches[6] == []  # longer than every track


def test_the_score_settles_ties_in_votes(index: FingerprintIndex, vectors: Tensor) -> None:
    query = torch.stack([vectors[0], unit(vectors[18:19] * 0.98 + 0.1)[0]])
    for rank_by, track in (("votes", "a"), ("score", None)):
        matches = search_sequences(index, [query], 2, 1, rank_by, EVERY_CODE).matches[0]  # type: ignore[arg-type]
        assert [match.votes for match in matches] == [1, 1]
        assert track is None or matches[0].track == track
        if rank_by == "score":
            assert matches[0].score >= matches[1].score


def test_answers_say_how_sure_they_are(index: FingerprintIndex, vectors: Tensor) -> None:
    assert search_sequences(index, [vectors[:3]], probing=EVERY_CODE).matches[0][0].is_match is None
    index.set_no_match(NoMatch({2: np.linspace(0.0, 0.99, 99)}, len(index)))
    (present,), (absent,) = search_sequences(
        index, [vectors[:3], unit(draw(3, DIM, seed=8))], probing=EVERY_CODE
    ).matches
    assert present.is_match is True
    assert present.p_value == 0.01
    assert absent.is_match is False
    assert absent.p_value is not None
    assert absent.p_value > 0.05


@pytest.mark.usefixtures("unchecked_types")
def test_wrong_arguments_are_refused(index: FingerprintIndex, vectors: Tensor) -> None:
    for queries in ([], [vectors[:2], vectors[:0]]):
        with pytest.raises(ValueError, match="at least one segment each"):
            search_sequences(index, queries)
    with pytest.raises(ValueError, match="at least one match and one nearest item"):
        search_sequences(index, [vectors[:2]], num_matches=0)
    with pytest.raises(ValueError, match="score or votes to rank by; got 1, 5 and 'length'"):
        search_sequences(index, [vectors[:2]], rank_by="length")  # type: ignore[arg-type]
