"""An archive is verified before it is unpacked, and never leaves half a corpus behind."""

import dataclasses
import hashlib
import http.server
import io
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from storage.errors import ChecksumMismatch, FileNotWritten, NotFetched, UnsafeArchive
from storage.fetch import Archive, download, fetch_archive, unpack_tar, unpack_zip
from tests.faults import limited_file_size, names

TOP = "corpus-master"
CONTENT = bytes(range(256)) * 20


def _zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _checksum(path: Path, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, path.read_bytes()).hexdigest()}"


def _archive(path: Path, checksum: str | None = None) -> Archive:
    found = _checksum(path) if path.is_file() else f"sha256:{'0' * 64}"
    return Archive("Tiny", path.as_uri(), 1_000_000, checksum or found, "CC0", "Nobody 2020", TOP)


def test_good_archive_becomes_the_folder_and_nothing_else_stays(tmp_path: Path) -> None:
    source = _zip(tmp_path / "release.zip", {f"{TOP}/meta/table.csv": b"a,b\n", f"{TOP}/audio/ü.wav": CONTENT})
    destination = tmp_path / "data" / "tiny"
    fetch_archive(_archive(source), destination, "--data.root DIR")
    assert (destination / "meta" / "table.csv").read_bytes() == b"a,b\n"
    assert (destination / "audio" / "ü.wav").read_bytes() == CONTENT
    assert names(destination.parent) - {"tiny.lock"} == {"tiny/meta/table.csv", "tiny/audio/ü.wav"}


@pytest.mark.parametrize(("num_bytes", "size"), [(1_000_000, "1 MB"), (None, "size as the server says")])
def test_licence_size_and_citation_are_said_before_fetching(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, num_bytes: int | None, size: str
) -> None:
    source = _zip(tmp_path / "release.zip", {f"{TOP}/a": b"1"})
    fetch_archive(dataclasses.replace(_archive(source), num_bytes=num_bytes), tmp_path / "tiny", "--data.root DIR")
    assert all(word in caplog.text for word in ("CC0", "Nobody 2020", size, source.as_uri()))
    assert (tmp_path / "tiny" / "a").is_file()


def test_existing_folder_is_left_alone(tmp_path: Path) -> None:
    destination = tmp_path / "tiny"
    destination.mkdir()
    (destination / "mine").write_text("kept")
    fetch_archive(_archive(tmp_path / "absent.zip"), destination, "--data.root DIR")
    assert names(destination) == {"mine"}


def test_a_file_fetched_before_is_not_fetched_again(tmp_path: Path) -> None:
    source = _zip(tmp_path / "tiny.zip", {f"{TOP}/a": b"1"})
    archive = Archive("Tiny", "file:///nowhere/at-all.zip", 1, _checksum(source), "CC0", "Nobody 2020", TOP)
    fetch_archive(archive, tmp_path / "tiny", "--data.root DIR")
    assert (tmp_path / "tiny" / "a").read_bytes() == b"1"


def test_wrong_checksum_is_refused_before_unpacking(tmp_path: Path) -> None:
    source = _zip(tmp_path / "release.zip", {f"{TOP}/a": b"1"})
    destination = tmp_path / "data" / "tiny"
    with pytest.raises(ChecksumMismatch, match=r"expected sha256 f{64}, found [0-9a-f]{64}\. Delete the file"):
        fetch_archive(_archive(source, f"sha256:{'f' * 64}"), destination, "--data.root DIR")
    assert not destination.exists()


def test_unreachable_address_says_what_to_do(tmp_path: Path) -> None:
    destination = tmp_path / "data" / "tiny"
    with pytest.raises(NotFetched) as caught:
        fetch_archive(_archive(tmp_path / "absent.zip"), destination, "--data.root DIR or $TINY_ROOT")
    message = str(caught.value)
    for part in ("Tiny is missing", "absent.zip", "--data.root DIR or $TINY_ROOT", str(destination), "demo.yaml"):
        assert part in message
    assert not destination.exists()
    assert names(destination.parent) == {"tiny.lock"}


@pytest.mark.parametrize(
    "name", ["../evil", f"{TOP}/../../evil", f"{TOP}/audio/../../evil", "/evil", "elsewhere/evil", "evil", f"{TOP}x/e"]
)
def test_member_outside_the_top_folder_is_refused(tmp_path: Path, name: str) -> None:
    source = _zip(tmp_path / "release.zip", {f"{TOP}/good": b"1", name: b"evil"})
    with pytest.raises(UnsafeArchive, match="expected every member inside corpus-master/") as caught:
        unpack_zip(source, TOP, tmp_path / "data" / "tiny")
    assert name in str(caught.value)
    assert names(tmp_path) == {"release.zip"}


def test_what_finder_adds_is_dropped(tmp_path: Path) -> None:
    source = _zip(tmp_path / "release.zip", {f"{TOP}/a": b"1", f"__MACOSX/{TOP}/._a": b"2"})
    unpack_zip(source, TOP, tmp_path / "tiny")
    assert names(tmp_path) == {"release.zip", "tiny/a"}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_link_or_device_is_refused(tmp_path: Path, kind: int) -> None:
    link = zipfile.ZipInfo(f"{TOP}/audio")
    link.create_system = 3
    link.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "release.zip", "w") as archive:
        archive.writestr(link, "/etc")
    with pytest.raises(UnsafeArchive, match="corpus-master/audio"):
        unpack_zip(tmp_path / "release.zip", TOP, tmp_path / "tiny")
    assert names(tmp_path) == {"release.zip"}


# the first byte of a deflated stream decides whether it can be read at all
@pytest.mark.parametrize("position", [0, 10])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_member_is_refused(tmp_path: Path, compression: int, position: int) -> None:
    source = _zip(tmp_path / "release.zip", {f"{TOP}/good": b"1", f"{TOP}/bad": CONTENT}, compression)
    content = bytearray(source.read_bytes())
    start = content.index(f"{TOP}/bad".encode()) + len(f"{TOP}/bad") + position
    content[start : start + 8] = b"\xff" * 8
    source.write_bytes(content)
    named = f".*'{TOP}/bad'" if compression == zipfile.ZIP_STORED else ""
    with pytest.raises(ChecksumMismatch, match=rf"release\.zip.*damaged{named}.*Delete the file"):
        unpack_zip(source, TOP, tmp_path / "tiny")
    assert names(tmp_path) == {"release.zip"}


def test_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "release.zip").write_bytes(b"<html>moved</html>")
    with pytest.raises(ChecksumMismatch, match=r"release\.zip"):
        unpack_zip(tmp_path / "release.zip", TOP, tmp_path / "tiny")
    assert names(tmp_path) == {"release.zip"}


def _tar(path: Path, members: dict[str, bytes], type_: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(content), type_, "/etc"
            archive.addfile(member, io.BytesIO(content))
    return path


def test_tar_file_becomes_the_folder_with_all_it_holds(tmp_path: Path) -> None:
    source = _tar(tmp_path / "release.tar.gz", {"audio-0/ü.wav": CONTENT, "a": b"1"})
    destination = tmp_path / "data" / "audio-0"
    fetch_archive(dataclasses.replace(_archive(source), top_folder=""), destination, "--data.root DIR")
    assert (destination / "audio-0" / "ü.wav").read_bytes() == CONTENT
    assert names(destination.parent) - {"audio-0.lock"} == {"audio-0/a", "audio-0/audio-0/ü.wav"}


def test_file_of_another_kind_is_verified_and_kept_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "table.csv"
    source.write_bytes(b"a,b\n")
    destination = tmp_path / "data" / "table.csv"
    with pytest.raises(ChecksumMismatch, match="Delete the file"):
        fetch_archive(_archive(source, f"md5:{'f' * 32}"), destination, "--data.root DIR")
    assert not destination.exists()
    fetch_archive(_archive(source), destination, "--data.root DIR")  # what was fetched is verified anew
    assert destination.read_bytes() == b"a,b\n"
    assert names(destination.parent) == {"table.csv", "table.csv.lock"}


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil"])
def test_tar_member_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    source = _tar(tmp_path / "release.tar.gz", {"good": b"1", name: b"evil"})
    with pytest.raises(UnsafeArchive, match="files and folders that stay inside, found") as caught:
        unpack_tar(source, tmp_path / "data")
    assert name in str(caught.value)
    assert names(tmp_path) == {"release.tar.gz"}


@pytest.mark.parametrize(
    "type_", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
)
def test_tar_member_that_is_no_file_is_refused(tmp_path: Path, type_: bytes) -> None:
    source = _tar(tmp_path / "release.tar.gz", {"audio": b""}, type_)
    with pytest.raises(UnsafeArchive, match="found 'audio'"):
        unpack_tar(source, tmp_path / "data")
    assert names(tmp_path) == {"release.tar.gz"}


@pytest.mark.parametrize("keep", [0, 30, 200])
def test_tar_file_that_is_cut_or_none_is_refused(tmp_path: Path, keep: int) -> None:
    source = _tar(tmp_path / "release.tar.gz", {"a": CONTENT, "b": CONTENT})
    source.write_bytes(source.read_bytes()[:keep] or b"<html>moved</html>")
    with pytest.raises(ChecksumMismatch, match=r"whole \.tar\.gz file, found it damaged"):
        unpack_tar(source, tmp_path / "data")
    assert names(tmp_path) == {"release.tar.gz"}


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_a_full_disk_keeps_the_archive_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    destination = tmp_path / "data" / "tiny"
    destination.parent.mkdir()
    (tmp_path / "data" / ".tiny.new-123").mkdir()  # of a killed process
    (tmp_path / "data" / ".tiny.new-123" / "a").write_bytes(CONTENT)
    members = {f"{TOP}/a": b"1", f"{TOP}/b": bytes(100_000)}
    source = tmp_path / f"release{suffix}"
    if suffix == ".zip":
        _zip(source, members, zipfile.ZIP_DEFLATED)
    else:
        _tar(source, members)
    archive = dataclasses.replace(_archive(source), top_folder=TOP if suffix == ".zip" else "")
    with (
        limited_file_size(50_000),
        pytest.raises(FileNotWritten, match=r"tiny: expected to write it whole, found") as caught,
    ):
        fetch_archive(archive, destination, "--data.root DIR")
    assert "Make room or name another disk" in str(caught.value)
    assert names(destination.parent) - {"tiny.lock"} == {f"tiny{suffix}"}
    assert not list(destination.parent.glob(".*"))
    fetch_archive(dataclasses.replace(archive, url=f"file:///nowhere{suffix}"), destination, "--data.root DIR")
    assert len(list(destination.rglob("b"))) == 1
    assert not (destination.parent / f"tiny{suffix}").exists()


def test_a_full_disk_while_fetching_keeps_what_has_come(tmp_path: Path) -> None:
    source = _zip(tmp_path / "release.zip", {f"{TOP}/b": bytes(100_000)})
    destination = tmp_path / "data" / "tiny"
    with limited_file_size(50_000), pytest.raises(FileNotWritten, match=r"expected to write it whole, .*too large"):
        fetch_archive(_archive(source), destination, "--data.root DIR")
    assert names(tmp_path / "data") == {"tiny.lock", "tiny.zip.partial"}
    fetch_archive(_archive(source), destination, "--data.root DIR")
    assert names(tmp_path / "data") == {"tiny.lock", "tiny/b"}


class _Server(http.server.BaseHTTPRequestHandler):
    """Serves `CONTENT`; as its class says, from any byte on or not, and not all at the first time."""

    knows_ranges = True
    breaks_after: int | None = None
    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.knows_ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : self.breaks_after])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(_Server, "asked", [])
    with http.server.HTTPServer(("127.0.0.1", 0), _Server) as served:
        thread = threading.Thread(target=served.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}/file.zip"
        served.shutdown()
        thread.join()


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_download_that_broke_goes_on(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, knows_ranges: bool
) -> None:
    monkeypatch.setattr(_Server, "knows_ranges", knows_ranges)
    monkeypatch.setattr(_Server, "breaks_after", 2_000)
    with pytest.raises(NotFetched, match=r"after 2000 of 5120 bytes; .* the same command goes on from there"):
        download(server, tmp_path / "file.zip")
    assert names(tmp_path) == {"file.zip.partial"}
    monkeypatch.setattr(_Server, "breaks_after", None)
    download(server, tmp_path / "file.zip")
    assert (tmp_path / "file.zip").read_bytes() == CONTENT
    assert names(tmp_path) == {"file.zip"}
    assert _Server.asked == [None, "bytes=2000-"]


def test_a_download_that_is_all_there_is_taken(tmp_path: Path, server: str) -> None:
    (tmp_path / "file.zip.partial").write_bytes(CONTENT)
    download(server, tmp_path / "file.zip")
    assert (tmp_path / "file.zip").read_bytes() == CONTENT
