"""Batches depend on epoch and position alone, and an interrupted epoch goes on where it stopped."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.resumable_loader import EpochSampler, ResumableLoader


class _Numbers(Dataset[dict[str, Tensor]]):
    """Return the numbers asked for."""

    def __getitems__(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        return {"number": torch.tensor(numbers)}


def _loader(num_items: int = 20, num_processes: int = 1, rank: int = 0, num_workers: int = 0) -> ResumableLoader:
    return ResumableLoader(_Numbers(), EpochSampler(num_items, num_processes, rank), 4, num_workers)


def _epoch(loader: ResumableLoader, epoch: int) -> list[list[int]]:
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return [batch["number"].tolist() for batch in loader]


def _flat(batches: list[list[int]]) -> list[int]:
    return [number for batch in batches for number in batch]


def test_items_of_all_epochs_are_numbered_through() -> None:
    loader = _loader(18)
    assert len(loader) == 4  # the incomplete batch is left out
    assert _flat(_epoch(loader, 0)) == list(range(16))
    assert _flat(_epoch(loader, 3)) == list(range(54, 70))


def test_processes_take_turns() -> None:
    numbers = [_flat(_epoch(_loader(25, 3, rank), 1)) for rank in range(3)]
    assert numbers[0] == list(range(25, 49, 3))
    assert sorted(_flat(numbers)) == list(range(25, 49))


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("num_processes", [1, 2])
def test_interrupted_epoch_goes_on(num_workers: int, num_processes: int) -> None:
    whole = _epoch(_loader(20 * num_processes, num_processes, num_processes - 1), 2)
    loader = _loader(20 * num_processes, num_processes, num_processes - 1)
    loader.sampler.set_epoch(2)  # type: ignore[attr-defined]
    batches = iter(loader)
    seen = [next(batches)["number"].tolist() for _ in range(3)]
    state = loader.state_dict()
    resumed = _loader(20 * num_processes, num_processes, num_processes - 1, num_workers)
    resumed.load_state_dict(state)
    assert seen + _epoch(resumed, 2) == whole
    assert len(resumed) == 5
    assert resumed.state_dict() == {"num_served": 5}
    following = _loader(20 * num_processes, num_processes, num_processes - 1)
    assert _epoch(resumed, 3) == _epoch(following, 3)


def test_finished_epoch_is_followed_by_a_whole_one() -> None:
    loader = _loader()
    _epoch(loader, 0)
    resumed = _loader()
    resumed.load_state_dict(loader.state_dict())
    assert len(_epoch(resumed, 1)) == 5


def test_epoch_set_after_the_iterator_was_made_counts() -> None:
    loader = _loader()
    batches = iter(loader)
    loader.sampler.set_epoch(7)  # type: ignore[attr-defined]
    assert next(batches)["number"].tolist() == [140, 141, 142, 143]
