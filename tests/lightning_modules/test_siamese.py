"""The Siamese network in training: losses against loops, what it learns, what it keeps."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_modules import Siamese
from lightning_modules.networks import ConcatenatedPairs, IndependentClassifier, PooledPairs, PresenceNetwork
from lightning_modules.networks.presence import Presence
from retrieval.metrics import LevelScoring
from tests.lightning_modules.makers import NUM_CATEGORIES, idle_parameters, make_trainer, seeded
from tests.lightning_modules.pair_batches import (
    ITEMS,
    QUERIES,
    TIME,
    Batch,
    clip_of,
    fit,
    load,
    make_clips,
    make_pairs,
    make_siamese,
    outputs_of,
    pair_probs,
    pair_up,
    run,
)


def recorded(model: Siamese) -> dict[str, float]:
    """Keep what the model logs out of its trainer, and show it."""
    logged: dict[str, float] = {}

    def log_dict(values: dict[str, Any], **_: Any) -> None:
        logged.update({name: float(value) for name, value in values.items()})

    model.log_dict = log_dict  # type: ignore[method-assign,assignment]
    return logged


pytestmark = pytest.mark.usefixtures("one_thread")


# options out of their range


@pytest.mark.parametrize(
    "options",
    [{"pairs_per_clip": 0}, {"pairs_per_batch": 0}, {"num_candidates": 0}, {"soft_label_share": -0.1},
     {"soft_label_share": 1.1}, {"mixup_alpha": -1.0}, {"label_weight": -1.0}, {"pair_weight": -1.0},
     {"pair_weight": 0.0}],
    ids=str,
)  # fmt: skip
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    (value,) = options.values()
    expected = "num_candidates of at least 1" if isinstance(value, int) else "soft_label_share from 0 to 1, "
    with pytest.raises(ValueError, match=f"{expected}.*; got .*{value}"):
        make_siamese(**options)


# the loss


def label_of(batch: Batch, position: int, prefix: str, share: float) -> Tensor:
    return (1 - share) * batch[f"{prefix}label"][position] + share * batch[f"{prefix}soft_label"][position]


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
    loaders = [load(QUERIES), load(ITEMS)]
    metrics = fit(model, load(make_pairs(8)), loaders, max_epochs=2, precision=precision).callback_metrics
    assert {"train/loss", "train/pair_loss", "val/loss", "val/mAP_3@5"} <= set(metrics)
    assert ("train/label_loss" in metrics) == classifies
    assert all(bool(torch.isfinite(value)) for value in metrics.values())
    assert all(bool(torch.isfinite(value).all()) for value in model.state_dict().values())


@pytest.mark.parametrize("network", ["concatenated", "sub-models of pooled"])
def test_checkpoints_restore_outputs_exactly(network: str, tmp_path: Path) -> None:
    model, path = make_siamese(network), tmp_path / "last.ckpt"
    loaders = load(make_pairs(8)), [load(QUERIES), load(ITEMS)]
    fit(model, *loaders).save_checkpoint(path)
    expected = run(model)
    other = make_siamese(network)
    assert run(other) != expected
    level = outputs_of(other).level
    other.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    assert run(other) == expected
    assert torch.equal(outputs_of(other).level, outputs_of(model).level)
    assert not torch.equal(outputs_of(other).level, level)
