"""A part of a fingerprint index that is written once: whole tracks, their vectors and their hash table."""

import functools
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from torch import Tensor

from retrieval.files.fingerprints import (
    ARRAYS,
    COUNTS,
    NAMES,
    SHARDS,
    VECTORS,
    ShardRecord,
    map_array,
    read_shard_tracks,
)
from retrieval.files.indexes import COPY_AGAIN, IndexFileError
from retrieval.index.buckets import Buckets
from retrieval.index.hash_table import HashTable
from retrieval.index.probing import HashFunction
from retrieval.index.vector_rows import VectorRows
from storage.atomic import write_array, write_file, write_json, writing_folder
from storage.errors import naming_disk_errors
from storage.manifest import check_content, record_file
from storage.npy import append_array

_COPIED_ITEMS = 65_536
_UNSORTED = "unsorted.bin"


class Shard:
    """A shard as it lies on disk; vectors and table are mapped and read as searches need them.

    Args:
        folder: Of the index.
        record: What index.json says of it.
        projection: Places vectors in buckets.
        rows: How vectors are stored.

    Raises:
        IndexFileError: If a file is missing or damaged; of vectors and table, only the sizes are looked at.
    """

    def __init__(self, folder: Path, record: ShardRecord, projection: HashFunction, rows: VectorRows) -> None:
        self.folder, self.record = folder / SHARDS / record.name, record
        self._tracks = read_shard_tracks(folder, record)
        self.track_names, self.track_counts = self._tracks.names, self._tracks.counts
        self.is_removed = self._tracks.is_removed
        arrays = [map_array(self.folder, name) for name in ARRAYS]
        shape = record.num_items, rows.width
        if record.files[VECTORS].num_bytes != shape[0] * shape[1] * rows.dtype.itemsize:
            raise IndexFileError(f"{self.folder / VECTORS}: expected {shape[0]} x {shape[1]} numbers. Build it again.")
        # "c": private pages, that torch and faiss take for writable; nobody writes
        vectors = np.asarray(np.memmap(self.folder / VECTORS, rows.dtype, "c", shape=shape))
        self.table = HashTable(projection, rows, vectors, Buckets(*arrays))
        # whether an item may be found; None where all may
        self.is_alive = ~np.repeat(self.is_removed, self.track_counts) if record.removed else None

    def __len__(self) -> int:
        return self.record.num_items

    def live_names(self) -> list[str]:
        """Return the names of the tracks that are not removed."""
        return self._tracks.live_names()

    def copy_live(self, writer: "ShardWriter") -> None:
        """Append what is not removed to another shard."""
        is_alive = np.ones(len(self), dtype=bool) if self.is_alive is None else self.is_alive
        codes, positions = self.table.buckets.pairs()
        is_kept = is_alive[positions]
        writer.add_tracks(self.live_names(), self.track_counts[~self.is_removed].tolist())
        first, no_entry = writer.num_items, np.empty(0, dtype=np.int64)
        for start in range(0, len(self), _COPIED_ITEMS):
            part = slice(start, start + _COPIED_ITEMS)
            writer.add_items(self.table.vectors_of(part)[is_alive[part]], no_entry, no_entry)
        moved = np.cumsum(is_alive)[positions[is_kept]] - 1 - (writer.num_items - first)
        writer.add_items(self.table.vectors[:0], codes[is_kept], moved)

    def verify(self) -> None:
        """Read all files and compare their checksums.

        Raises:
            IndexFileError: If one is damaged.
        """
        for name, record in self.record.files.items():
            check_content(self.folder / name, record, COPY_AGAIN)


class ShardWriter:
    """Takes in tracks; see `writing_shard`."""

    def __init__(self, folder: Path, rows: VectorRows) -> None:
        self._folder = folder
        self._rows = rows
        # in the order of items, until all codes are known
        self._file = (folder / _UNSORTED).open("wb")
        self._codes: list[np.ndarray] = []
        self._positions: list[np.ndarray] = []
        self.num_items = 0
        self.track_names: list[str] = []
        self.track_counts: list[int] = []

    def add_tracks(self, names: list[str], counts: list[int]) -> None:
        """Name the tracks that items belong to, in the order of items."""
        self.track_names += names
        self.track_counts += counts

    def add_items(self, vectors: np.ndarray, codes: np.ndarray, positions: np.ndarray) -> None:
        """Append items.

        Args:
            vectors: Encoded rows.
            codes: Codes of the entries of the hash table.
            positions: Positions of the entries' items, counted from the first of these items.
        """
        with naming_disk_errors(self._folder):
            append_array(self._file, np.asarray(vectors, dtype=self._rows.dtype))
        self._codes.append(codes.astype(np.int32))
        self._positions.append((positions + self.num_items).astype(np.int32))
        self.num_items += len(vectors)

    def close(self) -> None:
        """Stop writing vectors."""
        self._file.close()

    def finish(self) -> None:
        """Write the table, and the vectors in its order."""
        with naming_disk_errors(self._folder):
            self.close()
        codes, positions = np.concatenate(self._codes), np.concatenate(self._positions)
        self._codes, self._positions = [], []
        buckets = Buckets.from_pairs(codes, positions, self.num_items)
        del codes, positions
        arrays = buckets.codes, buckets.starts, buckets.positions, buckets.rows
        for name, array in zip(ARRAYS, arrays, strict=True):
            write_array(self._folder / f"{name}.npy", array)
        unsorted = self._folder / _UNSORTED
        vectors = np.memmap(unsorted, self._rows.dtype, "r", shape=(self.num_items, self._rows.width))

        def write_sorted(file: BinaryIO) -> None:
            for start in range(0, self.num_items, _COPIED_ITEMS):
                append_array(file, vectors[buckets.items[start : start + _COPIED_ITEMS]])

        write_file(self._folder / VECTORS, write_sorted)
        unsorted.unlink()
        write_array(self._folder / COUNTS, np.array(self.track_counts, dtype=np.int64))
        write_json(self._folder / NAMES, self.track_names)


@contextmanager
def writing_shard(folder: Path, number: int, rows: VectorRows) -> Iterator[tuple[ShardWriter, list[ShardRecord]]]:
    """Write a shard aside and move it to its place on leaving, unless it is empty or something was raised.

    Args:
        folder: Of the index.
        number: Of the shard.
        rows: How vectors are stored.

    Yields:
        What takes tracks in, and a list that on leaving gets the record for index.json, where there is one.

    Raises:
        FileNotWritten: If the disk is full.
    """
    name = f"{number:06d}"
    place = folder / SHARDS / name
    records: list[ShardRecord] = []
    with writing_folder(place, is_locked=True) as partial:
        writer = ShardWriter(partial, rows)
        try:
            yield writer, records
            if writer.num_items:
                writer.finish()
        finally:
            with suppress(OSError):  # of a full disk, which has been raised before
                writer.close()
    if writer.num_items:
        files = {path.name: record_file(path) for path in sorted(place.iterdir())}
        records.append(ShardRecord(name, writer.num_items, (), files))
    else:
        shutil.rmtree(place)


def copy_shard(shard: Shard, folder: Path, number: int) -> ShardRecord:
    """Copy a shard into another index and return the record for its index.json.

    Args:
        shard: What is copied.
        folder: Of the other index.
        number: Of the shard there.

    Raises:
        FileNotWritten: If the disk is full.
    """
    place = folder / SHARDS / f"{number:06d}"
    with writing_folder(place, is_locked=True) as partial:
        for path in shard.folder.iterdir():
            with path.open("rb") as source:
                write_file(partial / path.name, functools.partial(shutil.copyfileobj, source))
    return replace(shard.record, name=place.name)


def tracks_in_batches(
    tracks: Iterable[tuple[str, Tensor]], known: set[str], num_items: int
) -> Iterator[tuple[list[str], list[Tensor]]]:
    """Check tracks and put as many together as have `num_items` vectors.

    Args:
        tracks: Names and vectors.
        known: Names that can't be taken.
        num_items: Vectors of a batch; the last has fewer.

    Raises:
        ValueError: If a name is known or there twice, or a track has no vector.
    """
    names, vectors, seen = list[str](), list[Tensor](), set(known)
    for name, of_track in tracks:
        if name in seen:
            raise ValueError(f"Expected tracks that are not in the index; {name!r} is. Remove it before.")
        if len(of_track) == 0:
            raise ValueError(f"Expected a fingerprint a track at least; {name!r} has none. Leave it out.")
        seen.add(name)
        names.append(name)
        vectors.append(of_track)
        if sum(map(len, vectors)) >= num_items:
            yield names, vectors
            names, vectors = [], []
    if names:
        yield names, vectors
