"""A loader whose batches depend on seed, epoch and position alone, and that goes on in the middle of an epoch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from datamodules.batches.feature_dataset import pass_batch


class EpochSampler(DistributedSampler[dict[str, Tensor]]):
    """Number the items of all epochs through: epoch * items + item; processes take turns.

    The dataset draws an item from its number, so that it need not be shuffled. Lightning sets the epoch, and leaves a
    `DistributedSampler` alone.

    Args:
        num_items: Items of an epoch, over all processes; those that don't divide evenly are left out.
        num_processes: Processes that train.
        rank: This one's number.
        shuffle_seed: Seed of each epoch's order of items; None is as they come.
    """

    def __init__(self, num_items: int, num_processes: int, rank: int, shuffle_seed: int | None = None) -> None:
        super().__init__(range(num_items), num_processes, rank, shuffle=False, drop_last=True)  # type: ignore[arg-type]
        self._num_items = num_items
        self._shuffle_seed = shuffle_seed
        self.num_skipped = 0  # items at the start of this process's next pass

    def __iter__(self) -> Iterator[int]:  # type: ignore[override]  # torch's types know datasets of items only
        first = self.epoch * self._num_items
        begin = self.rank + self.num_skipped * self.num_replicas
        if self._shuffle_seed is None:
            return iter(range(first + begin, first + self.total_size, self.num_replicas))
        order = np.random.default_rng([self._shuffle_seed, self.epoch]).permutation(self._num_items)
        return iter((first + order[begin : self.total_size : self.num_replicas]).tolist())


class ShuffledSampler(EpochSampler):
    """Give positions of items in an order of each epoch's own; processes take turns.

    Args:
        num_items: Items of an epoch, over all processes; those that don't divide evenly are left out, others each time.
        num_processes: Processes that train.
        rank: This one's number.
        seed: Seed of the order; None is that of torch, which `seed_everything` sets.
    """

    def __init__(self, num_items: int, num_processes: int, rank: int, seed: int | None = None) -> None:
        super().__init__(num_items, num_processes, rank, torch.initial_seed() if seed is None else seed)

    def __iter__(self) -> Iterator[int]:  # type: ignore[override]  # torch's types know datasets of items only
        return (number % self._num_items for number in super().__iter__())


class ResumableLoader(DataLoader[dict[str, Tensor]]):
    """Serve batches; Lightning stores in a checkpoint how many it had served of the epoch.

    Args:
        dataset: Has `__getitems__`, which returns the batch of a list of item numbers.
        sampler: Numbers the items.
        batch_size: Items a batch.
        num_workers: Processes that fetch batches.
        drop_last: Whether an incomplete last batch is left out.
    """

    def __init__(
        self,
        dataset: Dataset[dict[str, Tensor]],
        sampler: EpochSampler,
        batch_size: int,
        num_workers: int,
        *,
        drop_last: bool = True,
    ) -> None:
        super().__init__(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            collate_fn=pass_batch,  # type: ignore[arg-type]  # torch's types know lists of items only
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            drop_last=drop_last,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # or each pass would draw from torch's own random numbers
        )
        self._epoch_sampler = sampler
        self._num_served = 0
        self._num_to_skip = 0

    def __iter__(self) -> Iterator[dict[str, Tensor]]:  # type: ignore[override]  # torch promises its own iterator
        # A generator: it asks the sampler at the first batch, when Lightning has set the epoch.
        self._num_served, self._num_to_skip = self._num_to_skip, 0
        self._epoch_sampler.num_skipped = self._num_served * (self.batch_size or 1)
        for batch in super().__iter__():
            self._num_served += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return the batches served of this epoch."""
        return {"num_served": self._num_served}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin the next pass after the batches served; at the start if that was all of them."""
        self._num_to_skip = state["num_served"] % len(self)
