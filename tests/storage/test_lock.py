"""One process at a time holds a lock; who waits is told so."""

import logging
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from storage.errors import LockTaken
from storage.lock import hold_lock


def test_who_waits_is_told_and_goes_on_when_it_is_free(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    order = []

    def wait() -> None:
        with hold_lock(tmp_path / "new" / "lock"):
            order.append("second")

    with hold_lock(tmp_path / "new" / "lock"):
        other = threading.Thread(target=wait)
        other.start()
        other.join(0.3)
        order.append("first")
    other.join()
    assert order == ["first", "second"]
    assert "Another process is at work there; waiting for it" in caplog.text


def test_a_lock_that_stays_taken_is_an_error(tmp_path: Path) -> None:
    with FileLock(tmp_path / "lock"):
        errors: list[str] = []

        def wait() -> None:
            with (
                pytest.raises(LockTaken, match="another process holds it") as caught,
                hold_lock(tmp_path / "lock", 0.1),
            ):
                pass
            errors.append(str(caught.value))

        other = threading.Thread(target=wait)
        other.start()
        other.join()
    assert "another process holds it" in errors[0]


def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(self: FileLock, timeout: float) -> None:
        raise NotImplementedError

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with hold_lock(tmp_path / "lock"):
        assert "can't be locked on this file system" in caplog.text


def test_it_is_free_again_whatever_is_raised(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="inside"), hold_lock(tmp_path / "lock"):
        raise RuntimeError("inside")
    with hold_lock(tmp_path / "lock", 0.1):
        assert (tmp_path / "lock").is_file()
