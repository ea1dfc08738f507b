"""A batch that several processes share: one process would have it in one piece, and everybody computes as if it did.

Samplers deal items in turn: of n processes, process r has rows r, r + n, ... of the global batch. What is random is
drawn for the global batch, by all alike, and each process keeps the rows that are its own; losses that compare rows
with each other gather them first. A run in n processes is then the run in one process whose batches are n times as
large, but for dropout, whose masks are drawn for each process's own batch.
"""

from collections.abc import Iterable, Mapping

import pytorch_lightning as pl
import torch
import torch.distributed
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from lightning_modules.networks.process_gather import gather_processes


def process_turn() -> tuple[int, int]:
    """Return this process's number, and how many there are: 0 and 1 where it is alone."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def gather_batch(value: Shaped[Tensor, "batch *rest"]) -> Shaped[Tensor, "global *rest"]:
    """Return the rows of all processes' batches, in the order of the global batch; gradients reach every process.

    Each process then computes the same loss; data-parallel training takes the mean of their gradients, which is that of
    one process.

    Args:
        value: As many rows on each process.
    """
    if process_turn()[1] == 1:
        return value
    return gather_processes(value).transpose(0, 1).flatten(0, 1)


def own_rows(value: Shaped[Tensor, "global *rest"]) -> Shaped[Tensor, "batch *rest"]:
    """Return the rows of the global batch that are this process's."""
    rank, num_processes = process_turn()
    return value[rank::num_processes]


def log_scores(module: pl.LightningModule, stage: str, scores: Mapping[str, float], num_queries: int) -> None:
    """Log as `stage/name` what every process computed alike, so that callbacks of each find it to decide by."""
    module.log_dict(
        {f"{stage}/{name}": value for name, value in scores.items()}, batch_size=num_queries, sync_dist=True
    )


def keep_in_graph(loss: Float[Tensor, ""], resting: Iterable[nn.Parameter]) -> Float[Tensor, ""]:
    """Add zero times parameters that a loss doesn't depend on: data-parallel training waits for a gradient of each.

    `let_rest` takes these gradients away again.
    """
    if process_turn()[1] > 1:
        for parameter in resting:
            loss = loss + 0.0 * parameter.sum()
    return loss


def let_rest(resting: Iterable[nn.Parameter]) -> None:
    """Drop the gradients of parameters, so that no optimizer moves them, not by momentum nor by weight decay."""
    for parameter in resting:
        parameter.grad = None
