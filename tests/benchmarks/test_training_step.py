"""The benchmark of a fingerprinter's training, at a size that takes no time."""

import pytest
import torch
from torch.utils.data import DataLoader

from benchmarks.training_step import (
    PRECISIONS,
    Ceilings,
    TrainingBenchmark,
    measure_ceilings,
    measure_device_search,
)
from lightning_modules import Fingerprinter
from lightning_modules.frontends import Distortion, FingerprintLogMel
from lightning_modules.networks import FingerprintTransformer
from lightning_modules.preprocessing import Preprocessing

CEILINGS = Ceilings({name: 1.0 for name in PRECISIONS}, terabytes=0.1)
CPU = torch.device("cpu")


def make_batch(num_pairs: int, distortion: Distortion) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(num_samples: int) -> torch.Tensor:
        return torch.randint(-1000, 1000, (num_pairs, num_samples), generator=generator, dtype=torch.int16)

    return {
        "waveform": draw(distortion.num_samples),
        "noise": draw(distortion.segment_samples),
        "room": torch.arange(num_pairs),
    }


def expand(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    sounds = {name: batch[name] / 32_768 for name in ("waveform", "noise")}
    return sounds | {"room": torch.eye(len(batch["room"]), 400)[batch["room"]]}


@pytest.fixture
def model() -> Fingerprinter:
    def encoder(num_bands: int, num_frames: int, dim: int) -> FingerprintTransformer:
        return FingerprintTransformer(num_bands, num_frames, dim, num_layers=1, feedforward_dim=16, hidden_dim=16)

    torch.manual_seed(0)
    return Fingerprinter(Preprocessing(FingerprintLogMel()), Distortion(), encoder, fingerprint_dim=8)


@pytest.fixture
def benchmark(model: Fingerprinter) -> TrainingBenchmark:
    return TrainingBenchmark(model, make_batch(2, model.distortion), expand, num_steps=1)


def test_operations_are_those_of_the_matrix_products(benchmark: TrainingBenchmark, model: Fingerprinter) -> None:
    twice = TrainingBenchmark(model, make_batch(4, model.distortion), expand, num_steps=1)
    # the encoder's grow with the batch, the loss's with its square, which is small beside them
    assert 2 * benchmark.num_flops < twice.num_flops < 2.01 * benchmark.num_flops
    # forward and backward together are three products a weight and sample, but for the first layer's input gradient
    weights = model.encoder.projection
    assert isinstance(weights, torch.nn.Sequential)
    least = 3 * 2 * 4 * sum(each.numel() for each in weights.parameters() if each.ndim == 2)
    assert benchmark.num_flops > least


def test_bytes_hold_weights_batch_and_what_is_kept(benchmark: TrainingBenchmark, model: Fingerprinter) -> None:
    num_weights = sum(each.numel() for each in model.parameters())
    batch = sum(each.numel() * 4 for each in expand(dict(benchmark.batch)).values())
    assert benchmark.num_bytes > 32 * num_weights + batch


def test_steps_learn_and_are_compared_with_the_longer_floor(benchmark: TrainingBenchmark, model: Fingerprinter) -> None:
    before = [each.clone() for each in model.parameters()]
    measured = benchmark.steps("fp32", CEILINGS, is_compiled=False)
    assert any(not torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))
    floor = max(benchmark.num_flops / 1e12, benchmark.num_bytes / 1e11)
    assert measured.floor_milliseconds == pytest.approx(1e3 * floor)
    assert measured.times_floor == pytest.approx(measured.milliseconds / measured.floor_milliseconds)
    assert measured.pairs_per_second == pytest.approx(2 * measured.steps_per_second)


def test_parts_sum_to_a_step_without_the_data_path(benchmark: TrainingBenchmark) -> None:
    loader: DataLoader[dict[str, torch.Tensor]] = DataLoader([benchmark.batch] * 3, batch_size=None)  # type: ignore[arg-type]
    parts = {part.part: part.percent for part in benchmark.parts("fp32", loader)}
    assert sum(percent for name, percent in parts.items() if name != "data path") == pytest.approx(100)
    assert set(parts) >= {"data path", "transfer", "distortion", "log-mel", "encoder, forward", "loss"}


def test_ceilings_and_search_are_measured() -> None:
    ceilings = measure_ceilings(CPU, size=64, num_repeats=1)
    assert set(ceilings.teraflops) == set(PRECISIONS) and min(*ceilings.teraflops.values(), ceilings.terabytes) > 0
    found = measure_device_search(CPU, 3000, ceilings, num_queries=16)
    assert found.recall == 1.0
    assert found.gigabytes == pytest.approx(3000 * 128 * 2 / 1e9)
