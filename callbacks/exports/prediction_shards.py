"""Predictions of several processes: each keeps its own in a shard on disk, the first one merges them.

    <folder>/shards/<number>-of-<processes>/
        <column>.npy   one row an item, in the order predicted
        shard.json     what it was made from

A shard is there complete or not at all. When the same command is given again after it was killed, a process whose shard
is complete computes one batch, and if that is the same as before, goes on with the shard; so only what was killed is
computed again. Processes on several machines need a folder that all of them see.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from callbacks.protocols import CorpusItem
from storage.atomic import write_array, write_text, writing_folder

_logger = logging.getLogger(__name__)

SHARDS = "shards"
_FORMAT_VERSION = 1
_DESCRIPTION = "shard.json"
_SECONDS_BETWEEN_LOOKS = 0.2

Columns = dict[str, np.ndarray]


class PredictionShard:
    """The shard of one process.

    Args:
        folder: Of all that is predicted.
        rank: Number of the process.
        num_processes: How many there are.
        made_from: What has to be the same for a shard to be used again, as values JSON can hold.
    """

    def __init__(self, folder: Path, rank: int, num_processes: int, made_from: Mapping[str, object]) -> None:
        self._place = shard_place(folder, rank, num_processes)
        self._earlier = self._place.with_name(f"{self._place.name}.earlier")
        self._description = json.dumps({"version": _FORMAT_VERSION, **made_from}, sort_keys=True)

    def put_aside(self) -> Columns | None:
        """Move what an earlier run left out of the way, so that nobody takes it for this one's.

        Returns:
            Its columns, memory-mapped; None if there is none, or one of other files or batches.
        """
        if self._place.is_dir():
            shutil.rmtree(self._earlier, ignore_errors=True)
            self._place.replace(self._earlier)
        description = self._earlier / _DESCRIPTION
        if not description.is_file() or description.read_text(encoding="utf-8") != self._description:
            shutil.rmtree(self._earlier, ignore_errors=True)
            return None
        return read_columns(self._earlier)

    def put_back(self) -> None:
        """Use what an earlier run left."""
        self._earlier.replace(self._place)

    def write(self, columns: Mapping[str, np.ndarray]) -> None:
        """Write the columns, and drop what an earlier run left."""
        shutil.rmtree(self._earlier, ignore_errors=True)
        with writing_folder(self._place, is_locked=True) as partial:
            for name, column in columns.items():
                write_array(partial / f"{name}.npy", column)
            write_text(partial / _DESCRIPTION, self._description)


def shard_place(folder: Path, rank: int, num_processes: int) -> Path:
    """Return where a process's shard is when it is complete."""
    return folder / SHARDS / f"{rank:04d}-of-{num_processes:04d}"


def read_columns(place: Path) -> Columns:
    """Map a shard's columns into memory."""
    return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(place.glob("*.npy"))}


def wait_for_shards(folder: Path, num_processes: int) -> list[Columns]:
    """Return the columns of all shards as soon as all are complete.

    It looks for files, since processes that have nothing left to do may wait for hours, longer than a collective may
    take. Where a process dies, whatever started it ends this one, too.
    """
    places = [shard_place(folder, rank, num_processes) for rank in range(num_processes)]
    if not all(place.is_dir() for place in places):
        _logger.info("Waiting for the predictions of other processes.")
    while not all(place.is_dir() for place in places):
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return [read_columns(place) for place in places]


def merge_shards(shards: Sequence[Mapping[str, np.ndarray]]) -> Columns:
    """Put rows in the order of their `item_index`; one that several processes predicted counts once."""
    joined = {name: np.concatenate([shard[name] for shard in shards]) for name in shards[0]}
    _, first = np.unique(joined["item_index"], return_index=True)
    return {name: column[first] for name, column in joined.items()}


def describe_files(items: Sequence[CorpusItem]) -> str:
    """Return a checksum of names, sizes and times of change; files that aren't there have none."""
    files = hashlib.sha256()
    for item in items:
        status = item.path.stat() if item.path.is_file() else None
        files.update(f"{item.name}\0{(status.st_size, status.st_mtime_ns) if status else None}\n".encode())
    return files.hexdigest()
