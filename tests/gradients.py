"""What a backward pass has to leave."""

from collections.abc import Iterable

import torch
from torch import Tensor


def gradient_of(leaf: Tensor) -> Tensor:
    """Return the gradient that reached a leaf, all of it finite."""
    assert leaf.grad is not None
    assert bool(torch.isfinite(leaf.grad).all())
    return leaf.grad


def assert_gradients_reach(leaves: Iterable[tuple[str, Tensor]]) -> None:
    for name, leaf in leaves:
        assert leaf.grad is not None, name
        assert bool(torch.isfinite(leaf.grad).all()), name
        assert float(leaf.grad.abs().max()) > 0, name
