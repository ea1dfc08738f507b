"""What is predicted is dealt in whole batches, to all processes, in order."""

import pytest

from datamodules.batches.dealing import WholeBatchSampler, processes_and_rank


@pytest.mark.parametrize("num_items", [1, 8, 9, 40, 41])
@pytest.mark.parametrize("num_processes", [1, 2, 3, 7])
def test_batches_are_those_of_one_process(num_items: int, num_processes: int) -> None:
    whole = [list(range(start, min(start + 8, num_items))) for start in range(0, num_items, 8)]
    dealt = []
    for rank in range(num_processes):
        sampler = WholeBatchSampler(num_items, 8, num_processes, rank)
        own = list(sampler)
        assert len(own) == len(sampler) > 0
        dealt += [own[start : start + 8] for start in range(0, len(own), 8)]
    assert all(batch in whole for batch in dealt)
    if num_processes <= len(whole):  # else some are dealt twice
        assert dealt == whole
    assert {item for batch in dealt for item in batch} == set(range(num_items))


def test_shares_differ_by_one_batch_at_most() -> None:
    sizes = [len(WholeBatchSampler(80, 8, 3, rank)) for rank in range(3)]
    assert sum(sizes) == 80
    assert max(sizes) - min(sizes) == 8


def test_without_a_trainer_there_is_one_process() -> None:
    assert processes_and_rank(None) == (1, 0)
