"""Gather a tensor from all processes, with gradients."""

from typing import Any

import torch
import torch.distributed
from jaxtyping import Shaped
from torch import Tensor


def gather_processes(value: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "process *shape"]:
    """Return the tensors of all processes, which are of one shape; a gradient goes back to where its part came from.

    A process's part gets the sum of what all processes' losses ask of it.
    """
    gathered: Tensor = _Gather.apply(value.contiguous())  # type: ignore[no-untyped-call]  # torch ships no type
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ANN401 - as torch has it
        parts = [torch.empty_like(value) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, value)
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        total = gradient.contiguous().clone()
        torch.distributed.all_reduce(total)
        return total[torch.distributed.get_rank()]
