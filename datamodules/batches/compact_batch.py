"""How sound travels from loaders to the device: as 16-bit PCM, and rooms by their number.

A batch is less than half as large so, and quicker to make. Next to what it has in the end (see `base.py`),
it has on its way

    waveform   int16 [batch, time]   full scale at `FULL_SCALE`; float32 where audio is not stored but streamed
    noise      int16 [batch, time]   likewise
    room       int64 [batch]         position in the table of responses; 0 is an impulse, no room at all
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from datamodules.caches.pcm_store import FULL_SCALE
from datamodules.distortion.rooms import RoomSet

NO_ROOM = 0
_SOUNDS = ("waveform", "noise")


def first_rooms(*sets: RoomSet) -> list[int]:
    """Return where the responses of each set begin in the table of all."""
    ends = np.cumsum([NO_ROOM + 1, *(len(rooms.names) for rooms in sets)])
    return [int(end) for end in ends[:-1]]


class BatchExpander:
    """Make waveforms and impulse responses of what has travelled.

    Args:
        sets: Rooms, in the order of `first_rooms`; all of one length.
    """

    def __init__(self, *sets: RoomSet) -> None:
        impulse = np.zeros((1, sets[0].responses.shape[1]), np.float32)
        impulse[0, 0] = 1
        table = np.concatenate([impulse, *(rooms.responses for rooms in sets)])
        self._tables = {torch.device("cpu"): torch.from_numpy(table)}

    def __call__(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the batch with float32 sound and responses, computed where the batch is; what is float stays."""
        expanded = dict(batch)
        for name in _SOUNDS:
            if name in batch and not batch[name].is_floating_point():
                expanded[name] = batch[name].float().mul_(1 / FULL_SCALE)
        if "room" in batch and not batch["room"].is_floating_point():
            expanded["room"] = self._table(batch["room"].device)[batch["room"]]
        return expanded

    def _table(self, device: torch.device) -> Tensor:
        if device not in self._tables:
            self._tables[device] = self._tables[torch.device("cpu")].to(device)
        return self._tables[device]
