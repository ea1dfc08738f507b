"""Fetch an archive, verify it, unpack it; nothing silently.

pooch has checksums and progress, but begins anew what was cut off, and corpora have several GB. Here a download goes on
where it stopped, with nothing but the standard library.
"""

import gzip
import http.client
import logging
import shutil
import stat
import tarfile
import urllib.error
import urllib.request
import urllib.response
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from storage.atomic import writing_folder
from storage.errors import ChecksumMismatch, NotFetched, UnsafeArchive, naming_disk_errors
from storage.lock import hold_lock
from storage.manifest import verify_file

_logger = logging.getLogger(__name__)

# macOS adds it to the archives it makes; it is not kept.
_FINDER_FOLDER = "__MACOSX"
_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60
_ALL_IS_THERE = 416  # of HTTP: there is nothing from that byte on
_KEPT = "Make room or name another disk, then run the command again; the archive is kept and not fetched again."
_DELETE = "Delete the file and try again."


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
        NotFetched: If it can't be reached.
        FileNotWritten: If it can't be stored.
        ChecksumMismatch: If it is not the archive expected.
        UnsafeArchive: If a member would be written elsewhere.
    """
    with hold_lock(destination.with_name(f"{destination.name}.lock")):
        if destination.exists():
            return
        suffix = next((suffix for suffix in (".zip", ".tar.gz") if archive.url.endswith(suffix)), ".part")
        file = destination.with_name(f"{destination.name}{suffix}")
        _logger.warning(
            "Fetching %s: %s, licence %s, from %s to %s (unpacked beside it). Please cite %s.",
            archive.name, _size(archive), archive.license, archive.url, destination.resolve(), archive.citation,
        )  # fmt: skip
        if not file.is_file():
            try:
                download(archive.url, file)
            except NotFetched as error:
                raise NotFetched(
                    f"{archive.name} is missing and {archive.url} can't be fetched ({error}). Put a copy anywhere and "
                    f"name its folder with {how_to_name}, or unpack it as {destination.resolve()}. `--config "
                    "demo.yaml` needs no corpus and no network."
                ) from error
        verify_file(file, archive.checksum)
        if suffix == ".part":
            file.replace(destination)
            return
        if suffix == ".zip":
            unpack_zip(file, archive.top_folder, destination)
        else:
            unpack_tar(file, destination)
        file.unlink()


def download(url: str, path: Path) -> None:
    """Download a file, which appears only when complete; what was cut off goes on from where it stopped.

    Args:
        url: Where it is; a server that can't begin in the middle sends it from its beginning.
        path: Where to; what has come so far lies beside it as `NAME.partial`.

    Raises:
        NotFetched: If it can't be reached, or the connection breaks.
        FileNotWritten: If the disk is full.
    """
    partial = path.with_name(f"{path.name}.partial")
    num_bytes = partial.stat().st_size if partial.is_file() else 0
    with naming_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    request = urllib.request.Request(url, headers={"Range": f"bytes={num_bytes}-"} if num_bytes else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            if response.status != http.client.PARTIAL_CONTENT:
                num_bytes = 0
            _receive(response, partial, num_bytes)
    except urllib.error.HTTPError as error:
        if error.code != _ALL_IS_THERE:
            raise NotFetched(f"{error}") from error
    except (OSError, http.client.HTTPException) as error:
        raise NotFetched(f"{error}; what has come is kept, and the same command goes on from there") from error
    partial.replace(path)


def _receive(response: http.client.HTTPResponse | urllib.response.addinfourl, partial: Path, num_bytes: int) -> None:
    """Append what a server sends to the first `num_bytes` of a file."""
    length = response.headers["Content-Length"]
    total = None if length is None else num_bytes + int(length)
    with (
        Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
            TimeRemainingColumn(), transient=True,
        ) as progress,
        naming_disk_errors(partial),
        partial.open("r+b" if num_bytes else "wb") as file,
    ):  # fmt: skip
        task = progress.add_task(partial.stem, total=total, completed=num_bytes)
        file.seek(num_bytes)
        while chunk := _read(response):
            file.write(chunk)
            num_bytes += len(chunk)
            progress.advance(task, len(chunk))
    if total is not None and num_bytes < total:
        raise ConnectionError(f"the connection ended after {num_bytes} of {total} bytes")


def _read(response: http.client.HTTPResponse | urllib.response.addinfourl) -> bytes:
    try:
        return response.read(_CHUNK_BYTES)
    except OSError as error:  # else it would be taken for one of the disk
        raise http.client.HTTPException(str(error)) from error


def unpack_zip(path: Path, top_folder: str, destination: Path) -> None:
    """Unpack what lies under `top_folder` as `destination`, which appears only when complete.

    Nobody else may write it meanwhile.

    Raises:
        UnsafeArchive: If a member lies outside `top_folder`, leaves it, or is a link or device.
        ChecksumMismatch: If it is damaged.
        FileNotWritten: If the disk is full.
    """
    with (
        writing_folder(destination, _KEPT, is_locked=True) as partial,
        _naming_faults(path, "zip", destination),
        zipfile.ZipFile(path) as archive,
    ):
        for member in archive.infolist():
            _refuse_unsafe(member, path, top_folder)
        for member in archive.infolist():
            first, *parts = Path(member.filename).parts
            target = partial.joinpath(*parts)
            if first == top_folder and member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            elif first == top_folder:
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as content, target.open("wb") as file:
                    shutil.copyfileobj(content, file)


def unpack_tar(path: Path, destination: Path) -> None:
    """Unpack a gzipped tar file as `destination`, which appears only when complete; nobody else may write it meanwhile.

    Raises:
        UnsafeArchive: If a member would be written elsewhere, or is neither a file nor a folder.
        ChecksumMismatch: If it is damaged.
        FileNotWritten: If the disk is full.
    """
    with (
        writing_folder(destination, _KEPT, is_locked=True) as partial,
        _naming_faults(path, ".tar.gz", destination),
        tarfile.open(path, "r:gz") as archive,
    ):
        for member in archive:
            name = Path(member.name)
            if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
                raise UnsafeArchive(
                    f"{path}: expected files and folders that stay inside, found {member.name!r}. Delete the file; "
                    "don't unpack it."
                )
            content = archive.extractfile(member)
            (partial / (name.parent if content else name)).mkdir(parents=True, exist_ok=True)
            if content:
                with content, (partial / name).open("wb") as file:
                    shutil.copyfileobj(content, file)


@contextmanager
def _naming_faults(path: Path, kind: str, destination: Path) -> Iterator[None]:
    """Tell a damaged archive from a disk that does not take what is in it."""
    with naming_disk_errors(destination, _KEPT):
        try:
            yield
        except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
            raise ChecksumMismatch(
                f"{path}: expected a whole {kind} file, found it damaged ({error}). Delete the file and try again."
            ) from error


def _refuse_unsafe(member: zipfile.ZipInfo, path: Path, top_folder: str) -> None:
    parts = Path(member.filename).parts
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archive was made on Windows
    is_special = kind not in (0, stat.S_IFREG, stat.S_IFDIR)
    in_folder = bool(parts) and parts[0] in (top_folder, _FINDER_FOLDER) and ".." not in parts
    if not in_folder or Path(member.filename).is_absolute() or is_special:
        raise UnsafeArchive(
            f"{path}: expected every member inside {top_folder}/, found {member.filename!r}. Delete the file; don't "
            "unpack it."
        )


def _size(archive: Archive) -> str:
    return "size as the server says" if archive.num_bytes is None else f"{archive.num_bytes / 1e6:.0f} MB"
