"""A front end whose output can be worked out by hand, and that remembers what it was called with."""

import time
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from datamodules import ClipDataModule

FRAME_SAMPLES = 1000
DataT = TypeVar("DataT", bound=ClipDataModule[Any])


class CountingFrontEnd(nn.Module):
    """Peak and mean of the absolute samples in frames of 1,000 samples, and a constant third value.

    Args:
        gain: Factor on the output; one of its settings.
        calls_until_failure: Calls after which it raises, as if the run was killed; None is never.
        call_log: File that gets one line a call, for counting over processes.
        seconds_a_call: Time a call takes at least.
    """

    frame_dim = 3

    def __init__(
        self,
        gain: float = 1.0,
        calls_until_failure: int | None = None,
        call_log: Path | None = None,
        seconds_a_call: float = 0.0,
    ) -> None:
        super().__init__()
        self.gain = gain
        self.calls_until_failure = calls_until_failure
        self.call_log = call_log
        self.seconds_a_call = seconds_a_call
        self.lengths: list[int] = []
        self.rates_hz: list[int] = []

    def prepare(self) -> None:
        pass

    def settings(self) -> dict[str, object]:
        return {"gain": self.gain}

    def forward(self, waveform: Tensor, sample_rate_hz: int) -> Tensor:
        if self.calls_until_failure is not None and len(self.lengths) >= self.calls_until_failure:
            raise RuntimeError("killed")
        self.lengths.append(waveform.shape[1])
        self.rates_hz.append(sample_rate_hz)
        if self.call_log is not None:
            with self.call_log.open("a") as file:
                file.write(f"{waveform.shape[1]}\n")
        time.sleep(self.seconds_a_call)
        missing = -waveform.shape[1] % FRAME_SAMPLES
        frames = torch.nn.functional.pad(waveform, (0, missing)).unflatten(1, (-1, FRAME_SAMPLES)).abs()
        return torch.stack([frames.amax(2), frames.mean(2), torch.ones_like(frames[:, :, 0])], dim=2) * self.gain


def embedded(data: DataT) -> DataT:
    """Return a data module that has its clips embedded by a front end of its own."""
    data.embed_with(CountingFrontEnd())
    return data
