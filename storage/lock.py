"""One process at a time: the others wait, or are told so."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from storage.errors import LockTaken

_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def hold_lock(path: Path, max_seconds: float | None = None) -> Iterator[None]:
    """Hold a lock file while the block runs; a killed process's lock is void.

    Where the file system can't lock, a warning says so, and nobody is kept out.

    Args:
        path: The file; its folder is made if it is not there.
        max_seconds: How long to wait for another process; None waits as long as it takes.

    Raises:
        LockTaken: If another process still holds it then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _logger.info("Another process is at work there; waiting for it (%s).", path)
        try:
            lock.acquire(timeout=-1 if max_seconds is None else max_seconds)
        except Timeout as error:
            raise LockTaken(
                f"{path}: expected it to be free, found that another process holds it. Wait for that one to end."
            ) from error
    except NotImplementedError:
        _logger.warning("%s can't be locked on this file system; see to it that one process at a time uses it.", path)
    try:
        yield
    finally:
        lock.release()
