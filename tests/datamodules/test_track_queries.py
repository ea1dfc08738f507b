"""Queries are the same under every condition, the database has every segment, and nothing of training is asked."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from datamodules import MusicFolder, NoiseOptions, QueryOptions, RoomOptions
from datamodules.distortion.noise import find_noise
from datamodules.errors import SplitError
from tests.datamodules.makers import set_up
from tests.datamodules.track_makers import (
    CONTEXT,
    QUERIES,
    RATE_HZ,
    SEGMENT,
    are_equal,
    common_options,
    expanded,
    fma_at,
    read_waveform,
)
from tests.replicas.fma import make_music


def test_queries_are_the_same_under_every_condition(music: Path) -> None:
    data = fma_at(music)
    assert data.conditions == [
        "noise 0 dB", "noise 10 dB", "noise+reverb 0 dB", "noise+reverb 10 dB", "reverb T60 0.2 s", "reverb T60 0.3 s",
    ]  # fmt: skip
    loader, _ = data.test_dataloader()
    queries = expanded(data, loader)
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
        expected = read_waveform(data, track, start - CONTEXT, CONTEXT + SEGMENT)
        assert torch.equal(queries["waveform"][row], expected)
    assert (np.round(queries["start_seconds"].numpy() * RATE_HZ) % 1_600 != 0).any()  # not on the hop grid


def test_longer_queries_start_where_shorter_ones_do(music: Path) -> None:
    one, three = (fma_at(music, query_seconds=seconds).test_passages() for seconds in (1.0, 3.0))
    assert one.starts.tolist() == three.starts.tolist()
    assert one.tracks.tolist() == three.tracks.tolist()
    loader, _ = fma_at(music, query_seconds=3.0).test_dataloader()
    assert next(iter(loader))["waveform"].shape[1] == CONTEXT + 3 * SEGMENT
    with pytest.raises(SplitError, match="query_seconds"):
        fma_at(music, query_seconds=7.0).test_passages()


def test_looped_tracks_give_repeated_queries(music: Path, tmp_path: Path) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    loop = make_music(1.6, RATE_HZ, 0)
    for name, waveform in (("loop", np.tile(loop, 4)), ("song", make_music(6.0, RATE_HZ, 1)),
                           ("a", make_music(3.0, RATE_HZ, 2)), ("b", make_music(3.0, RATE_HZ, 3))):  # fmt: skip
        soundfile.write(folder / f"{name}.wav", waveform, RATE_HZ)
    split = tmp_path / "split.csv"
    split.write_text("filename,split\nloop.wav,test\nsong.wav,test\na.wav,train\nb.wav,train\n")
    data = set_up(MusicFolder(root=str(folder), split_file=str(split), **common_options(music)))  # type: ignore[arg-type]
    passages = data.test_passages()
    is_loop = passages.tracks == data.track_names.index("loop.wav")
    assert 0 < is_loop.sum() < QUERIES
    assert passages.is_repeated.tolist() == is_loop.tolist()


def test_database_holds_every_segment_of_the_indexed_tracks(music: Path) -> None:
    data = fma_at(music)
    database = expanded(data, data.predict_dataloader())
    assert database["item_index"].tolist() == list(range(len(data.database)))
    position = 0
    for track in data.roles.indexed:
        count = data.num_segments(int(track))
        assert count == 1 + (int(data.audio.lengths[track]) - SEGMENT) // 1_600
        rows = slice(position, position + count)
        assert (database["track"][rows] == track).all()
        np.testing.assert_allclose(database["start_seconds"][rows], 0.1 * np.arange(count), atol=1e-12)
        last = read_waveform(data, int(track), (count - 1) * 1_600, SEGMENT)
        assert torch.equal(database["waveform"][position + count - 1], last)
        position += count
    assert position == len(data.database)
    _, test_database = data.test_dataloader()
    assert are_equal(expanded(data, test_database), database)


def test_validation_is_apart_from_training_and_test(music: Path) -> None:
    data = fma_at(music)
    queries, database = (expanded(data, loader) for loader in data.val_dataloader())
    assert {*queries["track"].tolist(), *database["track"].tolist()} == set(data.roles.val.tolist())
    assert len(queries["track"]) == 3 * len(data.conditions)
    assert not set(data.roles.val) & ({*data.roles.train} | {*data.roles.query})
    assert fma_at(music, val_share=0.0).val_dataloader() == []


def test_noise_and_rooms_of_training_and_test_are_disjoint(music: Path) -> None:
    files = find_noise(NoiseOptions(str(music / "musan")))
    assert not {path.read_bytes() for path in files.train} & {path.read_bytes() for path in files.test}
    data = fma_at(music, segments_per_track=60)
    train = expanded(data, data.train_dataloader())
    val, _ = data.val_dataloader()
    test, _ = data.test_dataloader()
    asked, validated = expanded(data, test), expanded(data, val)
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


def test_measured_rooms_are_asked_in_where_wanted(music: Path) -> None:
    data = fma_at(music, queries=QueryOptions(("clean", "measured"), num_val=1))
    assert data.conditions == ["clean", "reverb measured"]
    queries = expanded(data, data.test_dataloader()[0])
    assert queries["has_room"].tolist() == [False] * QUERIES + [True] * QUERIES
    without = RoomOptions(num_train=2, num_test=1, t60_range_seconds=(0.2, 0.3))
    with pytest.raises(SplitError, match="kind measured"):
        fma_at(music, queries=QueryOptions(("measured",)), rooms=without).test_dataloader()


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("kinds", [("echo",), ()])
def test_unknown_kinds_are_errors(kinds: tuple[str, ...]) -> None:
    with pytest.raises(SplitError, match="noise\\+reverb"):
        QueryOptions(kinds)  # type: ignore[arg-type]
