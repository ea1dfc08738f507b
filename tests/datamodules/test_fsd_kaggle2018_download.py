"""FSDKaggle2018 is fetched part by part, only where asked for, and a killed download goes on."""

import hashlib
import shutil
from pathlib import Path

import pytest

from datamodules import FsdKaggle2018
from datamodules import fsd_kaggle2018 as fsd_module
from datamodules.errors import DatasetMissing
from datamodules.fsd_kaggle2018 import ARCHIVES, ROOT_VARIABLE
from storage.errors import ChecksumMismatch
from storage.fetch import Archive
from tests.datamodules.counting_front_end import embedded
from tests.replicas.fsd_kaggle2018 import make_fsd_kaggle2018

NUM_CLASSES = 3
TRAIN_PER_CLASS = 6
TEST_PER_CLASS = 2


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_fsd_kaggle2018(tmp_path / "official", NUM_CLASSES, TRAIN_PER_CLASS, TEST_PER_CLASS, seconds=0.05)


def _data(root: Path | None, cache_dir: Path, **options: object) -> FsdKaggle2018:
    place = {"root": str(root) if root else None, "cache_dir": str(cache_dir)}
    return embedded(FsdKaggle2018(**place, **options))  # type: ignore[arg-type]


def _release(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Zip the corpus part by part as the release is zipped, and have it fetched from there."""
    release = root.parent / "release"
    archives = []
    for official in ARCHIVES:
        folder = official.top_folder
        file = Path(shutil.make_archive(str(release / folder), "zip", root, folder))
        checksum = f"md5:{hashlib.md5(file.read_bytes()).hexdigest()}"
        archives.append(Archive(official.name, file.as_uri(), None, checksum, "CC0", "Nobody 2020", folder))
    monkeypatch.setattr(fsd_module, "ARCHIVES", tuple(archives))
    return release


def test_archives_are_the_three_that_are_read() -> None:
    assert {archive.top_folder for archive in ARCHIVES} == {
        "FSDKaggle2018.meta", "FSDKaggle2018.audio_train", "FSDKaggle2018.audio_test",
    }  # fmt: skip
    assert ARCHIVES[-1].top_folder == "FSDKaggle2018.meta"  # what a killed download goes by
    for archive in ARCHIVES:
        assert archive.url == f"https://zenodo.org/records/2552860/files/{archive.top_folder}.zip"
        algorithm, digest = archive.checksum.split(":")
        assert algorithm == "md5"
        assert len(digest) == 32


def test_download_fetches_all_parts_into_the_default_folder(
    root: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)
    _release(root, monkeypatch)
    data = _data(None, in_tmp / "cache", download=True)
    data.prepare_data()
    data.setup()
    assert len(data.items) == NUM_CLASSES * (TRAIN_PER_CLASS + TEST_PER_CLASS)
    assert len(data.roles.query) == NUM_CLASSES * TEST_PER_CLASS
    folders = {path.name for path in (in_tmp / "data" / "FSDKaggle2018").iterdir() if path.suffix != ".lock"}
    assert folders == {archive.top_folder for archive in ARCHIVES}
    assert caplog.text.index("3 archives, 4.6 GB together") < caplog.text.index("Fetching")


def test_a_killed_download_goes_on(root: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)
    release = _release(root, monkeypatch)
    tables = release / "FSDKaggle2018.meta.zip"
    content = tables.read_bytes()
    tables.write_bytes(content + b"x")
    with pytest.raises(ChecksumMismatch, match="expected md5"):
        _data(None, in_tmp / "cache", download=True).prepare_data()
    tables.write_bytes(content)
    (in_tmp / "data" / "FSDKaggle2018" / "FSDKaggle2018.meta.zip").unlink()
    (release / "FSDKaggle2018.audio_train.zip").unlink()  # is not fetched again
    _data(None, in_tmp / "cache", download=True).prepare_data()


def test_nothing_is_fetched_unless_asked_for(root: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)
    _release(root, monkeypatch)
    for data in (_data(None, in_tmp), _data(in_tmp / "typo", in_tmp, download=True)):
        with pytest.raises(DatasetMissing, match=r"--data\.download true"):
            data.prepare_data()
    assert not (in_tmp / "data").exists()
    assert not (in_tmp / "typo").exists()
