"""Folders that hold no index, a broken one, or somebody else's."""

import json
from pathlib import Path

import pytest
import torch

from retrieval.index import AsymmetricIndex, ExactIndex, HammingIndex, Index, IndexFileError, InvertedIndex
from storage.errors import StorageError
from tests.draws import draw
from tests.retrieval.index.makers import DIM, MakeIndex, contract, filled


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(b"\xa5" * len(content))


@contract
@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "overwritten"])
def test_every_damaged_file_is_noticed(make: MakeIndex, tmp_path: Path, how: str) -> None:
    index = filled(make, draw(20, DIM))
    index.save(tmp_path / "whole")
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert {"index.json", "item_ids.npy"} < set(names)
    for name in names:
        index.save(tmp_path / name)
        damage(tmp_path / name / name, how)
        with pytest.raises(StorageError, match=r"expected .* found"):
            Index.load(tmp_path / name)


def test_a_missing_index_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(IndexFileError, match=r"found no index.json. Write one with Index.save"):
        Index.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 99}, "expected version 1 or earlier, found 99. Update this project"),
        ({"kind": "LaterIndex"}, "expected Index, found LaterIndex"),
        ({"num_items": 19}, r"expected one number of items, found \(19, 20, 20\)"),
        ({"options": {"metric": "manhattan"}}, "metric must be cosine or euclidean"),
        ({"options": {"novel": 1}}, "novel"),
        ({"options": None}, "expected a complete description"),
        ({"version": "new"}, "expected a description"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_what_the_description_says_is_checked(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    filled(ExactIndex, draw(20, DIM)).save(tmp_path / "index")
    path = tmp_path / "index" / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(IndexFileError, match=message):
        Index.load(tmp_path / "index")


def test_an_index_is_opened_by_its_own_class_or_any_above(tmp_path: Path) -> None:
    filled(ExactIndex, draw(20, DIM)).save(tmp_path / "index")
    assert isinstance(Index.load(tmp_path / "index"), ExactIndex)
    for kind in (HammingIndex, AsymmetricIndex, InvertedIndex):
        with pytest.raises(
            IndexFileError, match=f"expected {kind.__name__}, found ExactIndex. Open it with Index.load"
        ):
            kind.load(tmp_path / "index")


def test_other_peoples_folders_are_left_alone(tmp_path: Path) -> None:
    index = filled(ExactIndex, draw(20, DIM))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    (tmp_path / "file").write_text("more")
    for name in ("thesis", "file"):
        with pytest.raises(IndexFileError, match="expected an index or no folder, found something else"):
            index.save(tmp_path / name)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    index.save(tmp_path / "empty")
    assert len(Index.load(tmp_path / "empty")) == 20


def test_a_save_that_fails_leaves_the_earlier_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(ExactIndex, draw(20, DIM)).save(tmp_path / "index")
    later = filled(ExactIndex, draw(30, DIM))

    def fail(folder: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(later, "_write", fail)
    with pytest.raises(OSError, match="disk full"):
        later.save(tmp_path / "index")
    assert len(Index.load(tmp_path / "index")) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_what_has_nothing_to_save_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="doesn't know its dimension"):
        ExactIndex().save(tmp_path / "index")
    with pytest.raises(RuntimeError, match="not fitted"):
        InvertedIndex(DIM, 4, 2, 8, 16).save(tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


def test_loading_maps_and_does_not_read(tmp_path: Path) -> None:
    """The file may be larger than memory: no more than its first pages are touched until a search."""
    index = ExactIndex("euclidean")
    index.add(draw(1000, 256), torch.arange(1000))
    index.save(tmp_path / "index")
    loaded = ExactIndex.load(tmp_path / "index")
    assert not loaded.faiss_index.codes.is_owned
    loaded.add(draw(1, 256), torch.tensor([1000]))
    assert loaded.faiss_index.codes.is_owned
