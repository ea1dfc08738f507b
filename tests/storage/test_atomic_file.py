"""A file is there whole or not at all, whatever happens while it is written."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from storage.atomic_file import FileNotWritten, write_array, write_csv, write_file, write_text
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
    def fail(temporary: Path) -> None:
        temporary.write_text("half")
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
