"""The Siamese network as a module: losses against loops, scores against loops, what it learns, what it keeps.

Longer than most: training, scoring and comparing share the clips and the trainer that they run on.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from lightning_modules import Siamese
from lightning_modules.networks import ConcatenatedPairs, IndependentClassifier, PooledPairs, PresenceNetwork
from lightning_modules.networks.presence import ClipEmbeddings, Presence
from retrieval.metrics import LevelScoring, label_levels, score_levels
from retrieval.outputs import PresenceOutputs
from tests.lightning_modules.makers import (
    NETWORKS,
    NUM_CATEGORIES,
    NUM_FEATURES,
    draw,
    given_features,
    idle_parameters,
    unsettle,
)

TIME = 5
SCORING = LevelScoring(misses=[0, 1], cutoffs=[1, 5])
Batch = dict[str, Tensor]


class Rows(Dataset[Batch]):
    """Columns in memory."""

    def __init__(self, columns: Batch) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns["item_index"])

    def __getitem__(self, position: int) -> Batch:
        return {name: column[position] for name, column in self.columns.items()}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Compute on one thread: networks as small as these wait for a second longer than it works."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_clips(num_clips: int, seed: int = 0, first_index: int = 0, full: bool = False) -> Batch:
    """Draw clips of unequal length, zeros beyond, with labels and the votes for them."""
    num_frames = torch.randint(1, TIME + 1, (num_clips,), generator=seeded(seed))
    num_frames[:1] = TIME
    if full:
        num_frames[:] = TIME
    mask = torch.arange(TIME) < num_frames[:, None]
    soft_label = torch.rand(num_clips, NUM_CATEGORIES, generator=seeded(seed + 1))
    return {
        "feature": draw(num_clips, TIME, NUM_FEATURES, seed=seed + 2) * mask[..., None],
        "num_frames": num_frames,
        "label": (torch.rand(num_clips, NUM_CATEGORIES, generator=seeded(seed + 3)) < 0.5).long(),
        "soft_label": soft_label,
        "item_index": torch.arange(first_index, first_index + num_clips),
    }


def pair_up(first: Batch, second: Batch) -> Batch:
    return first | {f"other_{name}": column for name, column in second.items()}


def make_pairs(num_pairs: int, full: bool = False) -> Batch:
    return pair_up(make_clips(num_pairs, full=full), make_clips(num_pairs, seed=10, first_index=100, full=full))


def load(columns: Batch, batch_size: int = 4, shuffle: bool = False) -> DataLoader[Batch]:
    return DataLoader(Rows(columns), batch_size=batch_size, shuffle=shuffle, generator=seeded(0), drop_last=shuffle)


def make_siamese(
    network: Callable[[int, int], PresenceNetwork] | str = "concatenated", learning_rate: float = 1e-2, **options: Any
) -> Siamese:
    torch.manual_seed(0)
    model = Siamese(
        preprocessing=given_features(NUM_FEATURES),
        num_classes=NUM_CATEGORIES,
        network=NETWORKS[network] if isinstance(network, str) else network,
        optimizer=partial(torch.optim.RMSprop, lr=learning_rate),
        lr_scheduler=partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
        **({"scoring": SCORING} | options),
    )
    unsettle(model)
    return model.eval()


def recorded(model: Siamese) -> dict[str, float]:
    """Keep what the model logs out of its trainer, and show it."""
    logged: dict[str, float] = {}

    def log_dict(values: dict[str, Any], **_: Any) -> None:
        logged.update({name: float(value) for name, value in values.items()})

    model.log_dict = log_dict  # type: ignore[method-assign,assignment]
    return logged


def fit(
    model: Siamese,
    pairs: DataLoader[Batch],
    loaders: list[DataLoader[Batch]],
    ckpt_path: Path | None = None,
    max_epochs: int = 1,
    **options: Any,
) -> pl.Trainer:
    trainer = make_trainer(max_epochs, **options)
    trainer.fit(model.train(), pairs, loaders, ckpt_path=ckpt_path)
    return trainer


def make_trainer(max_epochs: int = 1, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=max_epochs, accelerator="cpu", logger=False, enable_checkpointing=False, num_sanity_val_steps=0,
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip


# options out of their range


@pytest.mark.parametrize("options", [{"pairs_per_clip": 0}, {"pairs_per_batch": 0}, {"num_candidates": 0}], ids=str)
def test_counts_under_one_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"num_candidates of at least 1; got .*0"):
        make_siamese(**options)


@pytest.mark.parametrize(
    "options",
    [{"soft_label_share": -0.1}, {"soft_label_share": 1.1}, {"mixup_alpha": -1.0}, {"label_weight": -1.0},
     {"pair_weight": -1.0}, {"pair_weight": 0.0}],
    ids=str,
)  # fmt: skip
def test_shares_and_weights_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"soft_label_share from 0 to 1, .*; got .*{next(iter(options.values()))}"):
        make_siamese(**options)


# the loss


def clip_of(batch: Batch, position: int, prefix: str) -> tuple[Tensor, Tensor]:
    return batch[f"{prefix}feature"][position, None], batch[f"{prefix}num_frames"][position, None]


def label_of(batch: Batch, position: int, prefix: str, share: float) -> Tensor:
    return (1 - share) * batch[f"{prefix}label"][position] + share * batch[f"{prefix}soft_label"][position]


def pair_probs(model: Siamese, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """Compare one pair by itself."""
    terms = [model.network.prepare(model(*clip)) for clip in (first, second)]
    return model.network.compare(terms[0].first, terms[1].second, terms[0].mask & terms[1].mask).prob[0]


def pair_loss_of(model: Siamese, batch: Batch, pairs_per_clip: int, share: float) -> float:
    """Sum the cross-entropy of section 3.1 over the categories of each pair, and average over pairs."""
    losses, num_pairs = [], len(batch["item_index"])
    for shift in range(pairs_per_clip):
        for first in range(num_pairs):
            second = (first + shift) % num_pairs
            prob = pair_probs(model, clip_of(batch, first, ""), clip_of(batch, second, "other_"))
            label, other_label = label_of(batch, first, "", share), label_of(batch, second, "other_", share)
            loss = 0.0
            for category in range(NUM_CATEGORIES):
                has, other_has = float(label[category]), float(other_label[category])
                target = [has * other_has, (1 - has) * (1 - other_has), has * (1 - other_has) + (1 - has) * other_has]
                loss -= sum(t * float(p.log()) for t, p in zip(target, prob[category], strict=True))
            losses.append(loss)
    return sum(losses) / len(losses)


def label_loss_of(model: Siamese, batch: Batch, share: float) -> float:
    losses = []
    for prefix in ("", "other_"):
        for position in range(len(batch["item_index"])):
            prob = model.network.classify(model(*clip_of(batch, position, prefix)))[0].sigmoid()
            losses.append(F.binary_cross_entropy(prob, label_of(batch, position, prefix, share)))
    return float(torch.stack(losses).mean())


@pytest.mark.parametrize("network", ["concatenated", "symmetric", "sub-models", "pooled", "independent"])
@pytest.mark.parametrize(("pairs_per_clip", "share"), [(1, 0.0), (3, 0.0), (5, 0.25), (9, 1.0)])
@torch.no_grad()
def test_pair_loss_is_the_mean_over_the_pairs_of_a_batch(network: str, pairs_per_clip: int, share: float) -> None:
    model, batch = make_siamese(network, pairs_per_clip=pairs_per_clip, soft_label_share=share), make_pairs(5)
    logged = recorded(model)
    # a batch of 5 makes 5 pairs a clip at most
    expected = pair_loss_of(model, batch, min(pairs_per_clip, 5), share)
    assert float(model.training_step(batch, 0)) == pytest.approx(expected, rel=1e-4)
    assert logged == pytest.approx({"train/pair_loss": expected, "train/loss": expected}, rel=1e-4)


@pytest.mark.parametrize("pairs_per_clip", [1, 2, 4, 9])
def test_each_clip_is_in_as_many_pairs(pairs_per_clip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = make_siamese("no branch", pairs_per_clip=pairs_per_clip), make_pairs(4, full=True)
    recorded(model)
    compared, compare = [], model.network.compare

    def record(first: Tensor, second: Tensor, mask: Tensor) -> Presence:
        compared.append((first, second))
        return compare(first, second, mask)

    monkeypatch.setattr(model.network, "compare", record)
    model.training_step(batch, 0)
    expected = min(pairs_per_clip, 4)
    for terms in compared[0]:
        _, counts = terms[:, 0].unique(dim=0, return_counts=True)
        assert counts.tolist() == [expected] * 4
    # no pair twice
    pairs = torch.cat([compared[0][0][:, 0], compared[0][1][:, 0]], dim=1)
    assert len(pairs.unique(dim=0)) == 4 * expected


@pytest.mark.parametrize("network", ["pooled", "sub-models of pooled", "independent"])
@pytest.mark.parametrize(("label_weight", "pair_weight", "share"), [(0.5, 2.0, 0.0), (3.0, 0.0, 0.7), (0.0, 1.0, 0.7)])
@torch.no_grad()
def test_losses_add_up_by_weight(network: str, label_weight: float, pair_weight: float, share: float) -> None:
    model = make_siamese(network, label_weight=label_weight, pair_weight=pair_weight, soft_label_share=share)
    batch, logged = make_pairs(5), recorded(model)
    expected = {}
    if pair_weight > 0:
        expected["train/pair_loss"] = pair_loss_of(model, batch, 1, share)
    if label_weight > 0:
        expected["train/label_loss"] = label_loss_of(model, batch, share)
    total = pair_weight * expected.get("train/pair_loss", 0.0) + label_weight * expected.get("train/label_loss", 0.0)
    assert float(model.training_step(batch, 0)) == pytest.approx(total, rel=1e-4)
    assert logged == pytest.approx(expected | {"train/loss": total}, rel=1e-4)


def test_a_label_loss_needs_a_network_that_classifies() -> None:
    model = make_siamese("sub-models", label_weight=1.0)
    recorded(model)
    with pytest.raises(NotImplementedError, match=r"ConcatenatedPairs doesn't tell .* set --model\.label_weight 0"):
        model.training_step(make_pairs(4), 0)


@pytest.mark.parametrize("network", ["concatenated", "no branch", "sub-models", "pooled", "independent"])
def test_gradients_of_a_training_step_reach_all_that_can_learn(network: str) -> None:
    classifies = network in ("pooled", "independent")
    model = make_siamese(network, label_weight=float(classifies))
    recorded(model)
    model.training_step(make_pairs(8), 0).backward()
    idle = [name for name in idle_parameters(model) if not name.endswith("attention.scorer.bias")]
    assert idle == []


# soft labels and mixing


def test_soft_labels_are_between_agreement_and_votes() -> None:
    batch = make_pairs(5)
    agreed, voted = (torch.cat([batch[name], batch[f"other_{name}"]]).float() for name in ("label", "soft_label"))
    for share in (0.0, 0.3, 1.0):
        _, _, label = make_siamese(soft_label_share=share)._clips_of_pairs(batch, 0)
        torch.testing.assert_close(label, (1 - share) * agreed + share * voted)


def planted_in_frames(num_pairs: int) -> Batch:
    """Write the labels into the features, so that mixed features tell what mixed labels have to be."""
    batch = make_pairs(num_pairs)
    for prefix in ("", "other_"):
        mask = torch.arange(TIME) < batch[f"{prefix}num_frames"][:, None]
        batch[f"{prefix}feature"][..., :NUM_CATEGORIES] = batch[f"{prefix}label"][:, None] * mask[..., None]
    return batch


def test_mixing_mixes_features_and_labels_in_the_same_shares() -> None:
    batch = planted_in_frames(40)
    frames, num_frames, label = make_siamese(mixup_alpha=0.4)._clips_of_pairs(batch, 0)
    torch.testing.assert_close(frames[:, 0, :NUM_CATEGORIES], label)
    assert float(label.min()) >= 0
    assert float(label.max()) <= 1
    assert bool(((label > 0.01) & (label < 0.99)).any())
    # as long as the longer one
    own = torch.cat([batch["num_frames"], batch["other_num_frames"]])
    assert bool((num_frames >= own).all())
    assert bool((num_frames > own).any())
    beyond = torch.arange(TIME) >= num_frames[:, None]
    assert bool((frames[beyond] == 0).all())
    # each clip is between itself and one other
    given = torch.cat([batch["feature"], batch["other_feature"]])
    for clip in range(len(given)):
        direction = (given - given[clip]).flatten(1).double()
        change = (frames[clip] - given[clip]).flatten().double()
        share = (direction @ change) / direction.square().sum(dim=1).clamp(min=1e-9)
        misfit = (share[:, None] * direction - change).norm(dim=1)
        assert float(misfit.min()) < 1e-4


def test_no_mixing_leaves_clips_as_they_are() -> None:
    batch = make_pairs(5)
    frames, num_frames, _ = make_siamese()._clips_of_pairs(batch, 0)
    assert torch.equal(frames, torch.cat([batch["feature"], batch["other_feature"]]))
    assert torch.equal(num_frames, torch.cat([batch["num_frames"], batch["other_num_frames"]]))


def test_mixing_repeats_by_seed_and_place() -> None:
    batch = make_pairs(8)

    def mix(seed: int = 0, epoch: int = 0, batch_idx: int = 0) -> Tensor:
        model = make_siamese(mixup_alpha=0.4, seed=seed)
        model.trainer = make_trainer()
        model.trainer.fit_loop.epoch_progress.current.completed = epoch
        assert model.current_epoch == epoch
        torch.randn(5)  # the global generator has no part in it
        return model._clips_of_pairs(batch, batch_idx)[0]

    assert torch.equal(mix(), mix())
    assert torch.equal(mix(3, 2, 1), mix(3, 2, 1))
    for other in (mix(seed=1), mix(epoch=1), mix(batch_idx=1)):
        assert not torch.equal(other, mix())


# scores


def run(model: Siamese, stage: str = "test", num_queries: int = 5, num_items: int = 11) -> dict[str, float]:
    queries, items = make_clips(num_queries, seed=20), make_clips(num_items, seed=30, first_index=50)
    trainer = make_trainer()
    # the last batches are smaller
    stages = {"test": trainer.test, "val": trainer.validate}
    (metrics, *_) = stages[stage](model, [load(queries), load(items)], verbose=False)
    return dict(metrics)


def outputs_of(model: Siamese) -> PresenceOutputs:
    assert model.presence_outputs is not None
    return model.presence_outputs


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
    queries, items = make_clips(5, seed=20), make_clips(11, seed=30, first_index=50)
    level = levels_of(model, queries, items)
    scores = score_levels(-level, label_levels(queries["label"], items["label"]), queries["label"], SCORING)
    expected = {f"{stage}/mAP_{s}@{k}": value for (s, k), value in scores.mean_ap().items()}
    assert set(expected) == {f"{stage}/mAP_{s}@{k}" for s in (3, 2) for k in (1, 5)}
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert (model.presence_outputs is None) == (stage == "val")
    if stage == "test":
        torch.testing.assert_close(outputs_of(model).level, level, rtol=1e-4, atol=1e-5)


def test_loss_and_accuracy_of_a_stage_are_means_over_pairs() -> None:
    model = make_siamese()
    metrics = run(model, "val")
    queries, items = make_clips(5, seed=20), make_clips(11, seed=30, first_index=50)
    loss, correct = 0.0, 0
    with torch.no_grad():
        for query in range(5):
            for item in range(11):
                prob = pair_probs(model, clip_of(queries, query, ""), clip_of(items, item, ""))
                labels = queries["label"][query] + items["label"][item]
                situation = torch.tensor([{2: 0, 0: 1, 1: 2}[count] for count in labels.tolist()])
                loss += float(F.nll_loss(prob.log(), situation, reduction="sum"))
                correct += int((prob.argmax(dim=1) == situation).sum())
    assert metrics["val/loss"] == pytest.approx(loss / 55, rel=1e-4)
    assert metrics["val/situation_accuracy"] == pytest.approx(correct / 55 / NUM_CATEGORIES, abs=1e-6)


def test_outputs_hold_what_reports_need() -> None:
    model = make_siamese()
    run(model)
    outputs = outputs_of(model)
    queries, items = make_clips(5, seed=20), make_clips(11, seed=30, first_index=50)
    for found, given in ((outputs.queries, queries), (outputs.items, items)):
        assert torch.equal(found.item_index, given["item_index"])
        assert torch.equal(found.label, given["label"])
        means = [clip[:length].mean(dim=0) for clip, length in zip(given["feature"], given["num_frames"], strict=True)]
        torch.testing.assert_close(found.feature, torch.stack(means))
    assert outputs.swapped_level is not None
    torch.testing.assert_close(outputs.swapped_level, levels_of(model, queries, items, swapped=True))
    assert torch.equal(outputs.distances, -outputs.level)
    assert outputs.scores.num_items == 11
    assert outputs.scores.label_count.tolist() == queries["label"].sum(dim=1).tolist()
    assert outputs.situation_accuracy.shape == (NUM_CATEGORIES,)
    # cosines of the embeddings' means over the frames that are there
    with torch.no_grad():
        embeddings = [
            torch.cat([model(*clip_of(clips, position, "")).value[0][: int(clips["num_frames"][position])].mean(0)[None]
                       for position in range(len(clips["item_index"]))])
            for clips in (queries, items)
        ]  # fmt: skip
    expected = F.cosine_similarity(embeddings[0][:, None], embeddings[1][None], dim=2)
    torch.testing.assert_close(outputs.embedding_similarity, expected, rtol=1e-4, atol=1e-5)


def test_order_and_repetition_of_items_are_irrelevant() -> None:
    model = make_siamese()
    expected = run(model)
    level = outputs_of(model).level
    queries, items = make_clips(5, seed=20), make_clips(11, seed=30, first_index=50)
    # as a sampler of several processes does it
    order = torch.tensor([4, 0, 9, 1, 10, 2, 8, 7, 3, 6, 5, 4, 0])
    shuffled = {name: column[order] for name, column in items.items()}
    (metrics, *_) = make_trainer().test(model, [load(queries), load(shuffled, batch_size=3)], verbose=False)
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


@pytest.mark.parametrize("pairs_per_batch", [1, 4, 100])
def test_pairs_compared_together_are_irrelevant(pairs_per_batch: int) -> None:
    whole, parts = make_siamese(), make_siamese(pairs_per_batch=pairs_per_batch)
    assert run(parts) == pytest.approx(run(whole), abs=1e-5)


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
    metrics = run(make_siamese("pooled"), num_queries=1, num_items=1)
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


# what it learns

PATTERNS = torch.tensor([[2.0, 0, 0, 1, 0], [0, 2, 0, 0, 1], [0, 0, 2, -1, -1]])


def plant(num_clips: int, seed: int, first_index: int = 0, share: float = 1.0) -> Batch:
    """Draw clips in a share of whose frames each category's pattern is, under noise."""
    clips = make_clips(num_clips, seed, first_index)
    mask = torch.arange(TIME) < clips["num_frames"][:, None]
    sounds = torch.rand(num_clips, TIME, NUM_CATEGORIES, generator=seeded(seed + 4)) < share
    sounds[:, 0] = True  # at least once
    planted = (sounds * clips["label"][:, None]).float() @ PATTERNS
    return clips | {"feature": (planted + 0.3 * clips["feature"]) * mask[..., None]}


PLANTED: dict[str, tuple[Callable[[int, int], PresenceNetwork], float, dict[str, Any]]] = {
    "concatenated": (partial(ConcatenatedPairs, branch_dims=(16,), hidden_dims=(32, 16), dropout=0.0), 1.0, {}),
    "pooled": (partial(PooledPairs, branch_dims=(16,), hidden_dims=(32,), dropout=0.0), 0.5, {"label_weight": 1.0}),
    "independent": (partial(IndependentClassifier, branch_dims=(16,), dropout=0.0), 0.5,
                    {"label_weight": 1.0, "pair_weight": 0.0}),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_planted_categories_are_retrieved(name: str) -> None:
    network, share, options = PLANTED[name]
    model = make_siamese(network, pairs_per_clip=4, scoring=LevelScoring(misses=[0], cutoffs=[1, 10]), **options)
    loaders = [load(plant(16, 200, 500, share), 16), load(plant(64, 300, 600, share), 64)]
    (before, *_) = make_trainer().validate(model, loaders, verbose=False)
    pairs = pair_up(plant(128, 0, 0, share), plant(128, 100, 200, share))
    trainer = fit(model, load(pairs, 32, shuffle=True), loaders, max_epochs=10, check_val_every_n_epoch=10)
    after = {key: float(value) for key, value in trainer.callback_metrics.items()}
    assert before["val/mAP_3@10"] < 0.7
    assert after["val/mAP_3@10"] > 0.95
    assert after["val/situation_accuracy"] > 0.95
    assert after["val/loss"] < 0.3 * before["val/loss"]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("network", ["symmetric", "sub-models of pooled"])
def test_a_fit_with_every_option_stays_finite(network: str, precision: str) -> None:
    classifies = "pooled" in network
    model = make_siamese(
        network, label_weight=float(classifies), soft_label_share=0.5, mixup_alpha=0.4, pairs_per_clip=2,
        num_candidates=3,
    )  # fmt: skip
    loaders = [load(make_clips(5, 20)), load(make_clips(11, 30, first_index=50))]
    metrics = fit(model, load(make_pairs(8)), loaders, max_epochs=2, precision=precision).callback_metrics
    assert {"train/loss", "train/pair_loss", "val/loss", "val/mAP_3@5"} <= set(metrics)
    assert ("train/label_loss" in metrics) == classifies
    assert all(bool(torch.isfinite(value)) for value in metrics.values())
    assert all(bool(torch.isfinite(value).all()) for value in model.state_dict().values())


@pytest.mark.parametrize("network", ["concatenated", "sub-models of pooled"])
def test_checkpoints_restore_outputs_exactly(network: str, tmp_path: Path) -> None:
    model, path = make_siamese(network), tmp_path / "last.ckpt"
    loaders = load(make_pairs(8)), [load(make_clips(5, 20)), load(make_clips(11, 30, first_index=50))]
    fit(model, *loaders).save_checkpoint(path)
    expected = run(model)
    other = make_siamese(network)
    assert run(other) != expected
    level = outputs_of(other).level
    other.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    assert run(other) == expected
    assert torch.equal(outputs_of(other).level, outputs_of(model).level)
    assert not torch.equal(outputs_of(other).level, level)


def test_a_resumed_run_ends_as_one_that_was_never_stopped(tmp_path: Path) -> None:
    network = partial(ConcatenatedPairs, branch_dims=(7,), hidden_dims=(9, 8), dropout=0.0)
    models = [make_siamese(network, mixup_alpha=0.4, pairs_per_clip=2) for _ in range(3)]
    loaders = load(make_pairs(8)), [load(make_clips(5, 20)), load(make_clips(11, 30, first_index=50))]
    fit(models[0], *loaders, max_epochs=4)
    fit(models[1], *loaders, max_epochs=2).save_checkpoint(tmp_path / "second.ckpt")
    fit(models[2], *loaders, max_epochs=4, ckpt_path=tmp_path / "second.ckpt")
    whole, stopped, resumed = (model.state_dict() for model in models)
    torch.testing.assert_close(resumed, whole, rtol=1e-5, atol=1e-6)
    assert not torch.equal(stopped["network.output.weight"], resumed["network.output.weight"])
