"""Cross-entropy of presence matrices against torch's own."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_modules.losses import presence_cross_entropy
from tests.gradients import gradient_of


def draw_logits(seed: int = 0) -> Tensor:
    return torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_one_hot_targets_agree_with_torch() -> None:
    logits = draw_logits()
    situation = torch.randint(0, 3, (6, 4), generator=torch.Generator().manual_seed(1))
    found = presence_cross_entropy(logits.softmax(dim=2), F.one_hot(situation, 3).double())
    expected = F.cross_entropy(logits.flatten(0, 1), situation.flatten(), reduction="none").unflatten(0, (6, 4))
    torch.testing.assert_close(found, expected.sum(dim=1), rtol=0, atol=1e-12)
    by_log_prob = F.nll_loss(logits.log_softmax(dim=2).transpose(1, 2), situation, reduction="none")
    torch.testing.assert_close(found, by_log_prob.sum(dim=1), rtol=0, atol=1e-12)


def test_soft_targets_agree_with_torch() -> None:
    logits, target = draw_logits(), draw_logits(1).softmax(dim=2)
    expected = F.cross_entropy(logits.flatten(0, 1), target.flatten(0, 1), reduction="none").unflatten(0, (6, 4))
    torch.testing.assert_close(
        presence_cross_entropy(logits.softmax(dim=2), target), expected.sum(dim=1), rtol=0, atol=1e-12
    )


def test_a_guess_costs_the_logarithm_of_three_a_category() -> None:
    guess, target = torch.full((2, 4, 3), 1 / 3).double(), torch.eye(3).double()[None, [0, 1, 2, 0]].expand(2, 4, 3)
    torch.testing.assert_close(presence_cross_entropy(guess, target), torch.full((2,), 4 * math.log(3)).double())


def test_a_perfect_prediction_costs_nothing() -> None:
    target = torch.eye(3)[None]
    assert presence_cross_entropy(target, target).tolist() == [0.0]


def test_a_prediction_that_is_surely_wrong_costs_a_finite_amount() -> None:
    prob = torch.tensor([[[1.0, 0.0, 0.0]]], requires_grad=True)
    loss = presence_cross_entropy(prob, torch.tensor([[[0.0, 1.0, 0.0]]]))
    assert 10 < float(loss.detach()) < 20
    loss.sum().backward()
    gradient_of(prob)


def test_the_truth_is_what_costs_least() -> None:
    target = draw_logits(1).softmax(dim=2)
    least = presence_cross_entropy(target, target)
    for seed in range(2, 7):
        other = (0.9 * target + 0.1 * draw_logits(seed).softmax(dim=2)).contiguous()
        assert bool((presence_cross_entropy(other, target) > least).all())


def test_gradient_is_that_of_the_logarithm() -> None:
    target = F.one_hot(torch.tensor([[0, 2]]), 3).double()
    prob = draw_logits()[:1, :2].softmax(dim=2).requires_grad_()
    presence_cross_entropy(prob, target).sum().backward()
    torch.testing.assert_close(gradient_of(prob), -target / prob.detach())
