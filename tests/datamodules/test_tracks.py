"""Batches hold what is documented, are drawn the same again, and stay within their tracks and sides of the split."""

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from datamodules import Fma
from datamodules.caches.pcm_store import PcmStore
from datamodules.distortion.rooms import open_rooms
from datamodules.errors import SplitError
from datamodules.splits.segments import is_silent
from sound.errors import AudioFileError
from tests.datamodules.track_makers import (
    CONTEXT,
    OFFSET,
    QUERIES,
    RATE_HZ,
    SEGMENT,
    are_equal,
    expanded,
    fma_at,
    librispeech_at,
    read_waveform,
)
from tests.trainers import quiet_trainer


@pytest.mark.parametrize("make", [fma_at, librispeech_at])
def test_batches_have_the_documented_fields(music: Path, make: object) -> None:
    data = make(music)  # type: ignore[operator]
    batch = data.expand(next(iter(data.train_dataloader())))
    assert {name: (tuple(value.shape), value.dtype) for name, value in batch.items()} == {
        "waveform": ((4, CONTEXT + SEGMENT + 2 * OFFSET), torch.float32),
        "noise": ((4, SEGMENT), torch.float32),
        "room": ((4, RATE_HZ), torch.float32),
        "item_index": ((4,), torch.int64),
    }
    for loaders in (data.val_dataloader(), data.test_dataloader()):
        queries, database = (data.expand(next(iter(loader))) for loader in loaders)
        assert {name: (tuple(value.shape[1:]), value.dtype) for name, value in queries.items()} == {
            "waveform": ((CONTEXT + SEGMENT,), torch.float32), "noise": ((SEGMENT,), torch.float32),
            "room": ((RATE_HZ,), torch.float32), "snr_db": ((), torch.float32), "has_noise": ((), torch.bool),
            "has_room": ((), torch.bool), "condition": ((), torch.int64), "track": ((), torch.int64),
            "start_seconds": ((), torch.float64), "is_repeated": ((), torch.bool), "item_index": ((), torch.int64),
        }  # fmt: skip
        assert {name: (tuple(value.shape[1:]), value.dtype) for name, value in database.items()} == {
            "waveform": ((SEGMENT,), torch.float32), "track": ((), torch.int64),
            "start_seconds": ((), torch.float64), "item_index": ((), torch.int64),
        }  # fmt: skip


def test_batches_are_small_on_their_way_and_exact(music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def serve() -> tuple[Fma, list[dict[str, Tensor]]]:
        data = fma_at(music)
        loaders = [data.train_dataloader(), *data.val_dataloader(), *data.test_dataloader()]
        return data, [batch for loader in loaders for batch in loader]

    data, travelling = serve()
    assert {str(batch[name].dtype) for batch in travelling for name in ("waveform", "noise") if name in batch} == {
        "torch.int16"
    }
    expanded = [data.expand(batch) for batch in travelling]
    assert max(_num_bytes(batch) / _num_bytes(whole) for batch, whole in zip(travelling, expanded, strict=True)) < 0.51
    monkeypatch.setattr(PcmStore, "sample_type", np.dtype(np.float32))  # so that sound travels as it arrives
    other, floats = serve()
    for batch, whole in zip(floats, expanded, strict=True):
        assert batch["waveform"].dtype == torch.float32
        assert are_equal(whole, other.expand(batch))
        assert are_equal(whole, data.expand(whole))


def _num_bytes(batch: dict[str, Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in batch.values())


def test_rooms_are_those_of_the_part(music: Path) -> None:
    data = fma_at(music)
    options, asked = data.rooms, data.queries.room_t60_seconds
    train_rooms, test_rooms = open_rooms(options, asked, music / "cache", RATE_HZ)
    batch = expanded(data, data.train_dataloader())
    for number, room in zip(batch["item_index"].tolist(), batch["room"], strict=True):
        assert any(np.array_equal(room, response) for response in train_rooms.responses), number
    loader, _ = data.test_dataloader()
    queries = expanded(data, loader)
    of_condition = queries["room"].unflatten(0, (6, QUERIES))
    assert torch.equal(of_condition[0], torch.eye(RATE_HZ)[:1].expand(QUERIES, -1))
    for condition, seconds in ((2, 0.3), (4, 0.2), (5, 0.3)):
        expected = test_rooms.responses[test_rooms.nearest(seconds)]
        assert all(any(np.array_equal(room, one) for one in expected) for room in of_condition[condition])


def test_processes_share_an_epoch(music: Path) -> None:
    alone = fma_at(music, batch_size=8)
    whole = expanded(alone, alone.train_dataloader())
    parts = []
    for rank in range(2):
        data = fma_at(music, batch_size=4)
        data.trainer = Mock(spec=pl.Trainer, world_size=2, global_rank=rank)
        parts.append(expanded(data, data.train_dataloader()))
    for name, value in whole.items():
        assert torch.equal(torch.stack([part[name] for part in parts], dim=1).flatten(0, 1), value)


def test_roles_leave_out_what_cannot_be_used(music: Path) -> None:
    data = fma_at(music)
    numbers = {role: [int(Path(data.track_names[track]).stem) for track in getattr(data.roles, role)]
               for role in ("train", "val", "indexed", "query")}  # fmt: skip
    assert numbers["indexed"] == [2, 5, 10, 140, 141, 142, 100_001]  # 144 is empty, 145 too short
    assert numbers["query"] == [141, 142, 100_001]
    assert len(numbers["val"]) == 1
    assert sorted(numbers["train"] + numbers["val"]) == [2, 5, 10, 140]
    assert [
        data.num_segments(data.track_names.index(f"fma_medium/000/{name}")) for name in ("000144.mp3", "000145.mp3")
    ] == [0, 0]
    with pytest.raises(AudioFileError, match=r"000144\.mp3"):
        fma_at(music, on_bad_audio="raise")


def test_segments_are_of_training_tracks_with_zeros_around(music: Path) -> None:
    data = fma_at(music, segments_per_track=40)
    batch = expanded(data, data.train_dataloader())
    clean = batch["waveform"][:, CONTEXT + OFFSET : CONTEXT + OFFSET + SEGMENT]
    padded = {int(track): read_waveform(data, int(track), -20_000, int(data.audio.lengths[track]) + 40_000)
              for track in data.roles.train}  # fmt: skip
    num_before, num_after = 0, 0
    parts: list[tuple[int, int]] = []
    for row, segment in zip(batch["waveform"], clean, strict=True):
        assert not is_silent(segment.numpy())
        found = 0
        for track, whole in padded.items():
            for start in np.flatnonzero(whole[20_000:] == segment[0]).tolist():
                begin = 20_000 + start
                if torch.equal(whole[begin : begin + SEGMENT], segment):
                    found += 1
                    num_starts = int(data.audio.lengths[track]) - SEGMENT + 1
                    assert start < num_starts
                    parts.append((track, start * 40 // num_starts))
                    assert torch.equal(row, whole[begin - CONTEXT - OFFSET : begin + SEGMENT + OFFSET])
                    num_before += start < CONTEXT + OFFSET
                    num_after += start + SEGMENT + OFFSET > data.audio.lengths[track]
        assert found == 1
    assert num_before > 0 < num_after
    assert len(batch["item_index"].unique()) == 120
    assert sorted(parts) == [(track, part) for track in sorted(padded) for part in range(40)]  # no two overlap much


def test_an_epoch_is_drawn_the_same_again_and_others_differ(music: Path) -> None:
    data = fma_at(music)
    loaders = [each.train_dataloader() for each in (data, fma_at(music))]
    first, again = (expanded(data, loader) for loader in loaders)
    assert are_equal(first, again)
    loaders[0].sampler.set_epoch(1)  # type: ignore[attr-defined]
    following = expanded(data, loaders[0])
    assert not any(torch.equal(first[name], following[name]) for name in ("waveform", "noise", "room"))
    assert not torch.equal(first["waveform"], expanded(data, fma_at(music, seed=1).train_dataloader())["waveform"])


@pytest.mark.processes
def test_workers_and_a_resumed_run_draw_the_same(music: Path) -> None:
    whole = list(fma_at(music).train_dataloader())
    loader = fma_at(music, num_workers=2).train_dataloader()
    loader.load_state_dict({"num_served": 3})
    for batch, expected in zip(loader, whole[3:], strict=True):
        assert are_equal(batch, expected)


class _Recorder(pl.LightningModule):
    """Keep the first sample of each segment trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[float]] = []

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        self.seen.append(batch["waveform"][:, CONTEXT + OFFSET].tolist())
        return self.weight * batch["noise"].mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def _train(data: Fma, folder: Path, ckpt_path: str | None = None) -> _Recorder:
    module = _Recorder()
    keeper = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = quiet_trainer(keeper, max_epochs=3, limit_val_batches=0)
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return module


def test_lightning_resumes_within_an_epoch_and_between_epochs(music: Path, tmp_path: Path) -> None:
    whole = _train(fma_at(music), tmp_path / "whole")  # 30 segments make 7 batches of 4 an epoch
    assert len({tuple(batch) for batch in whole.seen}) == 21
    for step in (10, 14):
        resumed = _train(fma_at(music), tmp_path / str(step), str(tmp_path / "whole" / f"step={step}.ckpt"))
        assert resumed.seen == whole.seen[step:]


def test_streamed_tracks_give_the_same_batches(music: Path) -> None:
    cached, streamed = fma_at(music), fma_at(music, cache=False)
    assert cached.roles.query.tolist() == streamed.roles.query.tolist()
    one_of_each = [[data.train_dataloader(), *data.test_dataloader()] for data in (cached, streamed)]
    for one, other in zip(*one_of_each, strict=True):
        expected, found = cached.expand(next(iter(one))), streamed.expand(next(iter(other)))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_what_cannot_be_trained_or_asked_is_an_error(music: Path) -> None:
    with pytest.raises(SplitError, match="to ask for"):
        fma_at(music, train_subset="medium")
    with pytest.raises(SplitError, match="segments_per_track"):
        fma_at(music, batch_size=64).train_dataloader()
    early = Fma(root=str(music / "fma"))
    for use in (lambda: early.roles, lambda: early.audio, lambda: early.expand({})):
        with pytest.raises(RuntimeError, match="setup"):
            use()
