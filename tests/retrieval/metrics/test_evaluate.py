"""Scoring of whole indexes: chunks, own items, options, errors, memory."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import retrieval.metrics.evaluate as evaluate_file
from retrieval.codes import ProductQuantizer
from retrieval.index import AsymmetricIndex, ExactIndex, Index
from retrieval.metrics import (
    RetrievalScores,
    ScoringOptions,
    average_precision,
    bootstrap_mean,
    cutoff_scores,
    evaluate_retrieval,
)
from tests.draws import draw_double as draw

ROOT = Path(__file__).resolve().parents[3]


def labels(count: int, num_classes: int = 4, seed: int = 0) -> Tensor:
    return torch.randint(0, num_classes, (count,), generator=torch.Generator().manual_seed(seed))


def exact(vectors: Tensor, item_ids: Tensor | None = None) -> ExactIndex:
    index = ExactIndex("euclidean")
    index.add(vectors, torch.arange(len(vectors)) if item_ids is None else item_ids)
    return index


def coarse(vectors: Tensor) -> AsymmetricIndex:
    """Two bits an item, so that ties abound."""
    quantizer = ProductQuantizer(vectors.shape[1], 2, 4, num_iterations=3).double()
    quantizer.fit(vectors)
    index = AsymmetricIndex(quantizer)
    index.add(vectors, torch.arange(len(vectors)))
    return index


OPTIONS = ScoringOptions(map_cutoffs=[1, 3, 10, 500], precision_cutoffs=[1, 7, 500])


@pytest.mark.parametrize("make", [exact, coarse])
def test_scores_are_those_of_the_whole_distance_matrix(make: Callable[[Tensor], Index]) -> None:
    index = make(draw(40, 3))
    queries, query_labels, item_labels = draw(13, 3, seed=1), labels(13, seed=1), labels(40)
    scores = evaluate_retrieval(index, queries, query_labels, item_labels, OPTIONS)
    distances, order = index.distances(queries).sort(dim=1, stable=True)
    relevance = item_labels[order] == query_labels[:, None]
    expected = average_precision(distances, relevance, [1, 3, 10, None])[0]
    torch.testing.assert_close(scores.average_precision, expected[:, -1], rtol=0, atol=1e-12)
    assert scores.mean_ap == pytest.approx(float(expected[:, -1].mean()))
    assert scores.map_interval == bootstrap_mean(expected[:, -1])
    # a cut-off at or beyond the list would repeat the full list's value
    assert scores.map_at == pytest.approx(dict(zip([1, 3, 10], expected.mean(dim=0).tolist()[:3], strict=True)))
    for cutoff in (1, 7, 500):
        at = cutoff_scores(distances, relevance, cutoff)
        found = scores.precision_at[cutoff], scores.recall_at[cutoff], scores.hit_at[cutoff]
        assert found == pytest.approx((float(at.precision.mean()), float(at.recall.mean()), float(at.hit.mean())))
    assert scores.num_items == 40
    assert torch.equal(scores.nearest_ids, index.search(queries, 5).item_ids)


@pytest.mark.parametrize("make", [exact, coarse])
@pytest.mark.parametrize("chunk_distances", [1, 40, 120, 199])
def test_chunks_change_nothing(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[Tensor], Index], chunk_distances: int
) -> None:
    index = make(draw(40, 3))
    queries, query_labels, item_labels = draw(13, 3, seed=1), labels(13, seed=1), labels(40)
    seen: list[int] = []
    measure = index.distances

    def counting(part: Tensor) -> Tensor:
        seen.append(len(part))
        return measure(part)

    def evaluate() -> RetrievalScores:
        return evaluate_retrieval(index, queries, query_labels, item_labels, OPTIONS, torch.arange(13))

    whole = evaluate()
    monkeypatch.setattr(evaluate_file, "_CHUNK_DISTANCES", chunk_distances)
    monkeypatch.setattr(index, "distances", counting)
    chunked = evaluate()
    assert sum(seen) == 13
    assert max(seen) == max(1, chunk_distances // 40)
    torch.testing.assert_close(chunked.average_precision, whole.average_precision, rtol=0, atol=1e-12)
    assert chunked.summary() == pytest.approx(whole.summary(), abs=1e-12)
    assert torch.equal(chunked.nearest_ids, whole.nearest_ids)


def test_a_query_is_left_out_of_its_own_list() -> None:
    vectors, item_labels = draw(20, 3), labels(20)
    item_ids = torch.arange(20) * 2 + 5
    scores = evaluate_retrieval(
        exact(vectors, item_ids), vectors[:6], item_labels[:6], item_labels, OPTIONS, query_ids=item_ids[:6]
    )
    for row in range(6):
        others = torch.arange(20) != row
        alone = evaluate_retrieval(
            exact(vectors[others], item_ids[others]), vectors[row : row + 1], item_labels[row : row + 1],
            item_labels[others], OPTIONS,
        )  # fmt: skip
        assert float(scores.average_precision[row]) == pytest.approx(alone.mean_ap, abs=1e-12)
        assert scores.nearest_ids[row].tolist() == alone.nearest_ids[0].tolist()
    assert not bool((scores.nearest_ids == item_ids[:6, None]).any())
    # without its id, a query finds itself first
    with_itself = evaluate_retrieval(exact(vectors, item_ids), vectors[:6], item_labels[:6], item_labels)
    assert torch.equal(with_itself.nearest_ids[:, 0], item_ids[:6])
    assert with_itself.map_at[1] == 1


def test_perfect_and_worst_rankings() -> None:
    items = torch.tensor([[0.0], [1.0], [10.0], [11.0]]).double()
    item_labels = torch.tensor([0, 0, 1, 1])
    queries = torch.tensor([[0.4], [10.6]]).double()
    options = ScoringOptions(map_cutoffs=[2], precision_cutoffs=[2])
    perfect = evaluate_retrieval(exact(items), queries, torch.tensor([0, 1]), item_labels, options)
    assert set(perfect.summary().values()) == {1.0}
    worst = evaluate_retrieval(exact(items), queries, torch.tensor([1, 0]), item_labels, options)
    assert worst.mean_ap == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert worst.map_at[2] == worst.precision_at[2] == worst.recall_at[2] == worst.hit_at[2] == 0


def test_queries_without_a_relevant_item_are_counted_as_asked() -> None:
    items, item_labels = torch.tensor([[0.0], [1.0]]).double(), torch.tensor([0, 0])
    queries, query_labels = torch.tensor([[0.0], [0.0]]).double(), torch.tensor([0, 9])
    zero, drop = (
        evaluate_retrieval(
            exact(items), queries, query_labels, item_labels, ScoringOptions([1], [1], zero_hit=zero_hit)
        )
        for zero_hit in ("zero", "drop")
    )
    assert (zero.mean_ap, zero.map_at[1]) == (0.5, 0.5)
    assert (drop.mean_ap, drop.map_at[1]) == (1, 1)
    assert (drop.map_interval.low, drop.map_interval.high) == (1, 1)
    # all queries without a hit: there is nothing to average, and that is no success
    none = evaluate_retrieval(
        exact(items), queries, torch.tensor([9, 9]), item_labels, ScoringOptions([1], [1], zero_hit="drop")
    )
    assert (none.mean_ap, none.map_interval.mean) == (0, 0)


def test_definitions_are_handed_on() -> None:
    index, query = coarse(draw(40, 3)), (draw(13, 3, seed=1), labels(13, seed=1), labels(40))
    found = {
        (denominator, ties): evaluate_retrieval(
            index, *query, ScoringOptions([3], [1], denominator=denominator, ties=ties)
        ).map_at[3]
        for denominator in ("all_relevant", "hits_at_r")
        for ties in ("expected", "best", "worst")
    }
    assert found["all_relevant", "worst"] < found["all_relevant", "expected"] < found["all_relevant", "best"]
    assert found["all_relevant", "expected"] < found["hits_at_r", "expected"]


def test_one_item_and_no_cutoffs() -> None:
    scores = evaluate_retrieval(
        exact(draw(1, 2)), draw(2, 2), torch.tensor([0, 1]), torch.tensor([0]), ScoringOptions([1, 2], [])
    )
    assert scores.average_precision.tolist() == pytest.approx([1, 0])
    assert scores.map_at == scores.precision_at == scores.recall_at == scores.hit_at == {}
    assert scores.nearest_ids.tolist() == [[0], [0]]


def test_summary_names_every_mean() -> None:
    scores = evaluate_retrieval(exact(draw(20, 2)), draw(4, 2, seed=1), labels(4), labels(20), OPTIONS)
    cutoffs = [f"{name}@{cutoff}" for name in ("precision", "recall", "hit") for cutoff in (1, 7, 500)]
    assert list(scores.summary()) == ["mAP", "mAP_low", "mAP_high", "mAP@1", "mAP@3", "mAP@10", *cutoffs]
    assert scores.summary()["recall@7"] == scores.recall_at[7]
    assert all(math.isfinite(value) for value in scores.summary().values())


@pytest.mark.parametrize(
    ("num_items", "num_queries", "num_labels", "message"),
    [
        (4, 2, 3, "one label an item and at least one item; got 3 labels for 4"),
        (4, 2, 5, "one label an item and at least one item; got 5 labels for 4"),
        (0, 2, 0, "at least one item; got 0 labels for 0 items"),
        (4, 0, 4, "at least one query; got 0 and 0"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(num_items: int, num_queries: int, num_labels: int, message: str) -> None:
    index = exact(draw(num_items, 2)) if num_items else ExactIndex()
    with pytest.raises(ValueError, match=message):
        evaluate_retrieval(index, draw(num_queries, 2), labels(num_queries), labels(num_labels))


MILLION_ITEMS = """
import torch
from pathlib import Path
from retrieval.codes import ProductQuantizer
from retrieval.index import AsymmetricIndex
from retrieval.metrics import ScoringOptions, evaluate_retrieval

generator = torch.Generator().manual_seed(0)
num_items, num_queries = 1_000_000, 16
quantizer = ProductQuantizer(4, 12, 64)
quantizer.codebooks.copy_(torch.randn(2, 64, 2, generator=generator))
quantizer._is_fitted.fill_(True)
index = AsymmetricIndex(quantizer)
index.add_codes(torch.randint(0, 64, (num_items, 2), generator=generator), torch.arange(num_items))
queries = torch.randn(num_queries, 4, generator=generator)
labels = torch.arange(num_items) % 50
scores = evaluate_retrieval(index, queries, labels[:num_queries], labels, ScoringOptions([1000], [10]))
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) / 2**20, scores.mean_ap)
"""


@pytest.mark.processes
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_million_items_need_little_memory() -> None:
    # In a process of its own, since a peak never falls; VmHWM and not ru_maxrss, which starts at the parent's peak.
    # Two chunks of queries take 1.1 GB, torch's own 0.4 included; all sixteen at once take 1.8.
    run = subprocess.run([sys.executable, "-c", MILLION_ITEMS], cwd=ROOT, capture_output=True, text=True, check=True)
    peak_gib, mean_ap = map(float, run.stdout.split())
    assert peak_gib < 1.5
    # random order: a fiftieth of the items is relevant
    assert mean_ap == pytest.approx(0.02, abs=0.001)
