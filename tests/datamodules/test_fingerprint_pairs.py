"""Fingerprints are computed once, belong together, and are served as what learns from them expects."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from datamodules import FingerprintDataModule, FingerprintPairs
from datamodules.batches.feature_dataset import pass_batch
from datamodules.batches.resumable_loader import EpochSampler, ResumableLoader
from datamodules.distortion.noise import NoiseFiles
from datamodules.errors import SplitError
from datamodules.splits.track_roles import Track
from storage.errors import FileDamaged

CONTEXT, OFFSET, SEGMENT, ROOM = 3, 1, 4, 2
NUM_TRAIN, NUM_QUERIES, NUM_ITEMS = 12, 5, 7


class Segments(Dataset[dict[str, Tensor]]):
    """Segment i of all epochs is constant i + 1; its noise and room are i. On its way it is twice as large."""

    def __len__(self) -> int:
        return NUM_TRAIN

    def __getitems__(self, positions: Sequence[int]) -> dict[str, Tensor]:
        number = torch.tensor(positions)
        value = number[:, None].float()
        return {
            "waveform": 2 * (value + 1).expand(-1, CONTEXT + 2 * OFFSET + SEGMENT),
            "noise": value.expand(-1, SEGMENT),
            "room": value.expand(-1, ROOM),
            "item_index": number % NUM_TRAIN,
        }


class Places(Dataset[dict[str, Tensor]]):
    """Queries, or segments of the database; on their way twice as large."""

    def __init__(self, num_items: int, num_before: int) -> None:
        self.num_items, self.num_before = num_items, num_before

    def __len__(self) -> int:
        return self.num_items

    def __getitems__(self, positions: Sequence[int]) -> dict[str, Tensor]:
        number = torch.tensor(positions)
        value = number[:, None].float() + 1
        return {
            "waveform": 2 * value.expand(-1, self.num_before + 2 * SEGMENT if self.num_before else SEGMENT),
            "noise": value.expand(-1, 2 * SEGMENT),
            "room": value.expand(-1, ROOM),
            "snr_db": number.float(),
            "has_noise": number % 2 == 0,
            "has_room": number % 2 == 1,
            "condition": number % 2,
            "track": number % 3,
            "start_seconds": number.double() / 10,
            "is_repeated": number == 1,
            "item_index": number,
        }


class Corpus(FingerprintDataModule):
    """A corpus in memory."""

    def __init__(self, folder: Path, has_validation: bool = True, batch_size: int = 4, seed: int = 0) -> None:
        super().__init__(batch_size=batch_size, seed=seed)
        self.folder, self.has_validation = folder, has_validation

    @property
    def corpus_name(self) -> str:
        return "memory"

    def list_tracks(self) -> list[Track]:
        if not (self.folder / "a.wav").exists():  # its time of change counts
            (self.folder / "a.wav").touch()
        return [Track("a.wav", self.folder / "a.wav", True, True)]

    def prepare_data(self) -> None: ...

    def setup(self, stage: str | None = None) -> None: ...

    def expand(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {**batch, "waveform": batch["waveform"] / 2}

    def train_dataloader(self) -> ResumableLoader:
        return ResumableLoader(Segments(), EpochSampler(NUM_TRAIN, 1, 0), self.batch_size, 0)

    def val_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        return self.test_dataloader() if self.has_validation else []

    def test_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        return [
            DataLoader(Places(count, before), 2, collate_fn=pass_batch)  # type: ignore[arg-type]
            for count, before in ((NUM_QUERIES, CONTEXT), (NUM_ITEMS, 0))
        ]


class Fingerprinter(nn.Module):
    """A fingerprint is a segment's first value, its last, and how many there are; distortion adds what is given."""

    fingerprint_dim, segment_samples, context_samples = 3, SEGMENT, CONTEXT
    checkpoint = "nowhere.ckpt"

    def __init__(self, version: int = 0) -> None:
        super().__init__()
        self.version, self.num_calls = version, 0

    def prepare(self) -> None: ...

    def settings(self) -> dict[str, object]:
        return {"version": self.version}

    def to_device(self, device: torch.device) -> None: ...

    def forward(self, waveform: Tensor) -> Tensor:
        self.num_calls += 1
        return torch.stack([waveform[:, 0], waveform[:, -1], torch.full((len(waveform),), waveform.shape[1])], dim=1)

    def distort(
        self, waveform: Tensor, noise: Tensor, room: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        clean = waveform[:, CONTEXT + OFFSET :][:, :SEGMENT]
        assert torch.equal(noise[:, :ROOM], room)  # they go to another segment together
        return clean, clean + 100 * noise

    def distort_query(
        self, waveform: Tensor, noise: Tensor, room: Tensor, snr_db: Tensor, has_noise: Tensor, has_room: Tensor
    ) -> Tensor:
        return waveform[:, CONTEXT:] + 10 * has_noise[:, None] + 20 * has_room[:, None] + 100 * snr_db[:, None]


@pytest.fixture(autouse=True)
def no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mix with what the segments bring along."""
    monkeypatch.setattr("datamodules.caches.fingerprint_cache.find_noise", lambda _options: NoiseFiles([], []))


def make(tmp_path: Path, corpus: Corpus | None = None, **options: Any) -> tuple[FingerprintPairs, Fingerprinter]:
    fingerprinter = Fingerprinter(options.pop("version", 0))
    data = FingerprintPairs(
        corpus=corpus or Corpus(tmp_path), fingerprinter=fingerprinter, cache_dir=str(tmp_path / "cache"), **options
    )
    data.prepare_data()
    data.setup()
    return data, fingerprinter


def test_pairs_are_of_one_segment_in_different_distortions(tmp_path: Path) -> None:
    data, _ = make(tmp_path, batch_size=NUM_TRAIN, num_views=3)
    seen: dict[int, set[float]] = {}
    loader = data.train_dataloader()
    for epoch in range(30):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        (batch,) = loader
        assert sorted(batch["item_index"].tolist()) == list(range(NUM_TRAIN))
        for clean, distorted, index in zip(batch["fingerprint"], batch["distorted"], batch["item_index"], strict=True):
            assert clean.tolist() == [int(index) + 1, int(index) + 1, SEGMENT]
            seen.setdefault(int(index), set()).add((float(distorted[0]) - float(clean[0])) / 100)
    # views roll noise within batches of 4: views 0, 1, 2 of segment 1 have the noise of segments 1, 0, 3
    assert seen[1] == {1.0, 0.0, 3.0}
    assert all(len(noises) == 3 for noises in seen.values())


def test_items_of_the_database_get_the_differences_of_training_segments(tmp_path: Path) -> None:
    data, _ = make(tmp_path, batch_size=NUM_ITEMS, train_on="database")
    item = data.training_fingerprints()
    assert item[:, 0].tolist() == [number + 1 for number in range(NUM_ITEMS)]
    train = data._rows["train"]
    differences = torch.from_numpy((train["distorted"] - train["fingerprint"][:, None]).reshape(-1, 3))
    (batch,) = data.train_dataloader()
    assert torch.equal(batch["fingerprint"], item[batch["item_index"]])
    for clean, distorted in zip(batch["fingerprint"], batch["distorted"], strict=True):
        candidates = nn.functional.normalize(clean + differences, dim=1)
        assert float((candidates - distorted).norm(dim=1).min()) < 1e-5


def test_every_pass_draws_segments_of_its_own(tmp_path: Path) -> None:
    data, _ = make(tmp_path, num_passes=2)
    assert data.training_fingerprints()[:, 0].tolist() == list(range(1, 2 * NUM_TRAIN + 1))


def test_queries_are_distorted_as_told_and_cut_to_a_segment(tmp_path: Path) -> None:
    queries, items = make(tmp_path)[0].test_dataloader()
    (batch,) = queries
    expected = [number + 1 + (10 if number % 2 == 0 else 20) + 100 * number for number in range(NUM_QUERIES)]
    assert batch["fingerprint"][:, 0].tolist() == expected
    assert batch["fingerprint"][:, 2].tolist() == [SEGMENT] * NUM_QUERIES
    assert batch["start_seconds"].dtype == torch.float64
    assert batch["condition"].tolist() == [0, 1, 0, 1, 0]
    assert batch["is_repeated"].tolist() == [False, True, False, False, False]
    (batch,) = items
    assert batch["fingerprint"][:, 0].tolist() == [number + 1 for number in range(NUM_ITEMS)]
    assert batch["track"].tolist() == [number % 3 for number in range(NUM_ITEMS)]
    assert batch["condition"].tolist() == [-1] * NUM_ITEMS
    assert not bool(batch["is_repeated"].any())


def test_fingerprints_are_computed_once_for_all_that_is_the_same(tmp_path: Path) -> None:
    _, first = make(tmp_path)
    assert first.num_calls > 0
    again, fingerprinter = make(tmp_path)
    assert fingerprinter.num_calls == 0
    assert isinstance(next(iter(again._rows["train"].values())), np.memmap)
    others = (
        make(tmp_path, version=1), make(tmp_path, num_views=2), make(tmp_path, seed=1),
        make(tmp_path, Corpus(tmp_path, seed=1)),
    )  # fmt: skip
    assert all(other.num_calls > 0 for _, other in others)
    (tmp_path / "a.wav").write_bytes(b"changed")
    assert make(tmp_path)[1].num_calls > 0


def test_a_killed_run_is_begun_again(tmp_path: Path) -> None:
    _, fingerprinter = make(tmp_path)
    (folder,) = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    left = folder.rename(folder.with_name(f".{folder.name}.new-1"))
    (left / "cache.json").unlink()
    data, again = make(tmp_path)
    assert not left.exists()
    assert again.num_calls == fingerprinter.num_calls
    assert len(data.training_fingerprints()) == NUM_TRAIN


@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_a_damaged_cache_is_told(tmp_path: Path, damage: str) -> None:
    make(tmp_path)
    (file,) = (tmp_path / "cache").glob("*/test_item/fingerprint.npy")
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(FileDamaged, match="Delete the folder"):
        make(tmp_path)


def test_a_corpus_without_validation_serves_none(tmp_path: Path) -> None:
    assert make(tmp_path, Corpus(tmp_path, has_validation=False))[0].val_dataloader() == []
    assert len(make(tmp_path / "other", _corpus(tmp_path / "other"))[0].val_dataloader()) == 2


def _corpus(folder: Path) -> Corpus:
    folder.mkdir()
    return Corpus(folder)


def test_sizes_and_order_of_use_are_checked(tmp_path: Path, unchecked_types: None) -> None:
    with pytest.raises(SplitError, match="must be at least 1; got 1024, 0 and 1"):
        FingerprintPairs(corpus=Corpus(tmp_path), fingerprinter=Fingerprinter(), num_views=0)
    with pytest.raises(SplitError, match="train_on must be segments or database; got 'all'"):
        FingerprintPairs(corpus=Corpus(tmp_path), fingerprinter=Fingerprinter(), train_on="all")  # type: ignore[arg-type]
    data = FingerprintPairs(corpus=Corpus(tmp_path), fingerprinter=Fingerprinter())
    assert data.feature_dim == 3
    assert data.track_names == ["a.wav"]
    for serve in (data.train_dataloader, data.val_dataloader, data.test_dataloader, data.training_fingerprints):
        with pytest.raises(RuntimeError, match=r"Call setup\(\)"):
            serve()
