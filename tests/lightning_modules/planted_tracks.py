"""Tracks of noise bursts with queries planted in them, and small fingerprinters to find them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_modules import Fingerprinter
from lightning_modules.frontends import Distortion, FingerprintLogMel
from lightning_modules.networks import FingerprintTransformer, HashProjection, PooledLogMel
from lightning_modules.preprocessing import Preprocessing
from tests.lightning_modules.makers import Rows, draw, make_trainer

# 0.25 s at 4 kHz: 25 frames
RATE, SEGMENT, CONTEXT, OFFSET, RESPONSE = 4000, 1000, 800, 200, 300
HOP = 400
NUM_TRACKS, TRACK_SAMPLES, NUM_QUERIES = 3, 6000, 8
CONDITIONS = ["noise 0 dB", "noise+reverb 20 dB"]
Loader = DataLoader[dict[str, Tensor]]


def rooms(num_rows: int) -> Tensor:
    room = 0.2 * draw(num_rows, RESPONSE, seed=4) * torch.exp(-torch.arange(RESPONSE) / 60)
    room[:, 0] = 1
    return room


class PlantedTracks(pl.LightningDataModule):
    """Tracks of noise bursts; queries start on the database's grid, some of them said to repeat."""

    conditions = CONDITIONS

    def __init__(self) -> None:
        super().__init__()
        envelope = draw(NUM_TRACKS, TRACK_SAMPLES // 200, seed=1).exp().repeat_interleave(200, dim=1)
        self.tracks = 0.02 * draw(NUM_TRACKS, TRACK_SAMPLES, seed=2) * envelope

    def cut(self, track: int, start: int, length: int) -> Tensor:
        padded = torch.nn.functional.pad(self.tracks[track], (2000, 2000))
        return padded[2000 + start : 2000 + start + length]

    def train_columns(self) -> dict[str, Tensor]:
        starts = [(number % NUM_TRACKS, 97 * number % (TRACK_SAMPLES - SEGMENT)) for number in range(12)]
        length = CONTEXT + SEGMENT + 2 * OFFSET
        return {
            "waveform": torch.stack([self.cut(t, s - CONTEXT - OFFSET, length) for t, s in starts]),
            "noise": draw(12, SEGMENT, seed=3),
            "room": rooms(12),
            "item_index": torch.arange(12),
        }

    def query_columns(self) -> dict[str, Tensor]:
        number = torch.arange(NUM_QUERIES)
        track, start = number % NUM_TRACKS, HOP * (number % 11)
        cuts = [self.cut(int(t), int(s) - CONTEXT, CONTEXT + SEGMENT) for t, s in zip(track, start, strict=True)]
        return {
            "waveform": torch.stack(cuts),
            "noise": draw(NUM_QUERIES, SEGMENT, seed=5),
            "room": rooms(NUM_QUERIES),
            "snr_db": torch.full((NUM_QUERIES,), 40.0),
            "has_noise": torch.ones(NUM_QUERIES, dtype=torch.bool),
            "has_room": number % 2 == 1,
            "condition": number % 2,
            "track": track,
            "start_seconds": start.double() / RATE,
            "is_repeated": number < 2,
            "item_index": number,
        }

    def item_columns(self) -> dict[str, Tensor]:
        places = [(t, s) for t in range(NUM_TRACKS) for s in range(0, TRACK_SAMPLES - SEGMENT + 1, HOP)]
        return {
            "waveform": torch.stack([self.cut(t, s, SEGMENT) for t, s in places]),
            "track": torch.tensor([t for t, _ in places]),
            "start_seconds": torch.tensor([s / RATE for _, s in places], dtype=torch.float64),
            "item_index": torch.arange(len(places)),
        }

    def train_dataloader(self) -> Loader:
        return DataLoader(Rows(self.train_columns()), batch_size=6)

    def val_dataloader(self) -> list[Loader]:
        return self.test_dataloader()

    def test_dataloader(self) -> list[Loader]:
        return [DataLoader(Rows(columns), batch_size=5) for columns in (self.query_columns(), self.item_columns())]

    def predict_dataloader(self) -> Loader:
        return self.test_dataloader()[1]


ENCODER = partial(FingerprintTransformer, patch_frames=5, token_dim=16, num_layers=1, num_heads=2,
                  feedforward_dim=16, hidden_dim=24)  # fmt: skip
PROJECTION = partial(HashProjection, hidden_dims=(16,))


def small_parts() -> tuple[Preprocessing, Distortion]:
    """Return what hears a segment, and what distorts it."""
    frontend = FingerprintLogMel(RATE, num_mels=16, num_frames=25, window_samples=256, hop_samples=40)
    return Preprocessing(frontend), Distortion(RATE, SEGMENT / RATE, CONTEXT / RATE, OFFSET / RATE)


def make(
    encoder: Callable[[int, int, int], nn.Module] = ENCODER,
    projection: Callable[[int, int], nn.Module] | None = PROJECTION,
    learns: bool = True,
    **options: Any,
) -> Fingerprinter:
    torch.manual_seed(0)
    options = {"fingerprint_dim": 16, "num_bits": 4} | options
    return Fingerprinter(
        *small_parts(),
        encoder=encoder,
        optimizer=partial(torch.optim.Adam, lr=3e-3) if learns else None,
        lr_scheduler=partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0) if learns else None,
        projection=projection,
        **options,
    )


def unlearned() -> Fingerprinter:
    return make(PooledLogMel, None, learns=False, fingerprint_dim=80)


def fit(model: Fingerprinter, max_epochs: int = 1) -> dict[str, float]:
    running = make_trainer(max_epochs, limit_val_batches=0)
    running.fit(model, datamodule=PlantedTracks())
    return {name: float(value) for name, value in running.callback_metrics.items()}
