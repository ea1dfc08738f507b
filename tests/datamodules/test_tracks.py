"""Batches hold what is documented, are drawn the same again, and stay within their tracks and sides of the split."""

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import pytorch_lightning as pl
import soundfile
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules import FingerprintDataModule, Fma, LibriSpeech, MusicFolder, NoiseOptions, QueryOptions, RoomOptions
from datamodules.caches.pcm_store import PcmStore
from datamodules.distortion.noise import find_noise
from datamodules.distortion.rooms import open_rooms
from datamodules.errors import SplitError
from datamodules.splits.segments import is_silent
from sound.errors import AudioFileError
from tests.replicas.air import make_air
from tests.replicas.fma import make_fma, make_music
from tests.replicas.librispeech import make_librispeech
from tests.replicas.musan import make_musan

RATE_HZ = 16_000
CONTEXT, OFFSET, SEGMENT = 16_000, 800, 16_000
QUERIES = 6


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpora, noise, rooms and a cache that tests share."""
    folder = tmp_path_factory.mktemp("fingerprints")
    make_fma(folder / "fma")
    make_librispeech(folder / "LibriSpeech")
    make_musan(folder / "musan")
    make_air(folder / "air")
    return folder


def _common(root: Path, **options: object) -> dict[str, object]:
    given = {
        "cache_dir": str(root / "cache"), "batch_size": 4, "eval_batch_size": 7, "queries_per_condition": QUERIES,
        "noise": NoiseOptions(str(root / "musan")),
        "rooms": RoomOptions(str(root / "air"), num_train=2, num_test=1, t60_range_seconds=(0.2, 0.3)),
        "queries": QueryOptions(snr_db=(0.0, 10.0), t60_seconds=(0.2, 0.3), noise_t60_seconds=0.3, num_val=3),
    }  # fmt: skip
    return given | options


def _fma(root: Path, **options: object) -> Fma:
    data = Fma(root=str(root / "fma"), **_common(root, **options))  # type: ignore[arg-type]
    data.prepare_data()
    data.setup()
    return data


def _librispeech(root: Path, **options: object) -> LibriSpeech:
    data = LibriSpeech(root=str(root / "LibriSpeech"), **_common(root, segments_per_track=2, **options))  # type: ignore[arg-type]
    data.prepare_data()
    data.setup()
    return data


def _all(data: FingerprintDataModule, loader: DataLoader[dict[str, Tensor]]) -> dict[str, Tensor]:
    batches = [data.expand(batch) for batch in loader]
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def _waveform(data: FingerprintDataModule, track: int, start: int, count: int) -> Tensor:
    out = np.empty(count, np.float32)
    data.audio.read(track, start, out)
    return torch.from_numpy(out)


@pytest.mark.parametrize("make", [_fma, _librispeech])
def test_batches_have_the_documented_fields(root: Path, make: object) -> None:
    data = make(root)  # type: ignore[operator]
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


def test_batches_are_small_on_their_way_and_exact(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def serve() -> tuple[Fma, list[dict[str, Tensor]]]:
        data = _fma(root)
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
        assert _equal(whole, other.expand(batch))
        assert _equal(whole, data.expand(whole))


def _num_bytes(batch: dict[str, Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in batch.values())


def test_rooms_are_those_of_the_part(root: Path) -> None:
    data = _fma(root)
    options, asked = data.rooms, data.queries.room_t60_seconds
    train_rooms, test_rooms = open_rooms(options, asked, root / "cache", RATE_HZ)
    batch = _all(data, data.train_dataloader())
    for number, room in zip(batch["item_index"].tolist(), batch["room"], strict=True):
        assert any(np.array_equal(room, response) for response in train_rooms.responses), number
    loader, _ = data.test_dataloader()
    queries = _all(data, loader)
    of_condition = queries["room"].unflatten(0, (6, QUERIES))
    assert torch.equal(of_condition[0], torch.eye(RATE_HZ)[:1].expand(QUERIES, -1))
    for condition, seconds in ((2, 0.3), (4, 0.2), (5, 0.3)):
        expected = test_rooms.responses[test_rooms.nearest(seconds)]
        assert all(any(np.array_equal(room, one) for one in expected) for room in of_condition[condition])


def test_processes_share_an_epoch(root: Path) -> None:
    alone = _fma(root, batch_size=8)
    whole = _all(alone, alone.train_dataloader())
    parts = []
    for rank in range(2):
        data = _fma(root, batch_size=4)
        data.trainer = Mock(spec=pl.Trainer, world_size=2, global_rank=rank)
        parts.append(_all(data, data.train_dataloader()))
    for name, value in whole.items():
        assert torch.equal(torch.stack([part[name] for part in parts], dim=1).flatten(0, 1), value)


def test_roles_leave_out_what_cannot_be_used(root: Path) -> None:
    data = _fma(root)
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
        _fma(root, on_bad_audio="raise")


def test_segments_are_of_training_tracks_with_zeros_around(root: Path) -> None:
    data = _fma(root, segments_per_track=40)
    batch = _all(data, data.train_dataloader())
    clean = batch["waveform"][:, CONTEXT + OFFSET : CONTEXT + OFFSET + SEGMENT]
    padded = {int(track): _waveform(data, int(track), -20_000, int(data.audio.lengths[track]) + 40_000)
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


def test_an_epoch_is_drawn_the_same_again_and_others_differ(root: Path) -> None:
    data = _fma(root)
    loaders = [each.train_dataloader() for each in (data, _fma(root))]
    first, again = (_all(data, loader) for loader in loaders)
    assert _equal(first, again)
    loaders[0].sampler.set_epoch(1)  # type: ignore[attr-defined]
    following = _all(data, loaders[0])
    assert not any(torch.equal(first[name], following[name]) for name in ("waveform", "noise", "room"))
    assert not torch.equal(first["waveform"], _all(data, _fma(root, seed=1).train_dataloader())["waveform"])


def test_workers_and_a_resumed_run_draw_the_same(root: Path) -> None:
    whole = list(_fma(root).train_dataloader())
    loader = _fma(root, num_workers=2).train_dataloader()
    loader.load_state_dict({"num_served": 3})
    for batch, expected in zip(loader, whole[3:], strict=True):
        assert _equal(batch, expected)


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
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1),
    )
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return module


def test_lightning_resumes_within_an_epoch_and_between_epochs(root: Path, tmp_path: Path) -> None:
    whole = _train(_fma(root), tmp_path / "whole")  # 30 segments make 7 batches of 4 an epoch
    assert len({tuple(batch) for batch in whole.seen}) == 21
    for step in (10, 14):
        resumed = _train(_fma(root), tmp_path / str(step), str(tmp_path / "whole" / f"step={step}.ckpt"))
        assert resumed.seen == whole.seen[step:]


def test_queries_are_the_same_under_every_condition(root: Path) -> None:
    data = _fma(root)
    assert data.conditions == [
        "noise 0 dB", "noise 10 dB", "noise+reverb 0 dB", "noise+reverb 10 dB", "reverb T60 0.2 s", "reverb T60 0.3 s",
    ]  # fmt: skip
    loader, _ = data.test_dataloader()
    queries = _all(data, loader)
    assert queries["condition"].tolist() == [number for number in range(6) for _ in range(QUERIES)]
    assert queries["item_index"].tolist() == list(range(6 * QUERIES))
    by_condition = {name: value.unflatten(0, (6, QUERIES)) for name, value in queries.items()}
    for name in ("waveform", "track", "start_seconds", "is_repeated"):
        assert all(torch.equal(value, by_condition[name][0]) for value in by_condition[name])
    assert by_condition["has_noise"].all(dim=1).tolist() == [True] * 4 + [False] * 2
    assert by_condition["has_room"].all(dim=1).tolist() == [False] * 2 + [True] * 4
    assert by_condition["snr_db"][:, 0].tolist() == [0, 10, 0, 10, 0, 0]
    assert torch.equal(by_condition["noise"][0], by_condition["noise"][3])
    assert not by_condition["noise"][4:].any()
    assert (by_condition["room"][..., 0] == 1).all()
    assert not by_condition["room"][:2, :, 1:].any()
    assert by_condition["room"][2:, :, 1:].any(dim=-1).all()
    assert torch.equal(by_condition["room"][2], by_condition["room"][5])
    for row in range(QUERIES):
        track, seconds = int(queries["track"][row]), float(queries["start_seconds"][row])
        start = round(seconds * RATE_HZ)
        assert track in data.roles.query
        assert start + SEGMENT <= data.audio.lengths[track]
        expected = _waveform(data, track, start - CONTEXT, CONTEXT + SEGMENT)
        assert torch.equal(queries["waveform"][row], expected)
    assert (np.round(queries["start_seconds"].numpy() * RATE_HZ) % 1_600 != 0).any()  # not on the hop grid


def test_longer_queries_start_where_shorter_ones_do(root: Path) -> None:
    one, three = (_fma(root, query_seconds=seconds).test_passages() for seconds in (1.0, 3.0))
    assert one.starts.tolist() == three.starts.tolist()
    assert one.tracks.tolist() == three.tracks.tolist()
    loader, _ = _fma(root, query_seconds=3.0).test_dataloader()
    assert next(iter(loader))["waveform"].shape[1] == CONTEXT + 3 * SEGMENT
    with pytest.raises(SplitError, match="query_seconds"):
        _fma(root, query_seconds=7.0).test_passages()


def test_looped_tracks_give_repeated_queries(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    loop = make_music(1.6, RATE_HZ, 0)
    for name, waveform in (("loop", np.tile(loop, 4)), ("song", make_music(6.0, RATE_HZ, 1)),
                           ("a", make_music(3.0, RATE_HZ, 2)), ("b", make_music(3.0, RATE_HZ, 3))):  # fmt: skip
        soundfile.write(folder / f"{name}.wav", waveform, RATE_HZ)
    split = tmp_path / "split.csv"
    split.write_text("filename,split\nloop.wav,test\nsong.wav,test\na.wav,train\nb.wav,train\n")
    data = MusicFolder(root=str(folder), split_file=str(split), **_common(root))  # type: ignore[arg-type]
    data.prepare_data()
    data.setup()
    passages = data.test_passages()
    is_loop = passages.tracks == data.track_names.index("loop.wav")
    assert 0 < is_loop.sum() < QUERIES
    assert passages.is_repeated.tolist() == is_loop.tolist()


def test_database_holds_every_segment_of_the_indexed_tracks(root: Path) -> None:
    data = _fma(root)
    database = _all(data, data.predict_dataloader())
    assert database["item_index"].tolist() == list(range(len(data.database)))
    position = 0
    for track in data.roles.indexed:
        count = data.num_segments(int(track))
        assert count == 1 + (int(data.audio.lengths[track]) - SEGMENT) // 1_600
        rows = slice(position, position + count)
        assert (database["track"][rows] == track).all()
        np.testing.assert_allclose(database["start_seconds"][rows], 0.1 * np.arange(count), atol=1e-12)
        last = _waveform(data, int(track), (count - 1) * 1_600, SEGMENT)
        assert torch.equal(database["waveform"][position + count - 1], last)
        position += count
    assert position == len(data.database)
    _, test_database = data.test_dataloader()
    assert _equal(_all(data, test_database), database)


def test_validation_is_apart_from_training_and_test(root: Path) -> None:
    data = _fma(root)
    queries, database = (_all(data, loader) for loader in data.val_dataloader())
    assert {*queries["track"].tolist(), *database["track"].tolist()} == set(data.roles.val.tolist())
    assert len(queries["track"]) == 3 * len(data.conditions)
    assert not set(data.roles.val) & ({*data.roles.train} | {*data.roles.query})
    assert _fma(root, val_share=0.0).val_dataloader() == []


def test_noise_and_rooms_of_training_and_test_are_disjoint(root: Path) -> None:
    files = find_noise(NoiseOptions(str(root / "musan")))
    assert not {path.read_bytes() for path in files.train} & {path.read_bytes() for path in files.test}
    data = _fma(root, segments_per_track=60)
    train = _all(data, data.train_dataloader())
    val, _ = data.val_dataloader()
    test, _ = data.test_dataloader()
    asked, validated = _all(data, test), _all(data, val)
    rooms = {name: {row.numpy().tobytes() for row in batch["room"][batch["has_room"]]}
             for name, batch in (("test", asked), ("val", validated))}  # fmt: skip
    train_rooms = {row.numpy().tobytes() for row in train["room"]}
    assert len(train_rooms) == 5  # three of AIR, two simulated
    assert not train_rooms & rooms["test"]
    assert rooms["val"] <= train_rooms
    recordings = {part: np.concatenate([soundfile.read(path, dtype="float32")[0] for path in getattr(files, part)])
                  for part in ("train", "test")}  # fmt: skip
    for batch, own, other in ((train, "train", "test"), (asked, "test", "train")):
        is_noisy = batch.get("has_noise", torch.ones(len(batch["noise"]), dtype=torch.bool))
        loudest = batch["noise"][is_noisy].abs().amax(dim=1).numpy()
        assert np.isin(loudest, np.abs(recordings[own])).all()
        assert not np.isin(loudest, np.abs(recordings[other])).any()


def test_measured_rooms_are_asked_in_where_wanted(root: Path) -> None:
    data = _fma(root, queries=QueryOptions(("clean", "measured"), num_val=1))
    assert data.conditions == ["clean", "reverb measured"]
    queries = _all(data, data.test_dataloader()[0])
    assert queries["has_room"].tolist() == [False] * QUERIES + [True] * QUERIES
    without = RoomOptions(num_train=2, num_test=1, t60_range_seconds=(0.2, 0.3))
    with pytest.raises(SplitError, match="kind measured"):
        _fma(root, queries=QueryOptions(("measured",)), rooms=without).test_dataloader()


def test_streamed_tracks_give_the_same_batches(root: Path) -> None:
    cached, streamed = _fma(root), _fma(root, cache=False)
    assert cached.roles.query.tolist() == streamed.roles.query.tolist()
    one_of_each = [[data.train_dataloader(), *data.test_dataloader()] for data in (cached, streamed)]
    for one, other in zip(*one_of_each, strict=True):
        expected, found = cached.expand(next(iter(one))), streamed.expand(next(iter(other)))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_share": 1.0}, "val_share"),
        ({"hop_seconds": 0.0}, "hop_seconds"),
        ({"context_seconds": -1.0}, "context_seconds"),
    ],
)
def test_options_out_of_range_are_errors(options: dict[str, float], message: str) -> None:
    with pytest.raises(SplitError, match=message):
        Fma(root="", **options)  # type: ignore[arg-type]


def test_what_cannot_be_trained_or_asked_is_an_error(root: Path) -> None:
    with pytest.raises(SplitError, match="to ask for"):
        _fma(root, train_subset="medium")
    with pytest.raises(SplitError, match="segments_per_track"):
        _fma(root, batch_size=64).train_dataloader()
    with pytest.raises(RuntimeError, match="setup"):
        _ = Fma(root=str(root / "fma")).roles
    with pytest.raises(RuntimeError, match="setup"):
        _ = Fma(root=str(root / "fma")).audio
    with pytest.raises(RuntimeError, match="setup"):
        Fma(root=str(root / "fma")).expand({})


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("kinds", [("echo",), ()])
def test_unknown_kinds_are_errors(kinds: tuple[str, ...]) -> None:
    with pytest.raises(SplitError, match="noise\\+reverb"):
        QueryOptions(kinds)  # type: ignore[arg-type]
