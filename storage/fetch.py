"""Fetch an archive, verify it, unpack it; nothing silently."""

import glob
import gzip
import hashlib
import logging
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch.hub
from filelock import FileLock

from datamodules.errors import ChecksumMismatch, DatasetMissing, UnsafeArchive

_logger = logging.getLogger(__name__)

_ALGORITHMS = ("sha256", "md5")
# macOS adds it to the archives it makes; it is not kept.
_FINDER_FOLDER = "__MACOSX"


@dataclass(frozen=True)
class Archive:
    """An official release, or a part of one: a zip file, a gzipped tar file or, by any other ending, a file as it is.

    Attributes:
        name: The corpus.
        url: Where it is.
        num_bytes: Its size; None where it is not published, the server then says it.
        checksum: Algorithm and digest as published, `sha256:...` or `md5:...`.
        license: What it may be used for.
        citation: Whom to cite.
        top_folder: The one folder that holds everything in a zip file; empty otherwise.
    """

    name: str
    url: str
    num_bytes: int | None
    checksum: str
    license: str
    citation: str
    top_folder: str


def fetch_archive(archive: Archive, destination: Path, how_to_name: str) -> None:
    """Download, verify and unpack; `destination` appears only when complete.

    Args:
        archive: What to fetch.
        destination: Folder that a zip file's top folder becomes, or that holds what a tar file does; the file itself if
            it is neither.
        how_to_name: Option or variable with which a user names a copy of their own; for the error.

    Raises:
        DatasetMissing: If it can't be reached or stored.
        ChecksumMismatch: If it is not the archive expected.
        UnsafeArchive: If a member would be written elsewhere.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(destination.with_name(f"{destination.name}.lock")):
        if destination.exists():
            return
        for left in destination.parent.glob(f".{glob.escape(destination.name)}.*.partial"):
            shutil.rmtree(left, ignore_errors=True)  # of a killed process: nobody else unpacks under the lock
        suffix = next((suffix for suffix in (".zip", ".tar.gz") if archive.url.endswith(suffix)), ".part")
        file = destination.with_name(f"{destination.name}{suffix}")
        _logger.warning(
            "Fetching %s: %s, licence %s, from %s to %s (unpacked beside it). Please cite %s.",
            archive.name, _size(archive), archive.license, archive.url, destination.resolve(), archive.citation,
        )  # fmt: skip
        if not file.is_file():
            _download(archive, file, destination, how_to_name)
        verify_file(file, archive.checksum)
        if suffix == ".part":
            file.replace(destination)
            return
        if suffix == ".zip":
            unpack_zip(file, archive.top_folder, destination)
        else:
            unpack_tar(file, destination)
        file.unlink()


def verify_file(path: Path, checksum: str) -> None:
    """Compare a file's checksum.

    Args:
        path: The file.
        checksum: Algorithm and digest, `sha256:...` or `md5:...`.

    Raises:
        ValueError: If `checksum` names another algorithm or none.
        ChecksumMismatch: If it differs.
    """
    algorithm, _, expected = checksum.partition(":")
    if algorithm not in _ALGORITHMS:
        raise ValueError(
            f"A checksum is algorithm:digest with one of {', '.join(_ALGORITHMS)}; got {checksum!r}. Write "
            f"{_ALGORITHMS[0]}: before the digest."
        )
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != expected:
        raise ChecksumMismatch(
            f"{path}: expected {algorithm} {expected}, found {found}. Delete the file and try again; if the release "
            "itself has changed, unpack it yourself and name its folder."
        )


def unpack_zip(path: Path, top_folder: str, destination: Path) -> None:
    """Unpack what lies under `top_folder` as `destination`, which appears only when complete.

    Raises:
        UnsafeArchive: If a member lies outside `top_folder`, leaves it, or is a link or device.
        ChecksumMismatch: If it is damaged.
        DatasetMissing: If the disk is full.
    """
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.partial")
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_unsafe_members(archive, path, top_folder)
            damaged = archive.testzip()
            if damaged is not None:
                raise ChecksumMismatch(f"{path}: member {damaged} is damaged. Delete the file and try again.")
            archive.extractall(partial)
        (partial / top_folder).replace(destination)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ChecksumMismatch(
            f"{path}: expected a whole zip file, found it damaged ({error}). Delete the file and try again."
        ) from error
    except OSError as error:
        raise _not_unpacked(path, destination, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def unpack_tar(path: Path, destination: Path) -> None:
    """Unpack a gzipped tar file as `destination`, which appears only when complete.

    Raises:
        UnsafeArchive: If a member would be written elsewhere, or is neither a file nor a folder.
        ChecksumMismatch: If it is damaged.
        DatasetMissing: If the disk is full.
    """
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.partial")
    try:
        partial.mkdir()
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                _write_member(archive, member, path, partial)
        partial.replace(destination)
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise ChecksumMismatch(
            f"{path}: expected a whole .tar.gz file, found it damaged ({error}). Delete the file and try again."
        ) from error
    except OSError as error:
        raise _not_unpacked(path, destination, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_member(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path, folder: Path) -> None:
    name = Path(member.name)
    if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
        raise UnsafeArchive(
            f"{path}: expected files and folders that stay inside, found {member.name!r}. Delete the file; don't "
            "unpack it."
        )
    content = archive.extractfile(member)
    target = folder / name
    (target.parent if content else target).mkdir(parents=True, exist_ok=True)
    if content:
        with content, target.open("wb") as file:
            shutil.copyfileobj(content, file)


def _refuse_unsafe_members(archive: zipfile.ZipFile, path: Path, top_folder: str) -> None:
    for member in archive.infolist():
        parts = Path(member.filename).parts
        kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archive was made on Windows
        is_special = kind not in (0, stat.S_IFREG, stat.S_IFDIR)
        in_folder = bool(parts) and parts[0] in (top_folder, _FINDER_FOLDER) and ".." not in parts
        if not in_folder or Path(member.filename).is_absolute() or is_special:
            raise UnsafeArchive(
                f"{path}: expected every member inside {top_folder}/, found {member.filename!r}. Delete the "
                "file; don't unpack it."
            )


def _not_unpacked(path: Path, destination: Path, error: OSError) -> DatasetMissing:
    return DatasetMissing(
        f"{destination}: expected to unpack {path} there, found {error}. Make room or name another disk, then run the "
        "command again; the archive is kept and not fetched again."
    )


def _size(archive: Archive) -> str:
    return "size as the server says" if archive.num_bytes is None else f"{archive.num_bytes / 1e6:.0f} MB"


def _download(archive: Archive, file: Path, destination: Path, how_to_name: str) -> None:
    for left in file.parent.glob(f"{glob.escape(file.name)}.*.partial"):
        left.unlink()  # of a killed process: nobody else fetches under the lock
    try:
        torch.hub.download_url_to_file(archive.url, str(file))
    except OSError as error:
        raise DatasetMissing(
            f"{archive.name} is missing and {archive.url} can't be fetched ({error}). Put a copy anywhere and name "
            f"its folder with {how_to_name}, or unpack it as {destination.resolve()}. `--config demo.yaml` "
            "needs no corpus and no network."
        ) from error
