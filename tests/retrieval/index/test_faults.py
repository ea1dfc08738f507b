"""Indexes under faults: a full disk while they are written, files cut and flipped, processes killed in between."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from retrieval.index import ExactIndex, FingerprintIndex, HammingIndex, Index, IndexFileError, NoMatch
from storage import manifest
from storage.errors import FileDamaged, FileNotWritten, StorageError
from tests.draws import draw
from tests.faults import cut, flip_byte, limited_file_size, names, small_disk
from tests.retrieval.index.makers import DIM, MakeIndex, bit_hash, put
from tests.retrieval.index.test_fingerprint_index import contents, create, tracks

NUM_ITEMS = 500


def hamming() -> Index:
    return put(draw(NUM_ITEMS, DIM), HammingIndex(bit_hash()))


def exact() -> Index:
    return put(draw(NUM_ITEMS, DIM), ExactIndex())


def ranking(index: Index) -> Tensor:
    return index.search(draw(3, DIM, seed=5), 10).item_ids


BOTH = pytest.mark.parametrize("make", [exact, hamming])


@BOTH
def test_a_full_disk_leaves_the_earlier_index(tmp_path: Path, make: MakeIndex) -> None:
    index = make()
    index.save(tmp_path / "index")
    before = ranking(index)
    sizes = sorted({path.stat().st_size for path in (tmp_path / "index").iterdir()})
    for num_bytes in (sizes[-1] - 1, sizes[0] - 1, 10):
        with limited_file_size(num_bytes), pytest.raises(FileNotWritten, match="expected to write it whole") as caught:
            index.save(tmp_path / "index")
        assert "the earlier one is as it was" in str(caught.value)
        assert [path.name for path in tmp_path.iterdir()] == ["index"]
        assert torch.equal(ranking(Index.load(tmp_path / "index")), before)
    index.remove(before[0, :1])
    index.save(tmp_path / "index")
    assert torch.equal(ranking(Index.load(tmp_path / "index")), ranking(index))


@BOTH
def test_a_cut_or_flipped_file_is_never_read_as_good(tmp_path: Path, make: MakeIndex) -> None:
    index, folder = make(), tmp_path / "index"
    index.save(folder)
    expected, num_noticed = ranking(index), 0
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for num_bytes in (1, len(content) // 2, len(content)):
            cut(path, num_bytes)
            with pytest.raises(StorageError, match=r"expected .* found"):
                Index.load(folder)
            path.write_bytes(content)
        if path.name == "index.json":  # has no checksum of its own
            continue
        for position in np.linspace(0, len(content) - 1, 20).astype(int).tolist():
            flip_byte(path, position)
            with pytest.raises(FileDamaged, match="expected checksum"):
                Index.load(folder)
            num_noticed += 1
            path.write_bytes(content)
    assert num_noticed >= 40
    assert torch.equal(ranking(Index.load(folder)), expected)


def test_of_large_files_only_the_size_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact().save(tmp_path / "index")
    flip_byte(tmp_path / "index" / "index.faiss", -1)
    monkeypatch.setattr(manifest, "_CHECKED_BYTES", 1000)
    assert len(Index.load(tmp_path / "index")) == NUM_ITEMS


def test_an_index_of_before_checksums_is_still_read(tmp_path: Path) -> None:
    exact().save(tmp_path / "index")
    described = tmp_path / "index" / "index.json"
    described.write_text(described.read_text().replace("file_crc32", "of_later"))
    assert len(Index.load(tmp_path / "index")) == NUM_ITEMS


def test_one_left_between_two_renames_is_named(tmp_path: Path) -> None:
    exact().save(tmp_path / "index")
    (tmp_path / "index").rename(tmp_path / ".index.old-123")
    with pytest.raises(
        IndexFileError, match=r"found no index\.json\. Rename .*/\.index\.old-123, the earlier index, to it"
    ):
        Index.load(tmp_path / "index")
    (tmp_path / ".index.old-123").rename(tmp_path / "index")
    assert len(Index.load(tmp_path / "index")) == NUM_ITEMS


def test_what_killed_processes_left_goes_with_the_next_write(tmp_path: Path) -> None:
    for name in (".index.new-1", ".index.old-2", ".index.new-3"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.faiss").write_text("half")
        for path in (tmp_path / name / "index.faiss", tmp_path / name):
            os.utime(path, (time.time() - (7200 if name != ".index.new-3" else 0),) * 2)
    exact().save(tmp_path / "index")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".index.new-3", "index"]


@pytest.mark.parametrize("change", ["add", "compact", "merge", "calibrate"])
def test_a_full_disk_leaves_a_fingerprint_index_as_it_was(tmp_path: Path, change: str) -> None:
    index, other = create(tmp_path / "index", width=0.4), create(tmp_path / "other", width=0.4)
    index.add(tracks(0, 8))
    index.remove(["track 2"])
    other.add(tracks(10, 30))
    before, files_before = contents(index), names(tmp_path / "index")
    many = NoMatch({1: np.arange(1000.0)}, 10)
    changes: dict[str, Callable[[], object]] = {
        "add": lambda: index.add(tracks(10, 30)),
        "compact": index.compact,
        "merge": lambda: index.merge(other),
        "calibrate": lambda: index.set_no_match(many),
    }
    largest = max(path.stat().st_size for path in (tmp_path / "other").rglob("*"))
    largest = {"compact": 500, "calibrate": 5000}.get(change, largest)
    for num_bytes in (largest - 1, largest // 2, 60):
        with limited_file_size(num_bytes), pytest.raises(FileNotWritten, match="expected to write it whole"):
            changes[change]()
        assert names(tmp_path / "index") == files_before
        assert contents(index) == contents(FingerprintIndex.open(tmp_path / "index", bit_hash())) == before
    changes[change]()
    FingerprintIndex.open(tmp_path / "index", bit_hash()).verify()


@pytest.mark.processes
def test_a_disk_that_is_really_full_takes_nothing_half(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 100) as disk:
        index = create(disk / "index")
        index.add(tracks(0, 8))
        before, files_before = contents(index), names(disk)
        with pytest.raises(FileNotWritten, match="No space left on device"):
            index.add([("long", torch.nn.functional.normalize(draw(20_000, DIM), dim=1))])
        assert names(disk) == files_before
        assert contents(FingerprintIndex.open(disk / "index", bit_hash())) == before
        index.add(tracks(8, 10))
        index.verify()


@pytest.mark.parametrize("storage", ["float32", "product"])
def test_an_index_that_cannot_be_begun_leaves_no_folder(tmp_path: Path, storage: str) -> None:
    with limited_file_size(100), pytest.raises(FileNotWritten, match="expected to write it whole"):
        create(tmp_path / "index", storage)
    assert not (tmp_path / "index").exists()
    assert len(create(tmp_path / "index", storage)) == 0
