"""Each loss against loops over its formula, then laws that all share."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lightning_modules.losses import (
    CosineProxyLoss,
    PairwiseCosineLoss,
    SimilarityLoss,
    SupervisedContrastiveLoss,
    TripletLoss,
    quantization_loss,
)
from tests.draws import draw_double as draw
from tests.gradients import gradient_of

DIM, NUM_CLASSES = 5, 4


def built(loss: SimilarityLoss) -> SimilarityLoss:
    torch.manual_seed(0)
    loss.build(DIM, NUM_CLASSES)
    return loss.double()


def cos(first: Tensor, second: Tensor) -> float:
    return float(first @ second / (first.norm() * second.norm()))


def pairwise_oracle(embeddings: Tensor, labels: Tensor, *, class_balanced: bool) -> float:
    errors: dict[bool, list[float]] = {True: [], False: []}
    for i, j in ((i, j) for i in range(len(labels)) for j in range(len(labels)) if i != j):
        alike = bool(labels[i] == labels[j])
        errors[alike].append(((1 if alike else -1) - cos(embeddings[i], embeddings[j])) ** 2)
    groups = [kind for kind in errors.values() if kind] if class_balanced else [errors[True] + errors[False]]
    return sum(sum(group) / len(group) for group in groups) / len(groups)


def triplet_oracle(embeddings: Tensor, labels: Tensor, margin: float) -> float:
    size = len(labels)
    hinges = [
        margin + cos(embeddings[a], embeddings[n]) - cos(embeddings[a], embeddings[p])
        for a in range(size) for p in range(size) for n in range(size)
        if a != p and labels[a] == labels[p] and labels[a] != labels[n]
    ]  # fmt: skip
    violating = [hinge for hinge in hinges if hinge > 0]
    return sum(violating) / max(1, len(violating))


def contrastive_oracle(embeddings: Tensor, labels: Tensor, temperature: float) -> float:
    size, terms = len(labels), []
    for i in range(size):
        others = [j for j in range(size) if j != i]
        mates = [j for j in others if labels[j] == labels[i]]
        total = sum(math.exp(cos(embeddings[i], embeddings[j]) / temperature) for j in others)
        if mates:
            probs = [math.exp(cos(embeddings[i], embeddings[j]) / temperature) / total for j in mates]
            terms.append(-sum(map(math.log, probs)) / len(mates))
    return sum(terms) / max(1, len(terms))


def proxy_oracle(embeddings: Tensor, labels: Tensor, proxies: Tensor, scale: float, margin: float) -> float:
    total = 0.0
    for embedding, label in zip(embeddings, labels.tolist(), strict=True):
        logits = [
            scale * (cos(embedding, proxy) - (margin if row == label else 0)) for row, proxy in enumerate(proxies)
        ]
        total += math.log(sum(map(math.exp, logits))) - logits[label]
    return total / len(labels)


MAKERS: dict[str, Callable[[], SimilarityLoss]] = {
    "pairwise": PairwiseCosineLoss,
    "pairwise_balanced": lambda: PairwiseCosineLoss(class_balanced=True),
    "triplet": TripletLoss,
    "contrastive": SupervisedContrastiveLoss,
    "proxy": CosineProxyLoss,
}
every_loss = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
MakeLoss = Callable[[], SimilarityLoss]

# with a class of one, with one class only, with no two alike
BATCHES = [torch.tensor([0, 1, 0, 2, 1, 0, 3]), torch.tensor([2, 2, 2]), torch.tensor([0, 1, 2, 3])]


@pytest.mark.parametrize("labels", BATCHES, ids=["mixed", "one class", "no mates"])
@pytest.mark.parametrize("seed", range(3))
def test_losses_agree_with_loops(labels: Tensor, seed: int) -> None:
    embeddings = draw(len(labels), DIM, seed=seed)
    proxy = built(CosineProxyLoss(scale=9.0, margin=0.35))
    assert isinstance(proxy, CosineProxyLoss)
    found_and_expected = [
        (PairwiseCosineLoss(), pairwise_oracle(embeddings, labels, class_balanced=False)),
        (PairwiseCosineLoss(class_balanced=True), pairwise_oracle(embeddings, labels, class_balanced=True)),
        (TripletLoss(0.4), triplet_oracle(embeddings, labels, 0.4)),
        (SupervisedContrastiveLoss(0.2), contrastive_oracle(embeddings, labels, 0.2)),
        (proxy, proxy_oracle(embeddings, labels, proxy.proxies.detach(), 9.0, 0.35)),
    ]
    for loss, expected in found_and_expected:
        assert loss(embeddings, labels).item() == pytest.approx(expected, abs=1e-10), type(loss).__name__


@every_loss
def test_order_of_the_batch_and_length_of_an_embedding_are_irrelevant(make: MakeLoss) -> None:
    loss, embeddings, labels = built(make()), draw(7, DIM), BATCHES[0]
    order, longer = torch.tensor([3, 0, 6, 5, 1, 4, 2]), embeddings * torch.arange(1, 8)[:, None]
    for same in (loss(embeddings[order], labels[order]), loss(longer, labels)):
        torch.testing.assert_close(same, loss(embeddings, labels), rtol=1e-12, atol=0)


@pytest.mark.parametrize("make", [MAKERS[name] for name in MAKERS if name != "proxy"])
def test_names_of_classes_are_irrelevant_where_none_has_a_proxy(make: MakeLoss) -> None:
    loss, embeddings, labels = built(make()), draw(7, DIM), BATCHES[0]
    assert torch.equal(loss(embeddings, 100 - 7 * labels), loss(embeddings, labels))


@every_loss
def test_separated_classes_score_better_than_mixed_ones(make: MakeLoss) -> None:
    loss = built(make())
    labels = torch.tensor([0, 0, 1, 1])
    axis = torch.nn.functional.normalize(draw(1, DIM), dim=1)
    if isinstance(loss, CosineProxyLoss):
        loss.proxies.data[:2] = torch.cat([axis, -axis])
    perfect = loss(torch.cat([axis, axis, -axis, -axis]), labels)
    collapsed = loss(axis.expand(4, DIM), labels)
    worst = loss(torch.cat([axis, -axis, axis, -axis]), labels)
    assert 0 <= perfect.item() < collapsed.item() <= worst.item()


@pytest.mark.parametrize(
    ("loss", "perfect", "worst"),
    [
        # each of 12 pairs: alike 4 times cos -1, unlike 4 times cos 1 and 4 times cos -1
        (PairwiseCosineLoss(), 0.0, (4 * 4 + 4 * 4) / 12),
        (PairwiseCosineLoss(class_balanced=True), 0.0, (4 + (4 * 4 + 0) / 8) / 2),
        # each anchor has its mate at -1, one negative at 1 and one at -1: hinges 2.3 and 0.3
        (TripletLoss(0.3), 0.0, (2.3 + 0.3) / 2),
        # e^10 for the mate against two negatives of e^-10
        (SupervisedContrastiveLoss(0.1), math.log(1 + 2 * math.exp(-20)), 20 + math.log(1 + 2 * math.exp(-20))),
    ],
    ids=["pairwise", "balanced", "triplet", "contrastive"],
)
def test_perfect_and_worst_embeddings_by_hand(loss: SimilarityLoss, perfect: float, worst: float) -> None:
    labels = torch.tensor([0, 0, 1, 1])
    axis = torch.tensor([[0.6, 0.8]]).double()
    assert loss(torch.cat([axis, axis, -axis, -axis]), labels).item() == pytest.approx(perfect, abs=1e-8)
    assert loss(torch.cat([axis, -axis, axis, -axis]), labels).item() == pytest.approx(worst, abs=1e-8)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_and_reach_every_embedding(make: MakeLoss, dtype: torch.dtype) -> None:
    # no class of one: a triplet or contrastive anchor needs a mate
    loss, labels = built(make()).to(dtype), torch.tensor([0, 1, 0, 2, 1, 0, 2])
    embeddings = draw(7, DIM).to(dtype).requires_grad_()
    value = loss(embeddings, labels)
    value.backward()
    assert value.dtype == dtype
    assert bool((gradient_of(embeddings).abs().sum(dim=1) > 0).all())
    for name, parameter in loss.named_parameters():
        assert parameter.grad is not None, name
        assert bool((parameter.grad.abs().sum(dim=1) > 0).all()), name


@every_loss
def test_autograd_agrees_with_finite_differences(make: MakeLoss) -> None:
    loss = built(make())
    embeddings = draw(7, DIM).requires_grad_()
    assert torch.autograd.gradcheck(lambda value: loss(value, BATCHES[0]), (embeddings,))


@every_loss
@pytest.mark.parametrize("labels", [torch.tensor([2]), BATCHES[0]], ids=["no pair", "with zeros"])
def test_a_batch_of_one_and_an_embedding_of_zeros_do_no_harm(make: MakeLoss, labels: Tensor) -> None:
    loss, embeddings = built(make()), draw(len(labels), DIM)
    embeddings[2:3] = 0
    value = loss(embeddings.requires_grad_(), labels)
    value.backward()
    if len(labels) == 1 and not isinstance(loss, CosineProxyLoss):  # which needs no pair
        assert value.item() == 0
    assert math.isfinite(value.item())
    gradient_of(embeddings)


def test_a_triplet_within_the_margin_is_violated() -> None:
    # mates at cosine 1, the negative at 0.5 from both
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1])
    assert TripletLoss(0.4)(embeddings, labels).item() == 0
    assert TripletLoss(0.7)(embeddings, labels).item() == pytest.approx(0.2, abs=1e-12)


def test_balance_weighs_both_kinds_of_pair_alike() -> None:
    # orthogonal, so that every error is 1; then all alike, so that errors are 0 and 4
    labels = torch.tensor([0, 0, 1, 2])
    assert PairwiseCosineLoss()(torch.eye(4).double(), labels).item() == pytest.approx(1)
    same = torch.ones(4, 2).double()
    assert PairwiseCosineLoss()(same, labels).item() == pytest.approx(4 * 10 / 12)
    assert PairwiseCosineLoss(class_balanced=True)(same, labels).item() == pytest.approx(2)


def test_proxies_by_hand() -> None:
    loss = CosineProxyLoss(scale=2.0, margin=0.25)
    loss.build(2, 2)
    loss.proxies.data = torch.tensor([[3.0, 0.0], [0.0, 0.5]]).double()
    # cosines 1 and 0: logits 2 * 0.75 and 0
    value = loss(torch.tensor([[7.0, 0.0]]).double(), torch.tensor([0]))
    assert value.item() == pytest.approx(math.log(1 + math.exp(-1.5)), abs=1e-12)


def test_build_registers_the_proxies_for_optimizer_and_checkpoint() -> None:
    loss = CosineProxyLoss()
    assert list(loss.parameters()) == []
    loss.build(DIM, NUM_CLASSES)
    assert [(name, tuple(value.shape)) for name, value in loss.named_parameters()] == [("proxies", (4, 5))]
    assert list(loss.state_dict()) == ["proxies"]
    # directions differ, else classes could not be told apart
    unit = torch.nn.functional.normalize(loss.proxies.detach(), dim=1)
    assert (unit @ unit.T - torch.eye(4)).abs().max() < 0.999


@pytest.mark.parametrize("make", [MAKERS[name] for name in MAKERS if name != "proxy"])
def test_losses_without_proxies_have_no_parameters(make: MakeLoss) -> None:
    assert list(built(make()).parameters()) == []


def test_quantization_loss_is_the_mean_squared_distance() -> None:
    embeddings = torch.tensor([[1.0, 2.0], [0.0, 0.0]]).double()
    decoded = torch.tensor([[0.0, 4.0], [3.0, 0.0]]).double()
    assert quantization_loss(embeddings, decoded).item() == (1 + 4 + 9) / 2
    assert quantization_loss(embeddings, embeddings).item() == 0


def test_quantization_loss_pulls_embeddings_to_their_codewords() -> None:
    embeddings, decoded = draw(6, DIM).requires_grad_(), draw(6, DIM, seed=1)
    (gradient,) = torch.autograd.grad(quantization_loss(embeddings, decoded), embeddings)
    torch.testing.assert_close(gradient, 2 * (embeddings.detach() - decoded) / 6, rtol=1e-12, atol=0)
