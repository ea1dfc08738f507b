"""What travels is expanded exactly, and what needs no expansion stays as it is."""

import numpy as np
import torch

from datamodules.batches.compact_batch import NO_ROOM, BatchExpander, first_rooms
from datamodules.distortion.rooms import RoomSet


def _rooms(count: int, seed: int) -> RoomSet:
    responses = np.random.default_rng(seed).standard_normal((count, 5)).astype(np.float32)
    return RoomSet([f"{seed}-{number}" for number in range(count)], responses, np.full(count, 0.5))


TRAIN, TEST = _rooms(3, 1), _rooms(2, 2)


def test_every_step_of_16_bits_is_exact() -> None:
    steps = torch.arange(-32_768, 32_768)
    batch = {"waveform": steps.to(torch.int16)[None], "noise": steps.flip(0).to(torch.int16)[None]}
    expanded = BatchExpander(TRAIN, TEST)(batch)
    assert {value.dtype for value in expanded.values()} == {torch.float32}
    assert torch.equal(expanded["waveform"].double(), steps[None].double() / 32_768)
    assert torch.equal(expanded["noise"], expanded["waveform"].flip(1))
    assert batch["waveform"].dtype == torch.int16  # what was given is left alone


def test_rooms_are_numbered_through_after_none() -> None:
    first_train, first_test = first_rooms(TRAIN, TEST)
    numbers = [first_test + 1, NO_ROOM, first_train, first_test, first_train + 2]
    room = BatchExpander(TRAIN, TEST)({"room": torch.tensor(numbers)})["room"]
    impulse = np.eye(5, dtype=np.float32)[0]
    expected = [TEST.responses[1], impulse, TRAIN.responses[0], TEST.responses[0], TRAIN.responses[2]]
    np.testing.assert_array_equal(room, np.stack(expected))
    assert room.dtype == torch.float32


def test_sides_without_a_room_take_no_number() -> None:
    none = _rooms(0, 3)
    assert first_rooms(none, TEST) == [1, 1]
    room = BatchExpander(none, TEST)({"room": torch.tensor([1, 2])})["room"]
    np.testing.assert_array_equal(room, TEST.responses)


def test_what_is_float_and_other_fields_stay() -> None:
    generator = torch.Generator().manual_seed(0)
    batch = {
        "waveform": torch.randn(2, 7, generator=generator),
        "noise": torch.randint(-9, 9, (2, 4), generator=generator, dtype=torch.int16),
        "room": torch.tensor([0, 4]),
        "track": torch.tensor([3, 1]),
    }
    expand = BatchExpander(TRAIN, TEST)
    expanded = expand(batch)
    assert list(expanded) == list(batch)
    assert expanded["waveform"] is batch["waveform"]
    assert expanded["track"] is batch["track"]
    again = expand(expanded)
    assert all(torch.equal(again[name], value) for name, value in expanded.items())
    assert expand({"track": batch["track"]}) == {"track": batch["track"]}
