"""The folder of a fingerprint index.

index.json               what the index is and which shards it has: replaced atomically, with each change's generation
quantizer.safetensors    product quantizer of the vectors, where they are quantized
no_match-000007.npz      scores of absent queries, as of generation 7
shards/000003/           never changed once it is there:
    bucket_codes.npy     int32, ascending; with bucket_starts.npy (int64) and positions.npy (int32) the hash table
    vectors.bin          one row an item, in the order of buckets
    rows.npy             int32, row of each item
    track_counts.npy     int64, items of each track
    track_names.json     in the same order
writer.lock              held by the one process that changes the index

A reader maps the shards that one index.json names and keeps them, whatever a writer does meanwhile: a file that is
deleted lives on as long as it is mapped.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from retrieval.files.indexes import COPY_AGAIN, IndexFileError
from retrieval.files.no_match import NoMatch
from storage.atomic import write_json
from storage.errors import StorageError
from storage.lock import hold_lock
from storage.manifest import FileRecord, check_content, check_size

FORMAT_VERSION = 2
MANIFEST = "index.json"
QUANTIZER = "quantizer.safetensors"
SHARDS = "shards"
# files of a shard
VECTORS, COUNTS, NAMES = "vectors.bin", "track_counts.npy", "track_names.json"
ARRAYS = {"bucket_codes": np.int32, "bucket_starts": np.int64, "positions": np.int32, "rows": np.int32}
_KIND = "FingerprintIndex"
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class ShardRecord:
    """One shard.

    Attributes:
        name: Of its folder.
        num_items: Fingerprints in it, removed ones too.
        removed: Numbers of its tracks that count as removed.
        files: Its files by name.
    """

    name: str
    num_items: int
    removed: tuple[int, ...]
    files: dict[str, FileRecord]


@dataclass(frozen=True)
class FingerprintSettings:
    """What all fingerprints of an index share.

    Attributes:
        dim: Size of a vector.
        hop_seconds: Time from one fingerprint of a track to the next.
        segment_seconds: Length of what a fingerprint is of.
        storage: float32, float16, or product: quantized.
        width: r of section 3.3: an item is under every code within it, at most 4096, those of the bits nearest
            their sign change; None for its own code only.
    """

    dim: int
    hop_seconds: float = 0.1
    segment_seconds: float = 1.0
    storage: str = "float16"
    width: float | None = None

    def __post_init__(self) -> None:
        if self.dim < 1 or not min(self.hop_seconds, self.segment_seconds) > 0:
            raise ValueError(
                "Expected at least one dimension, and a hop and segments longer than 0 s; got "
                f"{self.dim}, {self.hop_seconds} s and {self.segment_seconds} s."
            )
        if self.storage not in ("float32", "float16", "product"):
            raise ValueError(f"Expected float32, float16 or product as storage; got {self.storage!r}.")


@dataclass(frozen=True)
class FingerprintManifest:
    """What index.json says.

    Attributes:
        settings: Of all fingerprints.
        projection_check: z of fixed vectors, by which another hash than the one it was built with is noticed.
        generation: Number of changes so far.
        last_shard: Number of the last shard that was ever made.
        shards: In order of their items.
        files: Other files by name.
    """

    settings: FingerprintSettings
    projection_check: list[list[float]]
    generation: int = 0
    last_shard: int = 0
    shards: tuple[ShardRecord, ...] = ()
    files: dict[str, FileRecord] = field(default_factory=dict)


@dataclass(frozen=True)
class ShardTracks:
    """The tracks of a shard, in order of their items.

    Attributes:
        names: All names, of removed tracks too.
        counts: Items of each track; int64.
        is_removed: Of each track.
    """

    names: list[str]
    counts: np.ndarray
    is_removed: np.ndarray

    def live_names(self) -> list[str]:
        """Return the names of the tracks that are not removed."""
        return [name for name, is_removed in zip(self.names, self.is_removed, strict=True) if not is_removed]


def write_manifest(folder: Path, manifest: FingerprintManifest) -> None:
    """Replace index.json; whoever reads it sees the earlier one or this one, whole.

    Raises:
        FileNotWritten: If the disk is full; the earlier one stays.
    """
    write_json(folder / MANIFEST, {"version": FORMAT_VERSION, "kind": _KIND, **asdict(manifest)})


def read_fingerprint_manifest(folder: Path) -> FingerprintManifest:
    """Read index.json.

    Raises:
        IndexFileError: If it is missing, damaged, of another version, or of another kind of index.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise IndexFileError(f"{folder}: expected a fingerprint index, found no {MANIFEST}. Create one first.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        version, kind = int(found["version"]), str(found["kind"])
    except (KeyError, TypeError, ValueError) as error:
        raise IndexFileError(
            f"{path}: expected a description of an index, found none ({error!r}). Build it again."
        ) from error
    if version != FORMAT_VERSION or kind != _KIND:
        remedy = "Build it again." if version < FORMAT_VERSION else "Update this project, or open it with Index.load."
        raise IndexFileError(
            f"{path}: expected {_KIND} of version {FORMAT_VERSION}, found {kind} of version {version}. {remedy}"
        )
    try:
        return _to_manifest(found)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise IndexFileError(
            f"{path}: expected a complete description, found a part ({error!r}). Build it again."
        ) from error


def read_whole(folder: Path, read: Callable[[FingerprintManifest], _Found]) -> _Found:
    """Read index.json and what it names; again where a writer deleted some of it in between.

    Raises:
        StorageError: If a file is missing or damaged.
    """
    while True:
        manifest = read_fingerprint_manifest(folder)
        try:
            return read(manifest)
        except (StorageError, FileNotFoundError):
            if read_fingerprint_manifest(folder).generation == manifest.generation:
                raise


def read_shard_tracks(folder: Path, record: ShardRecord) -> ShardTracks:
    """Read which tracks a shard has; of its vectors and table, only the sizes are looked at.

    Args:
        folder: Of the index.
        record: What index.json says of the shard.

    Raises:
        IndexFileError: If index.json does not list a file.
        FileDamaged: If a file is missing or damaged.
    """
    place = folder / SHARDS / record.name
    for name in (VECTORS, COUNTS, NAMES, *(f"{array}.npy" for array in ARRAYS)):
        if name not in record.files:
            raise IndexFileError(f"{place / name}: expected in the index, found no entry. Build it again.")
        check = check_content if name in (COUNTS, NAMES) else check_size
        check(place / name, record.files[name], COPY_AGAIN)
    names: list[str] = json.loads((place / NAMES).read_text(encoding="utf-8"))
    is_removed = np.zeros(len(names), dtype=bool)
    is_removed[list(record.removed)] = True
    return ShardTracks(names, np.load(place / COUNTS, allow_pickle=False), is_removed)


def read_no_match(folder: Path, manifest: FingerprintManifest) -> NoMatch | None:
    """Read the calibration of an index; None where there is none.

    Raises:
        IndexFileError: If it is damaged.
    """
    calibrations = [name for name in manifest.files if name.startswith("no_match-")]
    return NoMatch.load(folder / calibrations[0]) if calibrations else None


def map_array(place: Path, name: str) -> np.ndarray:
    """Map one of the `ARRAYS` of a shard's folder into memory.

    Raises:
        IndexFileError: If it is damaged.
    """
    path, dtype = place / f"{name}.npy", ARRAYS[name]
    try:
        # "c": private pages, that torch and faiss take for writable; nobody writes
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise IndexFileError(f"{path}: expected an array, found a damaged file ({error}). Build it again.") from error
    if array.dtype != dtype or array.ndim != 1:
        raise IndexFileError(f"{path}: expected a row of {np.dtype(dtype)}, found {array.ndim} axes of {array.dtype}.")
    return np.asarray(array)


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Wait until no other process changes the index, and keep others from it; gone with the process.

    Where anything is raised inside, what was written and is not in index.json is deleted.
    """
    with hold_lock(folder / "writer.lock"):
        try:
            yield
        except BaseException:
            delete_unlisted(folder, read_fingerprint_manifest(folder))
            raise


def delete_unlisted(folder: Path, manifest: FingerprintManifest) -> None:
    """Delete shards and files that index.json names no more, and what a writer that died left behind."""
    listed = {shard.name for shard in manifest.shards}
    for path in (folder / SHARDS).iterdir():
        if path.name not in listed:
            shutil.rmtree(path)
    for path in folder.glob("no_match-*.npz"):
        if path.name not in manifest.files:
            path.unlink()


def _to_manifest(found: dict[str, Any]) -> FingerprintManifest:
    shards = tuple(
        ShardRecord(str(shard["name"]), int(shard["num_items"]), tuple(map(int, shard["removed"])), _to_files(shard))
        for shard in found["shards"]
    )
    check = [[float(value) for value in row] for row in found["projection_check"]]
    return FingerprintManifest(
        FingerprintSettings(**found["settings"]),
        check,
        int(found["generation"]),
        int(found["last_shard"]),
        shards,
        _to_files(found),
    )


def _to_files(found: dict[str, Any]) -> dict[str, FileRecord]:
    return {
        str(name): FileRecord(int(record["num_bytes"]), int(record["crc32"])) for name, record in found["files"].items()
    }
