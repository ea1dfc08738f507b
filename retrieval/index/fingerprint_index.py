"""An index of tracks on disk: fingerprints in shards, which readers keep while a writer adds, removes and merges."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.codes import ProductQuantizer, save_coder
from retrieval.files.fingerprints import (
    QUANTIZER,
    SHARDS,
    FingerprintManifest,
    FingerprintSettings,
    ShardRecord,
    delete_unlisted,
    read_fingerprint_manifest,
    write_manifest,
    writer_lock,
)
from retrieval.files.indexes import COPY_AGAIN, IndexFileError
from retrieval.files.no_match import NoMatch
from retrieval.index.fingerprint_shard import ShardWriter, copy_shard, tracks_in_batches, writing_shard
from retrieval.index.fingerprint_snapshot import Snapshot, check_projection, read_snapshot
from retrieval.index.hash_table import TableSearch, best_of, check_search
from retrieval.index.probing import BudgetProbing, HashFunction, Probing, WidthProbing, probe_buckets
from storage.errors import naming_disk_errors
from storage.manifest import check_content, record_file

# vectors encoded and hashed at once
_CHUNK_ITEMS = 16_384


class FingerprintIndex:
    """Fingerprints of tracks, searched through a hash table; made by `create` and `open`.

    An item's id is its number in the index, tracks one after another in order of `track_names`; removed tracks keep
    their ids and are not found. Compaction numbers items anew. A reader sees the index as it was when it was opened or
    last reloaded; whoever changes it sees the change at once. Changes of several processes wait for each other.

    Attributes:
        folder: Where it lies.
        projection: Places vectors in buckets; shared with the caller and not changed.
        track_names: All tracks, removed ones too.
        track_starts: Id of each track's first item, and the number of items at last; int64.
        is_removed: Of each track.
        no_match: Calibration of `set_no_match`; None where there is none.
    """

    def __init__(self, folder: Path, projection: HashFunction) -> None:
        self.folder, self.projection = folder, projection
        self._take(read_snapshot(folder, projection))

    @classmethod
    def create(
        cls,
        folder: Path,
        projection: HashFunction,
        settings: FingerprintSettings,
        quantizer: ProductQuantizer | None = None,
    ) -> "FingerprintIndex":
        """Make an empty index.

        Args:
            folder: Must not exist, or be empty; its parent is made if it is not there.
            projection: Places vectors of `settings.dim` in buckets.
            settings: Of all fingerprints.
            quantizer: Fitted; where `settings.storage` is product, and only then.

        Raises:
            IndexFileError: If there is something in the folder's place.
            FileNotWritten: If the disk is full.
            ValueError: If the quantizer is missing, of another dimension, or not asked for.
            RuntimeError: If the quantizer is not fitted.
        """
        if (settings.storage == "product") != (quantizer is not None):
            raise ValueError(f"Expected a quantizer where storage is product, and only there; got {settings.storage}.")
        if quantizer is not None:
            quantizer.check_is_fitted()
            if quantizer.dim != settings.dim:
                raise ValueError(f"Expected a quantizer of {settings.dim} dimensions; got {quantizer.dim}.")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise IndexFileError(f"{folder}: expected no folder or an empty one, found something. Choose another.")
        manifest = FingerprintManifest(settings, check_projection(projection, settings.dim))
        try:
            with naming_disk_errors(folder):
                (folder / SHARDS).mkdir(parents=True, exist_ok=True)
                if quantizer is not None:
                    save_coder(quantizer, folder / QUANTIZER)
                    manifest = replace(manifest, files={QUANTIZER: record_file(folder / QUANTIZER)})
                write_manifest(folder, manifest)
            return cls(folder, projection)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # nothing else was in it
            raise

    @classmethod
    def open(cls, folder: Path, projection: HashFunction) -> "FingerprintIndex":
        """Open an index; vectors and tables are mapped and read as searches need them.

        Raises:
            IndexFileError: If a file is missing, damaged or of a later version, or it was built with another hash.
        """
        return cls(folder, projection)

    def __len__(self) -> int:
        return int(self.track_starts[-1])

    @property
    def settings(self) -> FingerprintSettings:
        """What all fingerprints share."""
        return self._snapshot.manifest.settings

    @property
    def generation(self) -> int:
        """Number of changes so far."""
        return self._snapshot.manifest.generation

    @property
    def num_bytes(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    @property
    def bytes_per_item(self) -> float:
        """Bytes on disk of one item, tables and all; 0 where there are none."""
        return self.num_bytes / len(self) if len(self) else 0.0

    def reload(self) -> bool:
        """Take in what others changed; whether they did."""
        if read_fingerprint_manifest(self.folder).generation == self.generation:
            return False
        self._take(read_snapshot(self.folder, self.projection))
        return True

    def verify(self) -> None:
        """Read all files and compare their checksums.

        Raises:
            IndexFileError: If one is damaged.
        """
        for name, record in self._snapshot.manifest.files.items():
            check_content(self.folder / name, record, COPY_AGAIN)
        for shard in self._snapshot.shards:
            shard.verify()

    def add(self, tracks: Iterable[tuple[str, Float[Tensor, "_item feature"]]]) -> None:
        """Add tracks, as one shard: all of them, or none where an error is raised.

        Args:
            tracks: Names and fingerprints, `hop_seconds` apart; taken one by one and not kept.

        Raises:
            ValueError: If a name is in the index or there twice, a track has no fingerprint, or vectors don't fit.
        """
        with writer_lock(self.folder):
            self.reload()
            number = self._snapshot.manifest.last_shard + 1
            with writing_shard(self.folder, number, self._snapshot.rows) as (writer, records):
                for names, vectors in tracks_in_batches(tracks, self._snapshot.live_names(), _CHUNK_ITEMS):
                    writer.add_tracks(names, [len(of_track) for of_track in vectors])
                    for chunk in torch.cat(vectors).split(_CHUNK_ITEMS):
                        self._write_items(writer, chunk)
            self._commit(shards=(*self._snapshot.manifest.shards, *records), last_shard=number)

    def remove(self, track_names: Iterable[str]) -> None:
        """Remove tracks; their bytes stay until `compact`.

        Raises:
            ValueError: If one is not in the index, which is then as it was.
        """
        with writer_lock(self.folder):
            self.reload()
            wanted = set(track_names)
            missing = sorted(wanted - self._snapshot.live_names())
            if missing:
                raise ValueError(f"Expected names of tracks in the index; {missing[0]!r} is not there.")
            shards = []
            for shard in self._snapshot.shards:
                gone = [number for number, name in enumerate(shard.track_names) if name in wanted]
                shards.append(replace(shard.record, removed=tuple(sorted({*shard.record.removed, *gone}))))
            self._commit(shards=tuple(shards))

    def compact(self) -> None:
        """Write all shards as one, without the tracks that were removed; ids change."""
        with writer_lock(self.folder):
            self.reload()
            number = self._snapshot.manifest.last_shard + 1
            with writing_shard(self.folder, number, self._snapshot.rows) as (writer, records):
                for shard in self._snapshot.shards:
                    shard.copy_live(writer)
            self._commit(shards=tuple(records), last_shard=number)

    def merge(self, other: "FingerprintIndex") -> None:
        """Take in the shards of another index, which keeps them.

        Raises:
            ValueError: If it has other settings, another hash or quantizer, or a track of the same name.
        """
        with writer_lock(self.folder):
            self.reload()
            self._snapshot.check_mergeable(other._snapshot)
            number, added = self._snapshot.manifest.last_shard, list[ShardRecord]()
            for shard in other._snapshot.shards:
                number += 1
                added.append(copy_shard(shard, self.folder, number))
            self._commit(shards=(*self._snapshot.manifest.shards, *added), last_shard=number)

    def set_no_match(self, no_match: NoMatch) -> None:
        """Keep a calibration with the index, in place of an earlier one."""
        with writer_lock(self.folder):
            self.reload()
            name = f"no_match-{self.generation + 1:06d}.npz"
            no_match.save(self.folder / name)
            files = {
                kept: record
                for kept, record in self._snapshot.manifest.files.items()
                if not kept.startswith("no_match-")
            }
            self._commit(files={**files, name: record_file(self.folder / name)})

    def search(
        self, queries: Float[Tensor, "query feature"], num_items: int, probing: Probing | None = None, reach: int = 0
    ) -> TableSearch:
        """Score the items of the buckets visited, by inner product, in all shards.

        Args:
            queries: Fingerprints.
            num_items: Items to return a query.
            probing: Which buckets to visit; None for the paper's width of 1.25.
            reach: Items so near in time, counted in hops, to one of the best eight are scored too.

        Raises:
            ValueError: If `num_items` is under 1 or `reach` under 0, queries don't fit, or one has too many codes.
        """
        check_search(num_items, reach)
        prepared = self.prepare(queries)
        probes = probe_buckets(self.projection, queries, probing or WidthProbing(1.25))
        item_ids = np.full((len(queries), num_items), -1, dtype=np.int64)
        scores = np.full((len(queries), num_items), -np.inf, dtype=np.float32)
        num_evaluated = torch.zeros(len(queries), dtype=torch.long)
        for start, shard in zip(self._shard_starts, self._snapshot.shards, strict=False):
            found = shard.table.search_probes(prepared, num_items, probes, shard.is_alive, reach)
            num_evaluated += found.num_evaluated
            of_index = np.where(found.item_ids < 0, -1, found.item_ids + start)
            scores, item_ids = best_of(scores, item_ids, found.scores.numpy(), of_index)
        return TableSearch(torch.from_numpy(item_ids), torch.from_numpy(scores), num_evaluated, probes.counts.cpu())

    def prepare(self, queries: Float[Tensor, "query feature"]) -> np.ndarray:
        """Return queries as `score_pairs` takes them.

        Raises:
            ValueError: If they have another size than the index's vectors, or one is not finite.
        """
        return self._snapshot.rows.prepare(queries)

    def score_pairs(self, prepared: np.ndarray, owners: np.ndarray, item_ids: np.ndarray) -> np.ndarray:
        """Return the inner product of each pair of a query and an item, float32.

        Args:
            prepared: Queries, of `prepare`.
            owners: Number of a pair's query; int64.
            item_ids: Of the pair's item; int64.
        """
        scores = np.empty(len(item_ids), dtype=np.float32)
        owner_shard = np.searchsorted(self._shard_starts, item_ids, side="right") - 1
        for number, shard in enumerate(self._snapshot.shards):
            chosen = np.flatnonzero(owner_shard == number)
            positions = item_ids[chosen] - self._shard_starts[number]
            scores[chosen] = shard.table.score_pairs(prepared, owners[chosen], positions)
        return scores

    def tracks_of(self, item_ids: Int[Tensor, " item"]) -> Int[Tensor, " item"]:
        """Return the number of each item's track."""
        return torch.searchsorted(torch.from_numpy(self.track_starts), item_ids.contiguous(), right=True) - 1

    def _write_items(self, writer: ShardWriter, vectors: Tensor) -> None:
        width = self.settings.width
        placing = BudgetProbing(1) if width is None else WidthProbing(width, on_excess="nearest")
        probes = probe_buckets(self.projection, vectors, placing)
        positions = torch.repeat_interleave(probes.counts.cpu())
        writer.add_items(self._snapshot.rows.encode(vectors), probes.codes.cpu().numpy(), positions.numpy())

    def _commit(self, **changes: object) -> None:
        """Make a change visible, and delete what it made superfluous."""
        manifest = replace(self._snapshot.manifest, generation=self.generation + 1, **changes)  # type: ignore[arg-type]
        write_manifest(self.folder, manifest)
        self._take(read_snapshot(self.folder, self.projection))
        delete_unlisted(self.folder, manifest)

    def _take(self, snapshot: Snapshot) -> None:
        self._snapshot, self.no_match, shards = snapshot, snapshot.no_match, snapshot.shards
        self._shard_starts = np.cumsum([0, *map(len, shards)])
        self.track_names = [name for shard in shards for name in shard.track_names]
        self.is_removed = np.concatenate([np.empty(0, dtype=bool), *(shard.is_removed for shard in shards)])
        self.track_starts = np.cumsum(np.concatenate([[0], *(shard.track_counts for shard in shards)]), dtype=np.int64)
