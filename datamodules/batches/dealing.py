"""How a data module deals what is predicted to the processes of its trainer."""

from collections.abc import Iterator

import pytorch_lightning as pl
from torch import Tensor
from torch.utils.data import DistributedSampler


def processes_and_rank(trainer: pl.Trainer | None) -> tuple[int, int]:
    """Return the number of processes and this one's own; one and 0 without a trainer."""
    return (trainer.world_size, trainer.global_rank) if trainer is not None else (1, 0)


class WholeBatchSampler(DistributedSampler[dict[str, Tensor]]):
    """Deal whole batches to processes, each a run of neighbours: what is in a batch doesn't depend on their number.

    So predictions don't either, not even in their last bits. Where there are fewer batches than processes, some are
    dealt twice. Lightning leaves a `DistributedSampler` alone.

    Args:
        num_items: Items in all.
        batch_size: Items a batch, but for the last.
        num_processes: Processes that predict.
        rank: This one's number.
    """

    def __init__(self, num_items: int, batch_size: int, num_processes: int, rank: int) -> None:
        super().__init__(range(num_items), num_processes, rank, shuffle=False)  # type: ignore[arg-type]
        num_batches = -(-num_items // batch_size)
        first = num_batches * rank // num_processes
        after = max(first + 1, num_batches * (rank + 1) // num_processes)
        self._items = range(first * batch_size, min(after * batch_size, num_items))

    def __iter__(self) -> Iterator[int]:  # type: ignore[override]  # torch's types know datasets of items only
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)
