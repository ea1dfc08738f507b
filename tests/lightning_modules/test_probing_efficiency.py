"""What best-first probing evaluates, against an enumeration of all buckets."""

import math

import pytest
import torch

from lightning_modules.probing_efficiency import evaluated_until_found, share_at_recall
from tests.lightning_modules.makers import draw


def enumerate_buckets(z: list[float], codes: list[tuple[bool, ...]], target: int) -> int:
    """Probe all buckets in order of cost, and count items until the target's bucket has been emptied."""

    def cost(code: tuple[bool, ...]) -> float:
        return sum(abs(value) for value, bit in zip(z, code, strict=True) if (value > 0) != bit)

    num_evaluated = 0
    for code in sorted(set(codes), key=cost):
        num_evaluated += codes.count(code)
        if code == codes[target]:
            return num_evaluated
    raise AssertionError("the target has a bucket")


def test_items_evaluated_are_those_that_an_enumeration_meets() -> None:
    z, bits, target = draw(20, 5), draw(200, 5, seed=1) > 0, torch.arange(20) * 7
    found = evaluated_until_found(z, bits, target)
    codes = [tuple(row) for row in bits.tolist()]
    expected = [enumerate_buckets(z[row].tolist(), codes, int(target[row])) for row in range(20)]
    assert found.tolist() == expected


def test_a_query_of_the_targets_own_code_evaluates_one_bucket() -> None:
    bits = torch.tensor([[True, False], [True, False], [False, False], [True, True]])
    assert evaluated_until_found(torch.tensor([[0.3, -2.0]]), bits, torch.tensor([0])).tolist() == [2]
    # the farthest bucket comes last
    assert evaluated_until_found(torch.tensor([[-0.3, 2.0]]), bits, torch.tensor([0])).tolist() == [4]


def test_items_in_chunks_count_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    z, bits, target = draw(6, 4), draw(50, 4, seed=1) > 0, torch.arange(6)
    at_once = evaluated_until_found(z, bits, target)
    monkeypatch.setattr("lightning_modules.probing_efficiency._CHUNK_ITEMS", 7)
    assert torch.equal(evaluated_until_found(z, bits, target), at_once)


@pytest.mark.parametrize(("recall", "expected"), [(0.9, 9), (0.91, 10), (1.0, 10), (0.05, 1)])
def test_the_share_that_answers_so_many_queries(recall: float, expected: int) -> None:
    num_evaluated = torch.tensor([10, 1, 9, 2, 8, 3, 7, 4, 6, 5])
    assert share_at_recall(num_evaluated, 100, recall) == pytest.approx(expected / 100)


def test_no_answered_query_has_no_share() -> None:
    assert math.isnan(share_at_recall(torch.zeros(0, dtype=torch.int64), 5, 0.9))


@pytest.mark.parametrize("recall", [0.0, 1.1])
def test_a_recall_that_is_none_is_refused(recall: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        share_at_recall(torch.ones(2, dtype=torch.int64), 5, recall)
