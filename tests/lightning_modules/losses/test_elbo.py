"""The two parts of the bound, and what weight and allowance make of them."""

import pytest
import torch
from torch import Tensor

from lightning_modules.losses import ElboTerms
from tests.draws import draw_double as draw
from tests.gradients import gradient_of

LATENT_DIM = 3


def make_terms(num_terms: int = LATENT_DIM) -> ElboTerms:
    return ElboTerms(10 * draw(5).float(), draw(5, num_terms, seed=1).abs().float(), LATENT_DIM)


def with_divergence(divergence: Tensor) -> ElboTerms:
    return ElboTerms(torch.zeros(len(divergence)), divergence, LATENT_DIM)


@pytest.mark.parametrize("num_terms", [LATENT_DIM, 1])
def test_negative_elbo_is_divergence_minus_log_likelihood(num_terms: int) -> None:
    terms = make_terms(num_terms)
    expected = [
        sum(divergence) - likelihood
        for divergence, likelihood in zip(terms.divergence.tolist(), terms.log_likelihood.tolist(), strict=True)
    ]
    assert terms.negative_elbo.tolist() == pytest.approx(expected, rel=1e-5)


def test_negative_elbo_of_hand_worked_numbers() -> None:
    terms = ElboTerms(torch.tensor([-7.0, 2.0]), torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.0, 3.0]]), LATENT_DIM)
    assert terms.negative_elbo.tolist() == [8.5, 1.0]
    assert float(terms.training_loss(beta=1.0)) == 4.75
    assert float(terms.training_loss(beta=0.5)) == 2.5 + 0.5 * 2.25
    # means 0.5, 0.25, 1.5, the first two raised to 1
    assert float(terms.training_loss(beta=0.5, free_bits=1.0)) == 2.5 + 0.5 * 3.5


@pytest.mark.parametrize("num_terms", [LATENT_DIM, 1])
def test_training_loss_at_full_weight_is_the_mean_negative_elbo(num_terms: int) -> None:
    terms = make_terms(num_terms)
    torch.testing.assert_close(terms.training_loss(beta=1.0), terms.negative_elbo.mean(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("free_bits", [0.0, 0.5])
def test_weight_zero_ignores_the_divergence(free_bits: float) -> None:
    terms = make_terms()
    divergence = terms.divergence.clone().requires_grad_()
    loss = ElboTerms(terms.log_likelihood, divergence, LATENT_DIM).training_loss(0.0, free_bits)
    torch.testing.assert_close(loss.detach(), -terms.log_likelihood.mean())
    loss.backward()
    assert torch.equal(gradient_of(divergence), torch.zeros(5, LATENT_DIM))


def test_loss_is_linear_in_the_weight() -> None:
    terms = make_terms()
    low, middle, high = (terms.training_loss(beta) for beta in (0.0, 0.5, 1.0))
    torch.testing.assert_close(middle, (low + high) / 2, rtol=1e-5, atol=1e-5)


def test_below_the_allowance_the_divergence_gets_no_gradient() -> None:
    divergence = torch.tensor([[0.1, 2.0, 0.3], [0.3, 2.0, 0.5]], requires_grad=True)  # means 0.2, 2, 0.4
    with_divergence(divergence).training_loss(beta=0.5, free_bits=0.5).backward()
    assert gradient_of(divergence).tolist() == [[0.0, 0.25, 0.0]] * 2  # beta over the size of the batch


def test_the_allowance_is_of_the_mean_over_the_batch() -> None:
    # one item below 0.5 and one above: the mean, 0.75, is above, and both get a gradient
    divergence = torch.tensor([[0.0, 0.0, 0.0], [1.5, 0.0, 0.0]], requires_grad=True)
    loss = with_divergence(divergence).training_loss(beta=1.0, free_bits=0.5)
    assert loss.item() == 0.75 + 0.5 + 0.5
    loss.backward()
    assert gradient_of(divergence).tolist() == [[0.5, 0.0, 0.0]] * 2


@pytest.mark.parametrize(("divergence", "slope"), [(1.4, 0.0), (1.6, 1.0)])
def test_one_term_has_the_allowance_of_all_dimensions(divergence: float, slope: float) -> None:
    term = torch.tensor([[divergence]], requires_grad=True)
    loss = with_divergence(term).training_loss(beta=1.0, free_bits=0.5)  # 3 dimensions: 1.5 nats
    assert loss.item() == pytest.approx(max(divergence, 1.5))
    loss.backward()
    assert gradient_of(term).item() == slope


def test_gradient_reaches_the_likelihood_whatever_the_weight() -> None:
    likelihood = draw(4).float().requires_grad_()
    ElboTerms(likelihood, draw(4, LATENT_DIM).abs().float(), LATENT_DIM).training_loss(0.3, 5.0).backward()
    assert gradient_of(likelihood).tolist() == [-0.25] * 4


def test_a_batch_of_one_item() -> None:
    terms = ElboTerms(torch.tensor([-2.0]), torch.tensor([[1.0, 2.0, 3.0]]), LATENT_DIM)
    assert terms.training_loss(1.0).item() == terms.negative_elbo.item() == 8.0
