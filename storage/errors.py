"""Errors of disks and of what lies on them; each says what was expected, what was found, and what to do."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

MAKE_ROOM = "Make room or name another disk, then run the command again."
IN_CACHE_DIR = (
    "Make room or name another disk with --data.cache_dir, then run the command again; what is finished is kept."
)


class StorageError(RuntimeError):
    """A file can't be kept, or isn't what was kept."""


class FileNotWritten(StorageError):
    """A file or folder can't be written; what was in its place before is as it was."""


class FileDamaged(StorageError):
    """A file or folder is not what was written there."""


class ChecksumMismatch(FileDamaged):
    """A downloaded file is not the one expected."""


class UnsafeArchive(StorageError):
    """An archive has members that would be written outside its folder."""


class NotFetched(StorageError):
    """A file can't be downloaded."""


class LockTaken(StorageError):
    """Another process holds a lock."""


@contextlib.contextmanager
def naming_disk_errors(path: Path, advice: str = MAKE_ROOM) -> Iterator[None]:
    """Say which file or folder can't be written, and what to do.

    Args:
        path: What is being written.
        advice: What a user does about it, in a sentence.

    Raises:
        FileNotWritten: If an `OSError` is raised inside.
    """
    try:
        yield
    except OSError as error:
        kept = "; the earlier one is as it was" if path.exists() else ""
        raise FileNotWritten(f"{path}: expected to write it whole, found {error}{kept}. {advice}") from error


def is_full_disk(error: OSError) -> bool:
    """Whether the disk, or somebody's share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
