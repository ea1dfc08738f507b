"""Presence matrices and levels: laws, every pair of two categories, the level of the paper's figure."""

import itertools

import pytest
import torch
from torch import Tensor

from retrieval.metrics import SITUATIONS, label_levels, presence_matrix, similarity_level

NUM_CATEGORIES = 8


def draw_labels(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 2, (*shape, NUM_CATEGORIES), generator=torch.Generator().manual_seed(seed))


def draw_probs(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, NUM_CATEGORIES, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("labels", [draw_labels(2, 30).double(), draw_probs(2, 30)], ids=["labels", "probabilities"])
def test_rows_are_distributions_and_order_is_irrelevant(labels: Tensor) -> None:
    matrix = presence_matrix(labels[0], labels[1])
    assert matrix.shape == (30, NUM_CATEGORIES, len(SITUATIONS))
    torch.testing.assert_close(matrix.sum(dim=-1), torch.ones(30, NUM_CATEGORIES).double(), rtol=0, atol=1e-15)
    assert float(matrix.min()) >= 0
    assert torch.equal(matrix, presence_matrix(labels[1], labels[0]))


@pytest.mark.parametrize(("label", "other_label"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_labels_choose_one_situation(label: int, other_label: int) -> None:
    situation = {2: "both", 0: "neither", 1: "one"}[label + other_label]
    expected = [float(name == situation) for name in SITUATIONS]
    assert presence_matrix(torch.tensor([label]).float(), torch.tensor([other_label]).float()).tolist() == [expected]


def test_probabilities_are_those_of_independent_draws() -> None:
    probs = draw_probs(2)
    expected = torch.zeros(NUM_CATEGORIES, len(SITUATIONS), dtype=torch.float64)
    for label, other_label in itertools.product([0, 1], repeat=2):
        weight = (probs[0] if label else 1 - probs[0]) * (probs[1] if other_label else 1 - probs[1])
        expected[:, {2: 0, 0: 1, 1: 2}[label + other_label]] += weight
    torch.testing.assert_close(presence_matrix(probs[0], probs[1]), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("prob", [1e-7, 1e-4, 0.5, 1 - 1e-4, 1 - 6e-8])
@pytest.mark.parametrize("other_prob", [0.0, 1e-7, 1 - 1e-4, 1 - 6e-8, 1.0])
def test_rounding_makes_no_probability_negative(prob: float, other_prob: float) -> None:
    matrix = presence_matrix(torch.tensor([prob]), torch.tensor([other_prob]))
    assert float(matrix.min()) >= 0
    assert float(matrix.sum()) == pytest.approx(1, abs=1e-6)


def test_level_of_figure_two_is_four() -> None:
    # both contain two categories and both lack two; one alone contains the others
    label = torch.tensor([1, 1, 0, 0, 1, 1, 0, 0])
    other_label = torch.tensor([1, 1, 0, 0, 0, 0, 1, 1])
    matrix = presence_matrix(label.float(), other_label.float())
    assert matrix.argmax(dim=1).tolist() == [0, 0, 1, 1, 2, 2, 2, 2]
    assert float(similarity_level(matrix)) == 4
    assert label_levels(label[None], other_label[None]).tolist() == [[4]]


def test_level_counts_agreeing_categories() -> None:
    queries, items = draw_labels(6), draw_labels(9, seed=1)
    counted = [[sum(q == i for q, i in zip(query, item, strict=True)) for item in items.tolist()]
               for query in queries.tolist()]  # fmt: skip
    assert label_levels(queries, items).tolist() == counted
    pairs = presence_matrix(queries[:, None].expand(6, 9, -1).float(), items.expand(6, 9, -1).float())
    assert similarity_level(pairs).tolist() == counted


def test_level_of_a_clip_with_itself_is_the_number_of_categories() -> None:
    labels = torch.cat([draw_labels(5), torch.zeros(1, 8), torch.ones(1, 8)]).long()
    levels = label_levels(labels, labels)
    assert levels.diagonal().tolist() == [NUM_CATEGORIES] * 7
    assert torch.equal(levels, levels.T)
    # nothing against everything
    assert int(levels[-2, -1]) == 0


def test_expected_level_is_the_mean_over_draws_of_labels() -> None:
    probs = draw_probs(2)[:, :3]
    expected = 0.0
    for drawn in itertools.product([0, 1], repeat=6):
        labels = torch.tensor(drawn).reshape(2, 3)
        chance = float(torch.where(labels == 1, probs, 1 - probs).prod())
        expected += chance * int((labels[0] == labels[1]).sum())
    assert float(similarity_level(presence_matrix(probs[0], probs[1]))) == pytest.approx(expected, abs=1e-12)
