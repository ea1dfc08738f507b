"""Laws of the soft-to-hard quantizer: hard forward, soft backward."""

import pytest
import torch
from torch import Tensor, nn

from retrieval.codes import StraightThroughProductQuantizer
from tests.draws import draw_double as draw
from tests.retrieval.codes.makers import fitted_on


def fitted(dim: int = 6, num_books: int = 2, temperature: float = 0.5) -> StraightThroughProductQuantizer:
    return fitted_on(draw(100, dim), StraightThroughProductQuantizer(dim, 3 * num_books, 8, temperature=temperature))


def soft_mixture(quantizer: StraightThroughProductQuantizer, vectors: Tensor) -> Tensor:
    """Slow oracle: sum_w softmax_w(-||x - c_w||^2 / temperature) c_w, one vector and book at a time."""
    rows = []
    for vector in torch.nn.functional.pad(vectors, (0, quantizer.num_books * quantizer.sub_dim - quantizer.dim)):
        slices = []
        for book, piece in zip(quantizer.codebooks, vector.split(quantizer.sub_dim), strict=True):
            logits = torch.stack([-(piece - word).square().sum() / quantizer.temperature for word in book])
            slices.append(logits.softmax(dim=0) @ book)
        rows.append(torch.cat(slices)[: quantizer.dim])
    return torch.stack(rows)


@pytest.mark.parametrize(("dim", "num_books"), [(6, 2), (7, 3)])
def test_forward_is_the_hard_decoding(dim: int, num_books: int) -> None:
    quantizer = fitted(dim, num_books)
    vectors = draw(20, dim, seed=1)
    torch.testing.assert_close(
        quantizer.quantize(vectors), quantizer.decode(quantizer.encode(vectors)), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(("dim", "num_books"), [(6, 2), (7, 3)])
def test_gradient_of_vectors_is_that_of_the_soft_mixture(dim: int, num_books: int) -> None:
    quantizer = fitted(dim, num_books)
    vectors, weight = draw(10, dim, seed=1).requires_grad_(), draw(10, dim, seed=2)
    (found,) = torch.autograd.grad((quantizer.quantize(vectors) * weight).sum(), vectors)
    (expected,) = torch.autograd.grad((soft_mixture(quantizer, vectors) * weight).sum(), vectors)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert bool((expected.abs().sum(dim=1) > 0).all())


def test_gradients_reach_every_codeword() -> None:
    quantizer = fitted()
    quantizer.quantize(draw(40, 6, seed=1)).square().sum().backward()
    gradient = quantizer.codebooks.grad
    assert gradient is not None
    assert bool(torch.isfinite(gradient).all())
    assert bool((gradient.abs().sum(dim=2) > 0).all())


def test_cold_assignments_let_only_the_chosen_codewords_learn() -> None:
    quantizer = fitted(temperature=1e-6)
    vectors = draw(3, 6, seed=1).requires_grad_()
    (by_quantize, of_vectors) = torch.autograd.grad(
        quantizer.quantize(vectors).square().sum(), [quantizer.codebooks, vectors]
    )
    (by_decode,) = torch.autograd.grad(
        quantizer.decode(quantizer.encode(vectors)).square().sum(), [quantizer.codebooks]
    )
    torch.testing.assert_close(by_quantize, by_decode, rtol=0, atol=1e-9)
    assert of_vectors.abs().max() < 1e-9


def test_hot_assignments_draw_vectors_nowhere() -> None:
    quantizer = fitted(temperature=1e9)
    vectors = draw(3, 6, seed=1).requires_grad_()
    (of_vectors,) = torch.autograd.grad(quantizer.quantize(vectors).square().sum(), vectors)
    assert of_vectors.abs().max() < 1e-6
    # the mixture is the mean of all codewords
    mean = quantizer.codebooks.mean(dim=1).flatten().expand(3, 6)
    torch.testing.assert_close(soft_mixture(quantizer, vectors), mean, rtol=0, atol=1e-6)


def test_steps_against_the_gradient_lower_the_distortion() -> None:
    quantizer = fitted()
    vectors = draw(60, 6, seed=3)
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (quantizer.quantize(vectors) - vectors).square().sum(dim=1).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]


def test_codebooks_are_parameters() -> None:
    quantizer = fitted()
    assert isinstance(quantizer.codebooks, nn.Parameter)
    assert [name for name, _ in quantizer.named_parameters()] == ["codebooks"]


def test_unfitted_codebooks_are_refused() -> None:
    with pytest.raises(RuntimeError, match="not fitted"):
        StraightThroughProductQuantizer(4, 6, 8).quantize(torch.zeros(1, 4))
