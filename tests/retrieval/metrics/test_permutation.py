"""The sign-flip test against scipy, McNemar's exact test, enumeration and its own null distribution."""

from itertools import product

import numpy as np
import pytest
import scipy.stats
import torch

import retrieval.metrics.permutation as permutation_file
from retrieval.metrics import ContingencyTable, mcnemar_of_table, sign_flip_p_value
from tests.draws import draw_double as draw


@pytest.mark.parametrize("count", [1, 2, 5, 9])
@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_few_queries_are_enumerated(count: int, shift: float) -> None:
    differences = draw(count, seed=count) + shift
    sums = [
        sum(s * d for s, d in zip(signs, differences.tolist(), strict=True)) for signs in product([1, -1], repeat=count)
    ]
    expected = sum(abs(value) >= abs(float(differences.sum())) - 1e-12 for value in sums) / 2**count
    assert sign_flip_p_value(differences) == pytest.approx(expected, abs=1e-12)


def test_enumeration_equals_scipy() -> None:
    differences = draw(12) + 0.4
    expected = scipy.stats.permutation_test(
        (differences.numpy(),), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_p_value(differences) == pytest.approx(float(expected.pvalue), abs=1e-12)


@pytest.mark.parametrize("count", [64, 65, 300])
def test_drawn_flips_agree_with_scipy(count: int) -> None:
    differences = draw(count) + 1.2 / count**0.5
    expected = scipy.stats.permutation_test(
        (differences.numpy(),), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)
    )
    # two estimates of 20,000 draws each differ by 0.005 or less in deviation, whatever the p
    assert sign_flip_p_value(differences, 20_000) == pytest.approx(float(expected.pvalue), abs=0.015)


def test_drawing_estimates_the_enumerated_value() -> None:
    differences = draw(12) + 0.3
    exact = sign_flip_p_value(differences, 4096)
    assert sign_flip_p_value(differences, 4095, seed=1) == pytest.approx(exact, abs=0.03)
    assert exact * 4096 == pytest.approx(round(exact * 4096))


def test_right_or_wrong_answers_give_the_exact_test_of_mcnemar() -> None:
    differences = torch.tensor([1.0] * 9 + [-1.0] * 3 + [0.0] * 50)
    assert sign_flip_p_value(differences) == pytest.approx(mcnemar_of_table(ContingencyTable(25, 9, 3, 25)).p_value)


def test_equal_sums_count_as_equal_in_single_precision() -> None:
    # 0.3 - 0.1 and 0.9 - 0.7 differ in their last digits; on paper all are 0.2, and 2 of 8 flips reach the observed sum
    differences = torch.tensor([0.3, 0.9, 0.5]) - torch.tensor([0.1, 0.7, 0.3])
    assert len(set(differences.tolist())) > 1
    assert sign_flip_p_value(differences) == 0.25
    two_against_one = differences * torch.tensor([1, 1, -1])
    assert sign_flip_p_value(two_against_one) == 1


@pytest.mark.parametrize("count", [8, 60])
def test_only_magnitudes_and_the_total_matter(count: int) -> None:
    differences = draw(count) + 0.2
    p_value = sign_flip_p_value(differences)
    assert sign_flip_p_value(-differences) == p_value
    assert sign_flip_p_value(differences * 7) == p_value
    assert sign_flip_p_value(torch.cat([torch.zeros(5, dtype=torch.float64), differences])) == p_value


def test_p_values_of_equal_methods_are_uniform() -> None:
    # symmetric but neither normal nor of one scale
    differences = draw(400, 30) ** 3 * torch.linspace(0.1, 2, 30, dtype=torch.float64)
    p_values = [sign_flip_p_value(row, 999, seed=seed) for seed, row in enumerate(differences)]
    # the distance of 400 uniform values exceeds 1.63 / 20 once in a hundred times
    assert scipy.stats.kstest(p_values, "uniform").statistic < 1.63 / 20


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = draw(70) + 0.1
    whole = sign_flip_p_value(differences, 1000)
    monkeypatch.setattr(permutation_file, "_BATCH_SIGNS", 70 * 37)
    assert sign_flip_p_value(differences, 1000) == whole
    monkeypatch.setattr(permutation_file, "_BATCH_SIGNS", 1)
    assert sign_flip_p_value(differences, 1000) == whole


def test_depends_on_the_seed_alone() -> None:
    differences = draw(70) + 0.1
    np.random.seed(1)
    first = sign_flip_p_value(differences, 1000, seed=3)
    np.random.seed(2)
    assert sign_flip_p_value(differences, 1000, seed=3) == first
    assert len({sign_flip_p_value(differences, 1000, seed=seed) for seed in range(8)}) > 1


def test_extremes() -> None:
    assert sign_flip_p_value(torch.zeros(40)) == 1
    assert sign_flip_p_value(torch.ones(200), 999) == 1 / 1000
    assert sign_flip_p_value(torch.ones(1)) == 1
