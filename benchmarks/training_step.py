"""What a training step of a fingerprinter costs, part by part, and how far it is from what the device could do.

Operations are counted by torch; bytes are what has to move at least: the batch and its spectrograms once each way, what
the backward pass keeps written and read once, weights with their gradients and both moments of Adam. Both ceilings, a
large matrix product and a large copy, are measured on the same device in the same run.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from lightning_modules import Fingerprinter
from lightning_modules.losses import contrastive_loss
from retrieval.index import nearest_by_inner_product

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
_WARM_UP = 5
# weights and both moments read and written, gradients written and read, in float32
_ADAM_BYTES_PER_WEIGHT = 4 * 8
_CHUNK_ITEMS = 1_000_000


@dataclass(frozen=True)
class Ceilings:
    """What the device can do.

    Attributes:
        teraflops: Operations a second of a large matrix product, by precision; 1e12.
        terabytes: Bytes a second read and written by a large copy; 1e12.
    """

    teraflops: Mapping[str, float]
    terabytes: float


@dataclass(frozen=True)
class StepMeasurement:
    """Training steps on a batch that is on the device.

    Attributes:
        variant: Precision, and whether the encoder is compiled.
        steps_per_second: Of distortion, log-mel, encoder, loss, backward pass and optimizer.
        pairs_per_second: Pairs trained on.
        milliseconds: Of a step.
        floor_milliseconds: The longer of operations and bytes at their ceilings.
        times_floor: Measured over floor.
    """

    variant: str
    steps_per_second: float
    pairs_per_second: float
    milliseconds: float
    floor_milliseconds: float
    times_floor: float


@dataclass(frozen=True)
class PartMeasurement:
    """One part of a step, with the device idle before and after it.

    Attributes:
        part: Its name.
        milliseconds: Mean.
        percent: Of the sum of all parts but the data path, which other processes run at the same time.
    """

    part: str
    milliseconds: float
    percent: float


@dataclass(frozen=True)
class DeviceSearch:
    """Exact search of a large database on the device.

    Attributes:
        num_items: Fingerprints in it, half precision.
        gigabytes: Of them; 1e9 bytes.
        queries_per_second: In batches of 256.
        recall: Share of planted queries whose item is found.
        times_floor: Time over that of reading the database once a batch at the copy's rate.
    """

    num_items: int
    gigabytes: float
    queries_per_second: float
    recall: float
    times_floor: float


class TrainingBenchmark:
    """Steps of one fingerprinter on one batch.

    Args:
        model: On its device; its weights change.
        batch: As the data module's loader serves it, on the host.
        expand: The data module's; makes of it, on the device, what the model takes.
        num_steps: Steps to time.
    """

    def __init__(
        self,
        model: Fingerprinter,
        batch: Mapping[str, Tensor],
        expand: Callable[[dict[str, Tensor]], dict[str, Tensor]],
        num_steps: int = 50,
    ) -> None:
        self.model, self.batch, self.num_steps = model.train(), batch, num_steps
        self.device = model.device
        self._expand = expand
        self._on_device = self._transferred()
        self._generator = torch.Generator(self.device).manual_seed(0)
        self._optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
        self.num_flops, self.num_bytes = self._count()

    def steps(self, precision: str, ceilings: Ceilings, *, is_compiled: bool) -> StepMeasurement:
        """Time whole steps in `fp32` or `bf16`."""
        encoder = cast(nn.Module, torch.compile(self.model.encoder)) if is_compiled else self.model.encoder

        def step() -> None:
            with self._autocast(precision):
                frames = self._frames(self._distorted())
                loss = self._loss(encoder(frames))
            self._learn(loss)

        seconds = self._time(step)
        operations = self.num_flops / (ceilings.teraflops[precision] * 1e12)
        moved = self.num_bytes / (ceilings.terabytes * 1e12)
        floor = max(operations, moved)
        return StepMeasurement(
            f"{precision}{', compiled' if is_compiled else ''}", 1 / seconds, self._num_pairs / seconds,
            1e3 * seconds, 1e3 * floor, seconds / floor,
        )  # fmt: skip

    def parts(self, precision: str, loader: DataLoader[dict[str, Tensor]]) -> list[PartMeasurement]:
        """Time each part by itself, the data path with the workers that the loader has."""
        with self._autocast(precision):
            segments = self._distorted()
            frames = self._frames(segments)
            fingerprints = self.model.encoder(frames)

            def forward() -> None:
                self.model.encoder(frames)

            def backward() -> None:
                self._learn(self._loss(self.model.encoder(frames)))

            seconds = {
                "transfer": self._time(self._transferred),
                "distortion": self._time(self._distorted),
                "log-mel": self._time(lambda: self._frames(segments)),
                "encoder, forward": self._time(forward),
                "loss": self._time(lambda: self._loss(fingerprints.detach())),
            }
            whole = self._time(backward)
        seconds["backward and optimizer"] = whole - seconds["encoder, forward"] - seconds["loss"]
        total = sum(seconds.values())
        named = {"data path": self._time_loader(loader)} | seconds
        return [PartMeasurement(name, 1e3 * value, 100 * value / total) for name, value in named.items()]

    @property
    def _num_pairs(self) -> int:
        return len(self.batch["waveform"])

    def _autocast(self, precision: str) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16")

    def _transferred(self) -> dict[str, Tensor]:
        return self._expand({name: value.to(self.device) for name, value in self.batch.items()})

    def _distorted(self) -> Float[Tensor, "sample time"]:
        on = self._on_device
        return torch.cat([*self.model.distortion(on["waveform"], on["noise"], on["room"], self._generator)])

    def _frames(self, segments: Float[Tensor, "sample time"]) -> Float[Tensor, "sample band frame"]:
        frames: Tensor = self.model.preprocessing.frontend(segments, self.model.distortion.sample_rate_hz)
        return frames.transpose(1, 2)

    def _loss(self, fingerprints: Float[Tensor, "sample feature"]) -> Float[Tensor, ""]:
        with torch.autocast(self.device.type, enabled=False):
            fingerprint, other = fingerprints.float().chunk(2)
            return contrastive_loss(fingerprint, other, self.model.temperature)

    def _learn(self, loss: Float[Tensor, ""]) -> None:
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()

    def _time(self, work: Callable[[], object]) -> float:
        for _ in range(_WARM_UP):
            work()
        return timed(work, self.num_steps, self.device)

    def _time_loader(self, loader: DataLoader[dict[str, Tensor]]) -> float:
        batches = iter(loader)
        next(batches)  # starts the workers
        start, count = time.perf_counter(), 0
        for _ in batches:
            count += 1
            if count == self.num_steps:
                break
        return (time.perf_counter() - start) / max(count, 1)

    def _count(self) -> tuple[int, int]:
        """Return the operations of a step, and the bytes that it has to move in float32."""
        kept = 0

        def keep(tensor: Tensor) -> Tensor:
            nonlocal kept
            kept += 0 if isinstance(tensor, nn.Parameter) else tensor.numel() * tensor.element_size()
            return tensor

        segments = self._distorted()
        frames = self._frames(segments)
        with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda tensor: tensor):
            self._loss(self.model.encoder(frames)).backward()
        moved = sum(value.numel() * value.element_size() for value in self._on_device.values())
        moved += 2 * 4 * (segments.numel() + frames.numel()) + 2 * kept
        num_weights = sum(weights.numel() for weights in self.model.parameters())
        return counter.get_total_flops(), moved + _ADAM_BYTES_PER_WEIGHT * num_weights


def measure_ceilings(device: torch.device, size: int = 8192, num_repeats: int = 10) -> Ceilings:
    """Time a product of matrices of `size` rows, and a copy of as many bytes as 16 of them take."""
    rates = {}
    for name, kind in PRECISIONS.items():
        left, right = torch.randn(2, size, size, device=device).to(kind).unbind()
        left @ right
        rates[name] = 2 * size**3 / timed(lambda left=left, right=right: left @ right, num_repeats, device) / 1e12  # type: ignore[misc]
    source = torch.randn(16, size, size, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    seconds = timed(lambda: target.copy_(source), num_repeats, device)
    return Ceilings(rates, 2 * source.numel() * 4 / seconds / 1e12)


def measure_device_search(
    device: torch.device, num_items: int, ceilings: Ceilings, dim: int = 128, num_queries: int = 2048
) -> DeviceSearch:
    """Search made-up fingerprints exactly, as half-precision numbers: planted items, moved to a cosine of about 0.7."""
    generator = torch.Generator(device).manual_seed(0)
    items = torch.empty(num_items, dim, dtype=torch.float16, device=device)
    for chunk in items.split(_CHUNK_ITEMS):
        drawn = torch.randn(chunk.shape, generator=generator, device=device)
        chunk.copy_(nn.functional.normalize(drawn, dim=1))
    planted = torch.randint(num_items, (num_queries,), generator=generator, device=device)
    noise = nn.functional.normalize(torch.randn(num_queries, dim, generator=generator, device=device), dim=1)
    queries = nn.functional.normalize(items[planted].float() + noise, dim=1).half()
    found = nearest_by_inner_product(queries, items)
    seconds = timed(lambda: nearest_by_inner_product(queries, items), 3, device)
    num_bytes = items.numel() * items.element_size()
    floor = num_bytes * (num_queries / 256) / (ceilings.terabytes * 1e12)
    recall = float((found == planted).float().mean())
    return DeviceSearch(num_items, num_bytes / 1e9, num_queries / seconds, recall, seconds / floor)


def timed(work: Callable[[], object], num_repeats: int, device: torch.device) -> float:
    """Return the mean seconds of a call, with the device idle at both ends."""
    _synchronize(device)
    start = time.perf_counter()
    for _ in range(num_repeats):
        work()
    _synchronize(device)
    return (time.perf_counter() - start) / num_repeats


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
