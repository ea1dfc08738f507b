"""The Siamese network's scores against loops over pairs, what it keeps for reports, and what it attends to."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_modules import Siamese
from lightning_modules.networks.presence import ClipEmbeddings
from lightning_modules.pair_scoring import score_pairs
from retrieval.metrics import label_levels, score_levels
from tests.lightning_modules.makers import NUM_CATEGORIES, make_trainer
from tests.lightning_modules.pair_batches import (
    ITEMS,
    QUERIES,
    SCORING,
    TIME,
    Batch,
    clip_of,
    load,
    make_clips,
    make_siamese,
    outputs_of,
    pair_probs,
    run,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@torch.no_grad()
def levels_of(model: Siamese, queries: Batch, items: Batch, swapped: bool = False) -> Tensor:
    """Predict each pair's level by itself."""
    rows = []
    for query in range(len(queries["item_index"])):
        pairs = [(clip_of(queries, query, ""), clip_of(items, item, "")) for item in range(len(items["item_index"]))]
        rows.append([float(pair_probs(model, *(pair[::-1] if swapped else pair))[:, :2].sum()) for pair in pairs])
    return torch.tensor(rows)


@pytest.mark.parametrize("network", ["concatenated", "sub-models of pooled", "independent"])
@pytest.mark.parametrize("stage", ["val", "test"])
def test_scores_are_those_of_all_pairs_one_by_one(network: str, stage: str) -> None:
    model = make_siamese(network)
    metrics = run(model, stage)
    level = levels_of(model, QUERIES, ITEMS)
    scores = score_levels(-level, label_levels(QUERIES["label"], ITEMS["label"]), QUERIES["label"], SCORING)
    expected = {f"{stage}/mAP_{s}@{k}": value for (s, k), value in scores.mean_ap().items()}
    assert set(expected) == {f"{stage}/mAP_{s}@{k}" for s in (3, 2) for k in (1, 5)}
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert (model.presence_outputs is None) == (stage == "val")
    if stage == "test":
        torch.testing.assert_close(outputs_of(model).level, level, rtol=1e-4, atol=1e-5)


def test_loss_and_accuracy_of_a_stage_are_means_over_pairs() -> None:
    model = make_siamese()
    metrics = run(model, "val")
    with torch.no_grad():
        queries, items = (
            model.network.prepare(model(clips["feature"], clips["num_frames"])) for clips in (QUERIES, ITEMS)
        )
    # which has a test against a loop
    expected = score_pairs(model.network, queries, items, QUERIES["label"], ITEMS["label"])
    assert metrics["val/loss"] == pytest.approx(expected.cross_entropy, rel=1e-4)
    assert metrics["val/situation_accuracy"] == pytest.approx(float(expected.situation_accuracy.mean()), abs=1e-6)


def test_outputs_hold_what_reports_need() -> None:
    model = make_siamese()
    run(model)
    outputs = outputs_of(model)
    for found, given in ((outputs.queries, QUERIES), (outputs.items, ITEMS)):
        assert torch.equal(found.item_index, given["item_index"])
        assert torch.equal(found.label, given["label"])
        means = [clip[:length].mean(dim=0) for clip, length in zip(given["feature"], given["num_frames"], strict=True)]
        torch.testing.assert_close(found.feature, torch.stack(means))
    assert outputs.swapped_level is not None
    torch.testing.assert_close(outputs.swapped_level, levels_of(model, QUERIES, ITEMS, swapped=True))
    assert torch.equal(outputs.distances, -outputs.level)
    assert outputs.scores.num_items == 11
    assert outputs.scores.label_count.tolist() == QUERIES["label"].sum(dim=1).tolist()
    assert outputs.situation_accuracy.shape == (NUM_CATEGORIES,)
    # cosines of the embeddings' means over the frames that are there
    with torch.no_grad():
        embeddings = [
            torch.cat([model(*clip_of(clips, position, "")).value[0][: int(clips["num_frames"][position])].mean(0)[None]
                       for position in range(len(clips["item_index"]))])
            for clips in (QUERIES, ITEMS)
        ]  # fmt: skip
    expected = F.cosine_similarity(embeddings[0][:, None], embeddings[1][None], dim=2)
    torch.testing.assert_close(outputs.embedding_similarity, expected, rtol=1e-4, atol=1e-5)


def test_order_and_repetition_of_items_are_irrelevant() -> None:
    model = make_siamese()
    expected = run(model)
    level = outputs_of(model).level
    # as a sampler of several processes does it
    order = torch.tensor([4, 0, 9, 1, 10, 2, 8, 7, 3, 6, 5, 4, 0])
    shuffled = {name: column[order] for name, column in ITEMS.items()}
    (metrics, *_) = make_trainer().test(model, [load(QUERIES), load(shuffled, batch_size=3)], verbose=False)
    assert metrics == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(outputs_of(model).level, level, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("network", "changes"), [("concatenated", True), ("symmetric", False), ("pooled", False)])
def test_change_by_swapping_is_that_of_the_levels(network: str, changes: bool) -> None:
    model = make_siamese(network)
    metrics = run(model)
    outputs = outputs_of(model)
    assert outputs.swapped_level is not None
    change = float((outputs.level - outputs.swapped_level).abs().mean())
    assert metrics["test/swap_level_change"] == pytest.approx(change, abs=1e-6)
    assert (change > 0.01) == changes


def test_swapping_is_left_out_where_it_is_not_asked_for() -> None:
    model = make_siamese(measures_swap=False)
    assert "test/swap_level_change" not in run(model)
    assert outputs_of(model).swapped_level is None
    assert "val/swap_level_change" not in run(make_siamese(), "val")


@pytest.mark.parametrize("num_candidates", [1, 4])
def test_candidates_are_compared_and_ranked_first(num_candidates: int) -> None:
    whole, model = make_siamese(), make_siamese(num_candidates=num_candidates)
    run(whole)
    metrics = run(model)
    outputs, similarity = outputs_of(model), outputs_of(model).embedding_similarity
    compared = ~outputs.level.isnan()
    assert compared.sum(dim=1).tolist() == [num_candidates] * 5
    torch.testing.assert_close(outputs.level[compared], outputs_of(whole).level[compared])
    for query in range(5):
        nearest = similarity[query].argsort(descending=True).tolist()
        chosen = sorted(nearest[:num_candidates], key=lambda item: -float(outputs.level[query, item]))
        assert outputs.distances[query].argsort().tolist() == chosen + nearest[num_candidates:]
    levels = label_levels(outputs.queries.label, outputs.items.label)
    scores = score_levels(outputs.distances, levels, outputs.queries.label, SCORING)
    assert metrics["test/mAP_3@5"] == pytest.approx(scores.mean_ap()[3, 5], abs=1e-6)
    assert outputs.swapped_level is not None
    change = (outputs.level - outputs.swapped_level).abs()[compared].mean()
    assert metrics["test/swap_level_change"] == pytest.approx(float(change), abs=1e-6)


def test_more_candidates_than_items_are_all() -> None:
    whole, model = make_siamese(), make_siamese(num_candidates=100)
    assert run(model) == pytest.approx(run(whole), abs=1e-6)


def test_reports_name_the_network() -> None:
    assert make_siamese("pooled").method_name == "PooledPairs"


def test_one_query_and_one_item_are_scored() -> None:
    metrics = run(make_siamese("pooled"), queries=make_clips(1, seed=20), items=make_clips(1, seed=30, first_index=50))
    assert metrics["test/mAP_2@1"] in (0.0, 1.0)


def test_predictions_are_indices_labels_and_mean_embeddings() -> None:
    model, clips = make_siamese(), make_clips(6)
    batches = make_trainer().predict(model, load(clips))
    assert batches is not None
    found: Batch = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    assert set(found) == {"item_index", "label", "embedding"}
    assert torch.equal(found["item_index"], clips["item_index"])
    assert torch.equal(found["label"], clips["label"])
    with torch.no_grad():
        embedded: ClipEmbeddings = model(clips["feature"], clips["num_frames"])
    for clip, length in enumerate(clips["num_frames"].tolist()):
        torch.testing.assert_close(found["embedding"][clip], embedded.value[clip, :length].mean(dim=0))


# what is attended to


@pytest.mark.parametrize("network", ["concatenated", "symmetric", "sub-models", "pooled", "sub-models of pooled"])
def test_comparing_clips_tells_the_truth_and_what_was_attended_to(network: str) -> None:
    model, first, second = make_siamese(network), make_clips(6), make_clips(6, seed=10)
    compared = model.compare_clips(first, second)
    for pair in range(6):
        prob = pair_probs(model, clip_of(first, pair, ""), clip_of(second, pair, ""))
        torch.testing.assert_close(compared.prob[pair], prob, rtol=1e-4, atol=1e-5)
        counts = (first["label"][pair] + second["label"][pair]).tolist()
        assert compared.target[pair].argmax(dim=1).tolist() == [{2: 0, 0: 1, 1: 2}[count] for count in counts]
    assert bool((compared.target.sum(dim=2) == 1).all())
    num_frames = [each["num_frames"] for each in (first, second)]
    if "pooled" not in network:  # one attention, to the frames of both
        assert torch.equal(compared.attention, compared.other_attention)
        num_frames = [torch.minimum(*num_frames)] * 2
    for attention, lengths in zip((compared.attention, compared.other_attention), num_frames, strict=True):
        assert attention.shape == (6, TIME, NUM_CATEGORIES)
        torch.testing.assert_close(attention.sum(dim=1), torch.ones(6, NUM_CATEGORIES), rtol=0, atol=1e-5)
        assert bool((attention[torch.arange(TIME) >= lengths[:, None]] == 0).all())
    assert not compared.prob.requires_grad


def test_attention_to_a_clip_alone_is_the_same_whatever_it_is_compared_with() -> None:
    model, first, second = make_siamese("pooled"), make_clips(6), make_clips(6, seed=10)
    compared, swapped = model.compare_clips(first, second), model.compare_clips(second, first)
    torch.testing.assert_close(compared.attention, swapped.other_attention)
    torch.testing.assert_close(compared.other_attention, swapped.attention)
