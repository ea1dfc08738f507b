"""What holds for every corpus that is looked for and fetched: named by argument or environment, whole, by parts."""

import hashlib
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from datamodules import ClipDataModule, Esc50, FsdKaggle2018, SonycUst, esc50, fsd_kaggle2018
from datamodules.errors import DatasetMissing
from datamodules.sonyc_ust import corpus, release
from sound.errors import AudioFileError
from storage.errors import ChecksumMismatch
from storage.fetch import Archive
from tests.datamodules.makers import corpus_at, own_paths, set_up
from tests.replicas.esc50 import make_esc50
from tests.replicas.fsd_kaggle2018 import make_fsd_kaggle2018
from tests.replicas.sonyc_ust import make_sonyc_ust

Pack = Callable[[Path, Path], list[Archive]]


@dataclass(frozen=True)
class Released:
    """A corpus and its release.

    Attributes:
        make: Writes a replica.
        variable: Names the folder in the environment.
        archives: Module and name of what is fetched.
        pack: Packs a replica as the release is packed.
        clips: Pattern of the clips.
        fetched_last: Archive that is fetched last, and one before it.
        told: What is said before anything is fetched.
    """

    kind: type[ClipDataModule[Any]]
    make: Callable[[Path], Path]
    variable: str
    archives: tuple[object, str]
    pack: Pack
    folder: str
    clips: str
    fetched_last: tuple[str, str]
    told: str
    missing: tuple[str, ...]


Publish = Callable[[Released, Path], Path]


def checksum_of(file: Path, algorithm: str = "md5") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, file.read_bytes()).hexdigest()}"


def pack_esc50(root: Path, folder: Path) -> list[Archive]:
    shutil.copytree(root, folder / "ESC-50-master")
    file = Path(shutil.make_archive(str(folder / "master"), "zip", folder, "ESC-50-master"))
    checksum = checksum_of(file, "sha256")
    return [Archive("ESC-50", file.as_uri(), 1, checksum, "CC BY-NC 3.0", "Piczak 2015", "ESC-50-master")]


def pack_fsd_kaggle2018(root: Path, folder: Path) -> list[Archive]:
    parts = [official.top_folder for official in fsd_kaggle2018.ARCHIVES]
    files = [Path(shutil.make_archive(str(folder / part), "zip", root, part)) for part in parts]
    return [
        Archive(official.name, file.as_uri(), None, checksum_of(file), "CC0", "Nobody 2020", official.top_folder)
        for official, file in zip(fsd_kaggle2018.ARCHIVES, files, strict=True)
    ]


def pack_sonyc_ust(root: Path, folder: Path) -> list[Archive]:
    names = ["audio-0.tar.gz", "audio-1.tar.gz", "annotations.csv"]
    for part in ("audio-0", "audio-1"):
        with tarfile.open(folder / f"{part}.tar.gz", "w:gz") as archive:
            archive.add(root / part, part)
    shutil.copy(root / "annotations.csv", folder)
    official = release.ARCHIVES["v2"][0]
    return [
        replace(official, name=name, url=(folder / name).as_uri(), checksum=checksum_of(folder / name))
        for name in names
    ]


RELEASES = {
    "esc50": Released(
        Esc50, lambda root: make_esc50(root, 5, seconds=0.1), esc50.ROOT_VARIABLE, (esc50, "ARCHIVE"), pack_esc50,
        "ESC-50", "audio/*", ("", ""), "", (),
    ),
    "fsd_kaggle2018": Released(
        FsdKaggle2018, lambda root: make_fsd_kaggle2018(root, train_per_class=6, seconds=0.05),
        fsd_kaggle2018.ROOT_VARIABLE, (fsd_kaggle2018, "ARCHIVES"), pack_fsd_kaggle2018, "FSDKaggle2018",
        "FSDKaggle2018.audio_t*/*", ("FSDKaggle2018.meta.zip", "FSDKaggle2018.audio_train.zip"),
        "3 archives, 4.6 GB together", ("4.6 GB", "--data.download true"),
    ),
    "sonyc_ust": Released(
        SonycUst, lambda root: make_sonyc_ust(root, num_train=8, seconds=0.1), corpus.ROOT_VARIABLE,
        (release, "ARCHIVES"), pack_sonyc_ust, "SONYC-UST", "audio-*/*", ("annotations.csv", "audio-0.tar.gz"),
        "3 files, 13.3 GB together", ("--data.download true", "3966543", "audio-18.tar.gz"),
    ),
}  # fmt: skip
each_release = pytest.mark.parametrize("released", RELEASES.values(), ids=RELEASES.keys())
of_parts = [name for name, released in RELEASES.items() if released.told]


@pytest.fixture
def publish(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Pack a replica, have it fetched from there, and return where its archives lie."""

    def published(released: Released, root: Path) -> Path:
        folder = in_tmp / "release"
        folder.mkdir()
        archives: Any = tuple(released.pack(root, folder))
        module, name = released.archives
        values = {"ARCHIVE": archives[0], "ARCHIVES": archives}
        monkeypatch.setattr(module, name, {"v1": (), "v2": archives} if module is release else values[name])
        return folder

    return published


@each_release
def test_a_missing_corpus_says_what_to_do(released: Released, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(DatasetMissing) as caught:
        corpus_at(released.kind, nowhere, tmp_path / "cache").prepare_data()
    for part in (str(nowhere), "--data.root", released.variable, "demo.yaml", *released.missing):
        assert part in str(caught.value)
    assert not nowhere.exists()


@each_release
def test_environment_names_the_folder_and_the_argument_wins(
    released: Released, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = released.make(tmp_path / "corpus")
    monkeypatch.setenv(released.variable, str(root))
    data: Any = corpus_at(released.kind, None, tmp_path, download=True)
    assert data.folder == root
    assert data.own_copy == str(root)
    assert {item.path for item in data.items} <= set(root.glob(released.clips))
    assert data.items
    other: Any = corpus_at(released.kind, tmp_path / "other", tmp_path)
    assert other.folder == tmp_path / "other"


@each_release
def test_missing_clips_are_counted_and_the_first_named(released: Released, tmp_path: Path) -> None:
    root = released.make(tmp_path / "corpus")
    names = [item.path for item in corpus_at(released.kind, root, tmp_path).items]
    for path in names[2:5]:
        path.unlink()
    with pytest.raises(DatasetMissing, match=rf"names 3 clips that are not .*first {names[2].name}"):
        corpus_at(released.kind, root, tmp_path).prepare_data()


@each_release
def test_empty_clips_are_named_or_have_no_role(released: Released, tmp_path: Path) -> None:
    root = released.make(tmp_path / "corpus")
    bad = [item.path for item in corpus_at(released.kind, root, tmp_path).items][3::7]
    for path in bad:
        path.write_bytes(b"")
    with pytest.raises(AudioFileError, match=f"{bad[0].name}: expected audio, the file is empty"):
        corpus_at(released.kind, root, tmp_path).prepare_data()
    data = set_up(corpus_at(released.kind, root, tmp_path, on_bad_audio="skip"))
    roles = data.roles
    assert own_paths(data, roles.query, roles.database) == {item.path for item in data.items} - set(bad)
    assert set(roles.train) | set(roles.val_query) | set(roles.val_database) <= set(roles.database)


@each_release
def test_a_download_comes_into_the_default_folder(
    released: Released, in_tmp: Path, publish: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    root = released.make(in_tmp / "corpus")
    publish(released, root)
    data = set_up(corpus_at(released.kind, None, in_tmp / "cache", download=True))
    assert [item.path.name for item in data.items] == [
        item.path.name for item in corpus_at(released.kind, root, in_tmp).items
    ]
    found = {path.name for path in (in_tmp / "data" / released.folder).iterdir() if path.suffix != ".lock"}
    assert found == {path.name for path in root.iterdir()}
    assert {path.name for path in (in_tmp / "data").iterdir() if path.suffix != ".lock"} == {released.folder}
    if released.told:
        assert caplog.text.index(released.told) < caplog.text.index("Fetching")


@pytest.mark.parametrize("name", of_parts)
def test_a_killed_download_goes_on(name: str, in_tmp: Path, publish: Publish) -> None:
    released = RELEASES[name]
    folder = publish(released, released.make(in_tmp / "corpus"))
    last, earlier = (folder / name for name in released.fetched_last)
    content = last.read_bytes()
    last.write_bytes(content + b"x")
    with pytest.raises(ChecksumMismatch, match="expected md5"):
        corpus_at(released.kind, None, in_tmp / "cache", download=True).prepare_data()
    last.write_bytes(content)
    (left,) = [path for path in (in_tmp / "data" / released.folder).glob(f"{last.name}*") if path.suffix != ".lock"]
    assert left.name in (f"{last.name}.part", last.with_suffix(".zip").name)  # never a table that is not whole
    left.unlink()
    earlier.unlink()  # is not fetched again
    corpus_at(released.kind, None, in_tmp / "cache", download=True).prepare_data()


@each_release
def test_nothing_is_fetched_unless_asked_for(released: Released, in_tmp: Path, publish: Publish) -> None:
    publish(released, released.make(in_tmp / "corpus"))
    unasked = [
        corpus_at(released.kind, None, in_tmp, download=False),
        corpus_at(released.kind, in_tmp / "typo", in_tmp, download=True),
    ]
    if released.kind is SonycUst:
        unasked.append(corpus_at(released.kind, None, in_tmp, download=True, version="v1"))  # has no checksums
    for data in unasked:
        with pytest.raises(DatasetMissing, match=r"demo\.yaml"):
            data.prepare_data()
    assert not (in_tmp / "data").exists()
    assert not (in_tmp / "typo").exists()


def test_a_default_folder_without_a_table_is_told(in_tmp: Path, publish: Publish) -> None:
    released = RELEASES["esc50"]
    publish(released, released.make(in_tmp / "corpus"))
    (in_tmp / "data" / "ESC-50" / "ESC-50-master").mkdir(parents=True)
    with pytest.raises(DatasetMissing, match=r"esc50\.csv"):
        corpus_at(Esc50, None, in_tmp).prepare_data()
