"""SONYC-UST's releases on Zenodo, CC BY 4.0: what they hold, where their clips lie once unpacked, and fetching them.

    v1   record 2590742   2,351 train and 443 validate clips; later records add 274 test clips
    v2   record 3966543   13,538 train, 4,308 validate (mostly not verified) and 664 test clips

Clips lie in folders whose name begins with `audio` (v2's archives unpack as `audio-0` to `audio-18`, later records of
v1 as `audio-dev/train`, `audio-dev/validate` and `audio-eval`) or is `train`, `validate` or `test` (v1's first record).

MD5 sums of v2 are those of soundata's loader of version 2.3.0 (`sonyc_ust`), in agreement with what users of single
files noted, who are the source of the sizes too; the other sizes are not known. No checksum of v1 was found, so it is
not fetched: what can't be verified isn't unpacked.
"""

import logging
from pathlib import Path
from typing import Literal

from datamodules.errors import DatasetMissing
from datamodules.sonyc_ust.annotations import SPLITS
from sound.audio import AUDIO_SUFFIXES
from storage.fetch import Archive, fetch_archive

_logger = logging.getLogger(__name__)

Version = Literal["v1", "v2"]
TABLE = "annotations.csv"
_LICENSE = "CC BY 4.0"
_CITATION = "M. Cartwright et al., SONYC-UST-V2: An Urban Sound Tagging Dataset with Spatiotemporal Context, DCASE 2020"
_MD5_OF_AUDIO = (
    "bbb4dbae7d2e58e18d24878b9ee1eb51",
    "7c369ff37ac6a1fdd8493fdffe62e0a1",
    "412241c063d7f196953d3dd1c44aeb5e",
    "d2a872392d95993a2c238d305b940812",
    "b15b0e0cb3f8584259ef0d24293a9be3",
    "de745f887067433757a2f2c8f99f99bb",
    "b0286c67468369d66336f6f5ddede31f",
    "ff300183ab7a9d3f2f74c3b730ffeb52",
    "7be76b821fa6dbe20f6b50ca440e1024",
    "959f7edfbb26eadad9865069f38aa9dd",
    "84e94de273666c537a3e6b709ee88d9b",
    "44fe1f43121a7d1178aa0cdf7477793b",
    "a7eb21011f460b5ac289f8e285e875ab",
    "27945a8b1008eec787f97213164951e6",
    "fb8c7d81c3bde3a0c86c1e55e6a85a24",
    "f6af9b65d876ef96d199b9e5f0473cb9",
    "e8337c61a90c30989d500f950fbe443a",
    "3e47e85eb4564a30fe7f442ee97ec7b9",
    "c6b2ef4d0d5b7269d465c469cdbbdc4b",
)
_NUM_BYTES = {
    "audio-0.tar.gz": 721_618_074,
    "audio-18.tar.gz": 365_905_437,
    "dcase-ust-taxonomy.yaml": 1_081,
    "annotations.csv": 14_488_305,
}
_MD5 = {f"audio-{part}.tar.gz": md5 for part, md5 in enumerate(_MD5_OF_AUDIO)} | {
    "dcase-ust-taxonomy.yaml": "6c1cca1c4c383a6ebb0cb71cb74fe3a9",
    "annotations.csv": "70b507b15bb4cfcce4870925302f276b",  # last: it says that all is there
}


RECORDS: dict[Version, str] = {
    "v1": "https://zenodo.org/records/2590742",
    "v2": "https://zenodo.org/records/3966543",
}
ARCHIVES: dict[Version, tuple[Archive, ...]] = {
    "v1": (),
    "v2": tuple(
        Archive(
            f"SONYC-UST v2 ({name})", f"{RECORDS['v2']}/files/{name}", _NUM_BYTES.get(name), f"md5:{md5}", _LICENSE,
            _CITATION, "",
        )
        for name, md5 in _MD5.items()
    ),
}  # fmt: skip
_FILES: dict[Version, str] = {
    "v1": "annotations.csv and audio.tar.gz",
    "v2": "annotations.csv and audio-0.tar.gz to audio-18.tar.gz",
}


def find_release(root: Path, version: Version, download: bool, how_to_name: str) -> None:
    """Make sure that the table is there, or fetch a release.

    Args:
        root: Folder of the corpus.
        version: What to fetch or to ask for.
        download: Whether to fetch.
        how_to_name: Option or variable with which a user names a copy of their own; for errors.

    Raises:
        DatasetMissing: If there is no table and none was fetched.
        ChecksumMismatch: If a file that was fetched is not the one expected.
        UnsafeArchive: If an archive would be unpacked elsewhere.
    """
    table = root / TABLE
    if table.is_file():
        return
    if not download or not ARCHIVES[version]:
        raise DatasetMissing(
            f"Expected SONYC-UST in {root.resolve()}: {TABLE} is not there. Fetch {_FILES[version]} from "
            f"{RECORDS[version]}, unpack them into one folder and name it with {how_to_name}"
            + ("; or leave both out and set --data.download true to have 13.3 GB fetched" * (version == "v2"))
            + (", because no checksum of v1 is on record to fetch it by" * (version == "v1"))
            + ". `python train.py fit --config demo.yaml` needs no corpus."
        )
    _logger.warning("SONYC-UST %s comes in %d files, 13.3 GB together.", version, len(ARCHIVES[version]))
    for archive in ARCHIVES[version]:
        file_name = archive.url.rsplit("/", 1)[1]
        fetch_archive(archive, root / file_name.removesuffix(".tar.gz"), how_to_name)


def find_clips(root: Path) -> dict[str, Path]:
    """Return the path of each clip by its stem; the first in alphabetical order where there are several."""
    files: dict[str, Path] = {}
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and (folder.name.startswith("audio") or folder.name in SPLITS):
            for path in sorted(folder.rglob("*")):
                if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith("."):
                    files.setdefault(path.stem, path)
    return files
