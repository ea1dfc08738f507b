"""Holm's correction against statsmodels, a hand-worked case and its laws."""

import pytest
import torch
from statsmodels.stats.multitest import multipletests

from retrieval.metrics import HolmDecision, holm_adjust, holm_decisions
from tests.retrieval.metrics.makers import draw_uniform as draw


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_equals_statsmodels(count: int) -> None:
    p_values = draw(count, seed=count) ** 4
    rejected, expected, _, _ = multipletests(p_values.numpy(), alpha=0.05, method="holm")
    assert holm_adjust(p_values).tolist() == pytest.approx(expected.tolist(), rel=1e-12)
    decisions = holm_decisions(dict(enumerate(p_values.tolist())), level=0.05)
    assert [decision.is_significant for decision in decisions.values()] == rejected.tolist()


def test_hand_worked_case() -> None:
    # ascending 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1; the third keeps the second's, since it can't be smaller
    adjusted = holm_adjust(torch.tensor([0.02, 0.5, 0.01, 0.03], dtype=torch.float64))
    assert adjusted.tolist() == pytest.approx([0.06, 0.5, 0.04, 0.06])


def test_names_and_their_order_are_kept() -> None:
    decisions = holm_decisions({("pq", "lsh"): 0.04, ("itq", "lsh"): 0.001, ("pq", "itq"): 0.3}, level=0.05)
    assert list(decisions) == [("pq", "lsh"), ("itq", "lsh"), ("pq", "itq")]
    assert decisions["pq", "lsh"] == HolmDecision(0.04, 0.08, is_significant=False)
    assert decisions["itq", "lsh"] == HolmDecision(0.001, 0.003, is_significant=True)
    assert decisions["pq", "itq"] == HolmDecision(0.3, 0.3, is_significant=False)


def test_is_monotonic() -> None:
    p_values = draw(30) ** 3
    adjusted = holm_adjust(p_values)
    order = p_values.argsort()
    assert bool((adjusted[order].diff() >= 0).all())
    assert bool((adjusted >= p_values).all())
    assert bool((adjusted <= 1).all())
    # a smaller p-value anywhere never makes another larger, and one more test never makes any smaller
    for position in range(30):
        smaller = p_values.clone()
        smaller[position] /= 2
        assert bool((holm_adjust(smaller) <= adjusted).all())
    more = holm_adjust(torch.cat([p_values, draw(1, seed=1)]))
    assert bool((more[:30] >= adjusted).all())


def test_order_is_irrelevant() -> None:
    p_values, order = draw(30), torch.randperm(30, generator=torch.Generator().manual_seed(0))
    assert torch.equal(holm_adjust(p_values[order]), holm_adjust(p_values)[order])


def test_ties_get_one_value() -> None:
    assert holm_adjust(torch.full((3,), 0.02, dtype=torch.float64)).tolist() == pytest.approx([0.06] * 3)


def test_false_alarms_stay_bounded() -> None:
    # ten tests of equal methods: uncorrected, 40 % of the families hold a false alarm
    families = draw(2000, 10)
    false_alarms = [bool((holm_adjust(family) <= 0.05).any()) for family in families]
    # binomial of 2000 at 0.05 has a deviation of 0.005
    assert sum(false_alarms) / 2000 == pytest.approx(0.05, abs=0.015)
