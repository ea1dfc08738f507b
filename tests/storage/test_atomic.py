"""A file or folder is there whole or not at all, whatever happens while it is written."""

import json
import os
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from matplotlib.figure import Figure

from storage.atomic import (
    clear_stale,
    write_array,
    write_csv,
    write_figure,
    write_file,
    write_json,
    write_text,
    writing_folder,
)
from storage.errors import FileNotWritten
from tests.faults import limited_file_size, names


@pytest.mark.parametrize("is_first", [True, False])
def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path: Path, is_first: bool) -> None:
    text, array = tmp_path / "report.md", tmp_path / "codes.npy"
    if not is_first:
        write_text(text, "earlier")
        write_array(array, np.arange(3))
    with limited_file_size(1000):
        with pytest.raises(FileNotWritten, match=r"report.md: expected to write it whole, found .*too large") as caught:
            write_text(text, "x" * 2000)
        with pytest.raises(FileNotWritten, match=r"codes\.npy"):
            write_array(array, np.arange(1000))
        with pytest.raises(FileNotWritten, match=r"table\.csv"):
            write_csv(tmp_path / "table.csv", [{"name": "x" * 2000}])
        with pytest.raises(FileNotWritten, match=r"map\.svg"):
            write_figure(tmp_path / "map.svg", Figure(), dpi=50)
    assert "Make room or name another disk" in str(caught.value)
    assert ("the earlier one is as it was" in str(caught.value)) is not is_first
    assert names(tmp_path) == (set() if is_first else {"report.md", "codes.npy"})
    if not is_first:
        assert text.read_text() == "earlier"
        assert np.load(array).tolist() == [0, 1, 2]
    write_text(text, "x" * 2000)
    assert len(text.read_text()) == 2000


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
def test_errors_at_the_very_end_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "file"
    write_text(path, "earlier")

    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(call, refuse)
    with pytest.raises(FileNotWritten, match="No space left on device"):
        write_text(path, "later")
    assert path.read_text() == "earlier"
    assert names(tmp_path) == {"file"}


def test_whatever_the_writer_raises_leaves_nothing(tmp_path: Path) -> None:
    def fail(file: BinaryIO) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "file", fail)
    assert names(tmp_path) == set()


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path: Path) -> None:
    for name, age in ((".file.123", 7200), (".file.124", 0), (".other.123", 7200)):
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    write_text(tmp_path / "file", "whole")
    assert names(tmp_path) == {"file", ".file.124", ".other.123"}


def test_only_what_nobody_writes_to_is_cleared(tmp_path: Path) -> None:
    hour = 3600
    for name, age in ((".a.npy.1", 2 * hour), (".a.npy.2", 60), ("a.npy", 2 * hour), (".b.npy.1", 2 * hour)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    for name, age in ((".i.new-1", 2 * hour), (".i.new-2", 60)):  # of the second, one file is still being written
        (tmp_path / name).mkdir()
        (tmp_path / name / "vectors").write_text("")
        os.utime(tmp_path / name / "vectors", (time.time() - age,) * 2)
        os.utime(tmp_path / name, (time.time() - 2 * hour,) * 2)
    clear_stale(tmp_path, ".a.npy.*")
    clear_stale(tmp_path, ".i.new-*")
    assert {path.name for path in tmp_path.iterdir()} == {".a.npy.2", "a.npy", ".b.npy.1", ".i.new-2"}


def test_what_is_written_comes_back_and_its_folder_is_made(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "a.json", {"ü": [1, None]})
    assert json.loads((tmp_path / "new" / "a.json").read_text()) == {"ü": [1, None]}
    write_csv(tmp_path / "other" / "a.csv", [{"a": 1, "b": "x,y"}])
    assert (tmp_path / "other" / "a.csv").read_text() == 'a,b\n1,"x,y"\n'
    for suffix, begin in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        write_figure(tmp_path / f"a.{suffix}", Figure(), dpi=50)
        assert (tmp_path / f"a.{suffix}").read_bytes().startswith(begin)


def write_two(folder: Path, text: str) -> None:
    with writing_folder(folder) as partial:
        write_text(partial / "a", text)
        write_text(partial / "deep" / "b", text)


def test_a_folder_replaces_the_earlier_one_whole(tmp_path: Path) -> None:
    write_two(tmp_path / "folder", "earlier")
    write_text(tmp_path / "folder" / "c", "of the earlier one")
    write_two(tmp_path / "folder", "later")
    assert names(tmp_path) == {"folder/a", "folder/deep/b"}
    assert (tmp_path / "folder" / "deep" / "b").read_text() == "later"


def test_a_full_disk_leaves_the_earlier_folder_and_names_it(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_two(folder, "earlier")
    with (
        limited_file_size(100),
        pytest.raises(FileNotWritten, match=r"/folder: .* found .*too large; the earlier one is as it was\. Make room"),
    ):
        write_two(folder, "x" * 200)
    assert names(tmp_path) == {"folder/a", "folder/deep/b"}
    assert (folder / "a").read_text() == "earlier"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("of something else")])
def test_what_is_raised_inside_is_not_taken_for_the_disk(tmp_path: Path, error: BaseException) -> None:
    def fail() -> None:
        with writing_folder(tmp_path / "folder") as partial:
            write_text(partial / "a", "half")
            raise error

    with pytest.raises((KeyboardInterrupt, OSError)):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_locked", [False, True])
def test_what_a_killed_process_left_of_a_folder_goes(tmp_path: Path, is_locked: bool) -> None:
    for name, age in ((".folder.new-1", 7200), (".folder.new-2", 0), (".folder.old-3", 0)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    with writing_folder(tmp_path / "folder", is_locked=is_locked) as partial:
        write_text(partial / "a", "whole")
    left = set() if is_locked else {".folder.new-2", ".folder.old-3"}
    assert {path.name for path in tmp_path.iterdir()} == {"folder"} | left
