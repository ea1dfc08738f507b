"""McNemar's test against statsmodels, published tables and hand-worked ones."""

import pytest
import torch
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_of_statsmodels
from torch import Tensor

from retrieval.metrics import ContingencyTable, McNemarMethod, contingency_table, mcnemar, mcnemar_of_table

TABLES = [(30, 12, 5, 8), (0, 1, 0, 0), (4, 0, 9, 1), (100, 40, 60, 3), (292, 52, 1472, 184)]


def draw_correct(*shape: int, prob: float = 0.5, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < prob


@pytest.mark.parametrize("counts", TABLES)
@pytest.mark.parametrize("method", ["exact", "corrected"])
def test_equals_statsmodels(counts: tuple[int, int, int, int], method: McNemarMethod) -> None:
    test = mcnemar_of_table(ContingencyTable(*counts), method)
    expected = mcnemar_of_statsmodels([counts[:2], counts[2:]], exact=method == "exact", correction=True)
    assert test.statistic == pytest.approx(expected.statistic, rel=1e-12)
    # the p-value of the widest table underflows in both
    assert test.p_value == pytest.approx(expected.pvalue, rel=1e-9, abs=1e-300)
    assert (test.table, test.method) == (ContingencyTable(*counts), method)


@pytest.mark.parametrize(
    ("counts", "statistic"),
    [
        ((292, 52, 1472, 184), 1321.234),
        ((310, 33, 1511, 146), 1412.907),
        ((25, 3, 1523, 449), 1512.032),
        ((33, 3, 1615, 349), 1604.030),
    ],
)
def test_reproduces_a_published_statistic(counts: tuple[int, int, int, int], statistic: float) -> None:
    # VAE against YAMNet embeddings on ESC-50, paper 002, tables 4.7 and 4.8
    test = mcnemar_of_table(ContingencyTable(*counts), "corrected")
    assert test.statistic == pytest.approx(statistic, abs=5e-4)
    assert test.p_value < 5e-4
    assert test.table.num_queries == 2000


def test_hand_worked_tables() -> None:
    # five disagreements, all for b: 2 / 2^5
    assert mcnemar_of_table(ContingencyTable(3, 0, 5, 2)).p_value == pytest.approx(0.0625)
    # 1 against 3: 2 (1 + 4) / 2^4
    assert mcnemar_of_table(ContingencyTable(3, 1, 3, 2)).p_value == pytest.approx(0.625)
    # (|1 - 9| - 1)^2 / 10
    assert mcnemar_of_table(ContingencyTable(0, 1, 9, 0), "corrected").statistic == pytest.approx(4.9)


def test_queries_are_counted_into_the_right_cells() -> None:
    correct_a = torch.tensor([True, True, True, True, True, True, False, False, False, False])
    correct_b = torch.tensor([True, True, True, False, False, False, True, True, False, False])
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    assert contingency_table(correct_a[order], correct_b[order]) == ContingencyTable(3, 3, 2, 2)
    assert mcnemar(correct_a, correct_b) == mcnemar_of_table(ContingencyTable(3, 3, 2, 2))


@pytest.mark.parametrize("method", ["exact", "corrected"])
def test_swapping_methods_keeps_the_test(method: McNemarMethod) -> None:
    correct_a, correct_b = draw_correct(80, prob=0.7), draw_correct(80, seed=1)
    forward, backward = mcnemar(correct_a, correct_b, method), mcnemar(correct_b, correct_a, method)
    assert (backward.table.only_a_correct, backward.table.only_b_correct) == (
        forward.table.only_b_correct,
        forward.table.only_a_correct,
    )
    assert (backward.statistic, backward.p_value) == pytest.approx((forward.statistic, forward.p_value))


@pytest.mark.parametrize("method", ["exact", "corrected"])
def test_methods_that_agree_or_draw_give_no_evidence(method: McNemarMethod) -> None:
    correct = draw_correct(20)
    never_disagree = mcnemar(correct, correct, method)
    assert (never_disagree.statistic, never_disagree.p_value) == (0, 1)
    assert mcnemar_of_table(ContingencyTable(1, 6, 6, 1), method).p_value == 1
    assert mcnemar_of_table(ContingencyTable(1, 6, 6, 1), "corrected").statistic == 0


@pytest.mark.parametrize("method", ["exact", "corrected"])
def test_equal_methods_are_seldom_told_apart(method: McNemarMethod) -> None:
    pairs = draw_correct(500, 2, 200, prob=0.6)
    p_values = torch.tensor([mcnemar(pair[0], pair[1], method).p_value for pair in pairs], dtype=torch.float64)
    # both are conservative, since counts are whole: at most the level, plus three deviations of a binomial of 500
    for level, least, most in [(0.05, 0.01, 0.08), (0.2, 0.1, 0.26)]:
        assert least <= float((p_values <= level).double().mean()) <= most
