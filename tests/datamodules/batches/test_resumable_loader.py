"""Batches depend on epoch and position alone, and an interrupted epoch goes on where it stopped."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.batches.resumable_loader import EpochSampler, ResumableLoader, ShuffledSampler


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


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.processes)])
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


def _shuffled(num_items: int, num_processes: int = 1, rank: int = 0, seed: int = 0) -> ResumableLoader:
    sampler = ShuffledSampler(num_items, num_processes, rank, seed)
    return ResumableLoader(_Numbers(), sampler, 4, 0, drop_last=False)


def test_each_epoch_and_seed_has_an_order_of_its_own() -> None:
    orders = [_flat(_epoch(_shuffled(18, seed=seed), epoch)) for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert all(sorted(order) == list(range(18)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert _flat(_epoch(_shuffled(18), 1)) == orders[1]


def test_processes_share_a_shuffled_epoch() -> None:
    whole = _epoch(_shuffled(24), 3)
    shares = [[number for batch in _epoch(_shuffled(24, 2, rank), 3) for number in batch] for rank in range(2)]
    # the first batches of both are the first two batches of one process, and so on
    assert [sorted(shares[0][i : i + 4] + shares[1][i : i + 4]) for i in (0, 4, 8)] == [
        sorted(whole[2 * i] + whole[2 * i + 1]) for i in range(3)
    ]


@pytest.mark.parametrize("num_processes", [1, 2])
def test_interrupted_shuffled_epoch_goes_on(num_processes: int) -> None:
    whole = _epoch(_shuffled(22, num_processes, num_processes - 1), 5)
    loader = _shuffled(22, num_processes, num_processes - 1)
    loader.sampler.set_epoch(5)  # type: ignore[attr-defined]
    batches = iter(loader)
    seen = [next(batches)["number"].tolist() for _ in range(2)]
    torch.rand(7)  # whatever else draws meanwhile
    resumed = _shuffled(22, num_processes, num_processes - 1)
    resumed.load_state_dict(loader.state_dict())
    assert seen + _epoch(resumed, 5) == whole


def test_the_order_comes_from_the_seed_of_torch_and_draws_nothing() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    order = _flat(_epoch(ResumableLoader(_Numbers(), ShuffledSampler(16, 1, 0), 4, 0), 0))
    assert torch.equal(torch.get_rng_state(), before)
    assert order == _flat(_epoch(_shuffled(16, seed=5), 0))
