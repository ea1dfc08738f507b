"""What goes wrong with disks, brought about on purpose."""

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def limited_file_size(num_bytes: int) -> Iterator[None]:
    """Let the kernel refuse what goes beyond so many bytes of any file, to C and C++ as well, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def small_disk(place: Path, num_kib: int) -> Iterator[Path]:
    """Mount a disk of so many KiB; the test is skipped where that is not allowed."""
    place.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={num_kib}k", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"a disk can't be mounted here: {mount.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def flip_byte(path: Path, position: int) -> None:
    """Change one byte, counted from the end where negative."""
    content = bytearray(path.read_bytes())
    content[position] ^= 0x40
    path.write_bytes(content)


def cut(path: Path, num_bytes: int) -> None:
    """Leave out so many bytes at the end."""
    path.write_bytes(path.read_bytes()[:-num_bytes])


def names(folder: Path) -> set[str]:
    """Return the files in a folder, hidden ones too."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
