"""Shards are used again only where they are complete and of the same files and batches."""

import os
from pathlib import Path

import numpy as np
import pytest

from callbacks.exports.prediction_shards import (
    Columns,
    PredictionShard,
    describe_files,
    merge_shards,
    shard_place,
    wait_for_shards,
)
from tests.callbacks.makers import Clip

MADE_FROM = {"num_batches": [3], "files": "abc"}


def columns(*indices: int) -> Columns:
    index = np.array(indices)
    return {"item_index": index, "embedding": np.stack([index, 10 * index], axis=1).astype(np.float32)}


def make(folder: Path, rank: int = 0, made_from: dict[str, object] | None = None) -> PredictionShard:
    return PredictionShard(folder, rank, 2, MADE_FROM if made_from is None else made_from)


def test_an_earlier_shard_is_out_of_sight_until_it_is_put_back(tmp_path: Path) -> None:
    make(tmp_path).write(columns(0, 1))
    again = make(tmp_path)
    earlier = again.put_aside()
    assert earlier is not None
    assert earlier["embedding"].tolist() == [[0, 0], [1, 10]]
    assert not shard_place(tmp_path, 0, 2).exists()
    # a process that is killed here finds it the next time
    assert make(tmp_path).put_aside() is not None
    again.put_back()
    assert shard_place(tmp_path, 0, 2).is_dir()


def test_a_new_shard_replaces_an_earlier_one(tmp_path: Path) -> None:
    make(tmp_path).write(columns(0, 1))
    again = make(tmp_path)
    again.put_aside()
    again.write(columns(0, 2))
    make(tmp_path, 1).write(columns(1, 3))
    merged = merge_shards(wait_for_shards(tmp_path, 2))
    assert merged["item_index"].tolist() == [0, 1, 2, 3]
    assert merged["embedding"][:, 1].tolist() == [0, 10, 20, 30]
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == ["0000-of-0002", "0001-of-0002"]


@pytest.mark.parametrize("made_from", [{"num_batches": [4], "files": "abc"}, {"num_batches": [3], "files": "abd"}])
def test_a_shard_of_other_files_or_batches_is_dropped(made_from: dict[str, object], tmp_path: Path) -> None:
    make(tmp_path).write(columns(0, 1))
    assert make(tmp_path, made_from=made_from).put_aside() is None
    assert list((tmp_path / "shards").iterdir()) == []


def test_what_a_killed_process_left_half_written_is_no_shard(tmp_path: Path) -> None:
    partial = shard_place(tmp_path, 0, 2).with_name(".0000-of-0002.new-1")
    partial.mkdir(parents=True)
    (partial / "embedding.npy").write_bytes(b"half")
    assert make(tmp_path).put_aside() is None
    make(tmp_path).write(columns(5))
    assert not partial.exists()
    assert shard_place(tmp_path, 0, 2).is_dir()


def test_items_that_two_processes_predicted_count_once() -> None:
    merged = merge_shards([columns(4, 0), columns(2, 4)])
    assert merged["item_index"].tolist() == [0, 2, 4]
    assert merged["embedding"][:, 0].tolist() == [0, 2, 4]


def test_a_changed_file_changes_the_description(tmp_path: Path) -> None:
    items = [Clip("a.wav", tmp_path / "a.wav"), Clip("absent.wav", tmp_path / "absent.wav")]
    items[0].path.write_bytes(b"1")
    before = describe_files(items)
    assert describe_files(items) == before
    assert describe_files(items[:1]) != before
    os.utime(items[0].path, ns=(1, 1))
    assert describe_files(items) != before
