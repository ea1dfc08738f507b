"""An index of tracks on disk: changes, readers that keep what they opened, and damage."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from retrieval.codes import RandomHyperplaneHash
from retrieval.index import BudgetProbing, FingerprintIndex, FingerprintSettings, IndexFileError, NoMatch
from retrieval.index import fingerprint_index as fingerprint_index_module
from storage.errors import FileDamaged, StorageError
from tests.draws import draw
from tests.retrieval.codes.makers import fitted_on
from tests.retrieval.index.makers import DIM, bit_hash, product_quantizer

EVERY_CODE = BudgetProbing(1 << 12)
STORAGES = pytest.mark.parametrize("storage", ["float32", "float16", "product"])


def tracks(first: int, last: int) -> list[tuple[str, Tensor]]:
    """Track n has n + 1 fingerprints."""
    return [(f"track {n}", torch.nn.functional.normalize(draw(n + 1, DIM, seed=n), dim=1)) for n in range(first, last)]


def create(folder: Path, storage: str = "float32", width: float | None = None) -> FingerprintIndex:
    quantizer = product_quantizer() if storage == "product" else None
    return FingerprintIndex.create(
        folder, bit_hash(), FingerprintSettings(DIM, storage=storage, width=width), quantizer
    )


def contents(index: FingerprintIndex) -> dict[str, list[float]]:
    """Return, of each track that is found, its first query score; items are found through every bucket."""
    query = draw(1, DIM, seed=99)
    found = index.search(query, max(1, len(index)), EVERY_CODE)
    is_there = found.item_ids[0] >= 0
    items, scores = found.item_ids[0][is_there], found.scores[0][is_there]
    assert int(found.num_evaluated[0]) == len(items) == len(items.unique())
    pairs = index.score_pairs(index.prepare(query), np.zeros(len(items), dtype=np.int64), items.numpy())
    np.testing.assert_allclose(pairs, scores, atol=1e-5)
    by_track: dict[str, list[float]] = {}
    order = items.argsort()
    for track, score in zip(index.tracks_of(items[order]).tolist(), scores[order].tolist(), strict=True):
        by_track.setdefault(index.track_names[track], []).append(round(score, 4))
    return by_track


@STORAGES
@pytest.mark.parametrize("width", [None, 0.4])
def test_adding_in_parts_removing_merging_and_compacting(tmp_path: Path, storage: str, width: float | None) -> None:
    whole, parts, other = (create(tmp_path / name, storage, width) for name in ("whole", "parts", "other"))
    assert contents(whole) == {}
    whole.add(tracks(0, 9))
    expected = contents(whole)
    assert {name: len(scores) for name, scores in expected.items()} == {f"track {n}": n + 1 for n in range(9)}
    assert len(whole) == 45
    parts.add(tracks(0, 4))
    parts.add(tracks(4, 6))
    other.add(tracks(6, 9))
    parts.merge(other)
    assert contents(parts) == expected
    assert len(contents(other)) == 3
    parts.remove(["track 2", "track 5"])
    expected = {name: scores for name, scores in expected.items() if name not in ("track 2", "track 5")}
    assert contents(parts) == expected
    assert len(parts) == 45
    parts.add([("track 2", tracks(2, 3)[0][1])])  # a name is free again
    assert contents(parts).keys() == expected.keys() | {"track 2"}
    parts.remove(["track 2"])
    parts.compact()
    assert contents(parts) == expected
    assert len(parts) == 45 - 3 - 6
    assert len(list((tmp_path / "parts" / "shards").iterdir())) == 1
    parts.verify()
    assert contents(FingerprintIndex.open(tmp_path / "parts", bit_hash())) == expected
    parts.remove(list(expected))
    parts.compact()
    assert contents(parts) == {}
    assert parts.bytes_per_item == 0


def test_tracks_are_taken_as_a_stream_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint_index_module, "_CHUNK_ITEMS", 7)
    index = create(tmp_path / "parts", width=0.4)
    index.add(iter(tracks(0, 9)))
    whole = create(tmp_path / "whole", width=0.4)
    monkeypatch.undo()
    whole.add(tracks(0, 9))
    assert contents(index) == contents(whole)
    assert index.track_starts.tolist() == [0, 1, 3, 6, 10, 15, 21, 28, 36, 45]


def test_a_reader_keeps_what_it_opened_until_it_reloads(tmp_path: Path) -> None:
    writer = create(tmp_path / "index", "float16")
    writer.add(tracks(0, 5))
    reader = FingerprintIndex.open(tmp_path / "index", bit_hash())
    before = contents(reader)
    assert not reader.reload()
    writer.add(tracks(5, 7))
    writer.remove(["track 1"])
    writer.compact()
    writer.add(tracks(7, 8))
    assert contents(reader) == before  # though its files are deleted
    assert reader.reload()
    assert contents(reader) == contents(writer)
    assert reader.generation == writer.generation == 5


def test_writers_take_in_what_others_wrote(tmp_path: Path) -> None:
    first = create(tmp_path / "index")
    second = FingerprintIndex.open(tmp_path / "index", bit_hash())
    first.add(tracks(0, 3))
    second.add(tracks(3, 5))
    first.remove(["track 4"])
    assert set(contents(first)) == {f"track {n}" for n in range(4)}
    with pytest.raises(ValueError, match=r"'track 0' is\. Remove it before"):
        second.add(tracks(0, 1))


def test_an_error_leaves_the_index_as_it_was(tmp_path: Path) -> None:
    index = create(tmp_path / "index")
    index.add(tracks(0, 3))
    files = sorted((tmp_path / "index").rglob("*"))
    broken = draw(2, DIM)
    broken[1, 2] = torch.nan
    for wrong, message in [
        ([*tracks(3, 5), *tracks(1, 2)], "'track 1' is. Remove it before"),
        ([*tracks(3, 5), *tracks(3, 4)], "'track 3' is. Remove it before"),
        ([("empty", draw(0, DIM))], "'empty' has none. Leave it out"),
        ([("broken", broken)], "row 1 has NaN"),
        ([("long", draw(2, DIM + 1))], f"vectors of {DIM} dimensions; got {DIM + 1}"),
    ]:
        with pytest.raises(ValueError, match=message):
            index.add(wrong)
    with pytest.raises(ValueError, match="'track 9' is not there"):
        index.remove(["track 1", "track 9"])
    assert sorted((tmp_path / "index").rglob("*")) == files
    assert set(contents(index)) == {"track 0", "track 1", "track 2"}
    assert index.generation == 1


def test_what_a_writer_that_died_left_is_cleared(tmp_path: Path) -> None:
    index = create(tmp_path / "index")
    for name in ("000001", ".000001.new", "000007"):
        (tmp_path / "index" / "shards" / name).mkdir()
    index.add(tracks(0, 3))
    assert [path.name for path in (tmp_path / "index" / "shards").iterdir()] == ["000001"]
    assert len(contents(index)) == 3


@STORAGES
@pytest.mark.parametrize("how", ["missing", "truncated", "flipped"])
def test_damage_is_noticed(tmp_path: Path, storage: str, how: str) -> None:
    index = create(tmp_path / "index", storage)
    index.add(tracks(0, 9))
    index.set_no_match(NoMatch({1: np.linspace(0, 1, 99)}, len(index)))
    paths = [path for path in sorted((tmp_path / "index").rglob("*")) if path.is_file() and path.name != "writer.lock"]
    assert len(paths) == 9 + (storage == "product")
    for path in paths:
        content = path.read_bytes()
        if how == "missing":
            path.unlink()
        elif how == "truncated":
            path.write_bytes(content[: len(content) // 2])
        else:
            path.write_bytes(content[:-2] + bytes([content[-2] ^ 64]) + content[-1:])
        with pytest.raises(StorageError, match=r"expected .* found"):
            FingerprintIndex.open(tmp_path / "index", bit_hash()).verify()
        path.write_bytes(content)
    FingerprintIndex.open(tmp_path / "index", bit_hash()).verify()


def test_opening_reads_no_vectors(tmp_path: Path) -> None:
    """The checksums of vectors and table are looked at by `verify` only."""
    index = create(tmp_path / "index")
    index.add(tracks(0, 9))
    path = tmp_path / "index" / "shards" / "000001" / "vectors.bin"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(FileDamaged, match="expected checksum"):
        FingerprintIndex.open(tmp_path / "index", bit_hash()).verify()


def test_another_hash_is_noticed(tmp_path: Path) -> None:
    create(tmp_path / "index").add(tracks(0, 3))
    other = fitted_on(draw(100, DIM, seed=9), RandomHyperplaneHash(DIM, 12, seed=5))
    with pytest.raises(IndexFileError, match="expected the hash that the index was built with, found another"):
        FingerprintIndex.open(tmp_path / "index", other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 9}, "found FingerprintIndex of version 9. Update this project"),
        ({"version": 1}, "found FingerprintIndex of version 1. Build it again"),
        ({"kind": "ExactIndex"}, r"found ExactIndex of version \d.*or open it with Index.load"),
        ({"version": "new"}, "expected a description"),
        ({"settings": {"dim": 3, "novel": 1}}, "expected a complete description"),
        ({"shards": [{"name": "000001"}]}, "expected a complete description"),
        ({"shards": [{"name": "000001", "num_items": 3, "removed": [], "files": {}}]}, "found no entry"),
    ],
)
def test_what_the_description_says_is_checked(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    create(tmp_path / "index").add(tracks(0, 3))
    path = tmp_path / "index" / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(IndexFileError, match=message):
        FingerprintIndex.open(tmp_path / "index", bit_hash())


def test_folders_and_settings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IndexFileError, match=r"found no index.json. Create one first"):
        FingerprintIndex.open(tmp_path / "nowhere", bit_hash())
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(IndexFileError, match="expected no folder or an empty one, found something"):
        create(tmp_path / "thesis")
    with pytest.raises(ValueError, match="a quantizer where storage is product"):
        FingerprintIndex.create(tmp_path / "index", bit_hash(), FingerprintSettings(DIM, storage="product"))
    with pytest.raises(ValueError, match=f"a quantizer of 7 dimensions; got {DIM}"):
        FingerprintIndex.create(
            tmp_path / "index", bit_hash(), FingerprintSettings(7, storage="product"), product_quantizer()
        )
    with pytest.raises(ValueError, match="as storage; got 'int8'"):
        FingerprintSettings(DIM, storage="int8")
    with pytest.raises(ValueError, match="a hop and segments longer than 0 s"):
        FingerprintSettings(DIM, hop_seconds=0.0)
    with pytest.raises(ValueError, match="at least one item to find and a reach of at least 0; got 0"):
        create(tmp_path / "index").search(draw(1, DIM), 0)


def test_only_like_indexes_with_other_tracks_are_merged(tmp_path: Path) -> None:
    index, wide, same = create(tmp_path / "index"), create(tmp_path / "wide", width=0.5), create(tmp_path / "same")
    index.add(tracks(0, 3))
    same.add(tracks(2, 4))
    with pytest.raises(ValueError, match="one hash, quantizer and settings"):
        index.merge(wide)
    with pytest.raises(ValueError, match="'track 2' is in both"):
        index.merge(same)
    same.remove(["track 2"])
    index.merge(same)
    assert set(contents(index)) == {f"track {n}" for n in range(4)}


def test_a_calibration_is_kept_with_the_index(tmp_path: Path) -> None:
    index = create(tmp_path / "index")
    for scale in (1.0, 2.0):
        index.set_no_match(NoMatch({3: np.linspace(0, scale, 99)}, len(index)))
        index.add(tracks(int(scale), int(scale) + 1))
        opened = FingerprintIndex.open(tmp_path / "index", bit_hash())
        assert opened.no_match is not None
        assert opened.no_match.threshold(3) == scale
    assert len(list((tmp_path / "index").glob("no_match-*.npz"))) == 1
