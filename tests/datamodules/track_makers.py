"""Tracks of replicas with noise and rooms, and the batches that they serve."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules import FingerprintDataModule, Fma, LibriSpeech, NoiseOptions, QueryOptions, RoomOptions
from tests.datamodules.makers import columns, set_up

RATE_HZ = 16_000
CONTEXT, OFFSET, SEGMENT = 16_000, 800, 16_000
QUERIES = 6


def common_options(root: Path, **options: object) -> dict[str, object]:
    given = {
        "cache_dir": str(root / "cache"), "batch_size": 4, "eval_batch_size": 7, "queries_per_condition": QUERIES,
        "noise": NoiseOptions(str(root / "musan")),
        "rooms": RoomOptions(str(root / "air"), num_train=2, num_test=1, t60_range_seconds=(0.2, 0.3)),
        "queries": QueryOptions(snr_db=(0.0, 10.0), t60_seconds=(0.2, 0.3), noise_t60_seconds=0.3, num_val=3),
    }  # fmt: skip
    return given | options


def fma_at(root: Path, **options: object) -> Fma:
    return set_up(Fma(root=str(root / "fma"), **common_options(root, **options)))  # type: ignore[arg-type]


def librispeech_at(root: Path, **options: object) -> LibriSpeech:
    given = common_options(root, segments_per_track=2, **options)
    return set_up(LibriSpeech(root=str(root / "LibriSpeech"), **given))  # type: ignore[arg-type]


def expanded(data: FingerprintDataModule, loader: DataLoader[dict[str, Tensor]]) -> dict[str, Tensor]:
    return columns(data.expand(batch) for batch in loader)


def are_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def read_waveform(data: FingerprintDataModule, track: int, start: int, count: int) -> Tensor:
    out = np.empty(count, np.float32)
    data.audio.read(track, start, out)
    return torch.from_numpy(out)
