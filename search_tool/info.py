"""What an index is, read off its files: needs neither torch nor the models, of which only checksums are compared."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from retrieval.files.coders import CODER_FILE, CoderFileError, read_coder_description
from retrieval.files.fingerprints import (
    SHARDS,
    FingerprintManifest,
    map_array,
    read_no_match,
    read_shard_tracks,
    read_whole,
)
from retrieval.files.indexes import ITEM_IDS, read_item_ids, read_manifest
from search_tool.files import HASH_FILE, INDEX, find_sound_model, find_track_models, folder_bytes, kind_of
from search_tool.model_records import SearchError
from search_tool.options import SOUNDS, TRACKS, IndexOptions
from search_tool.sources import read_lines


def show_info(arguments: argparse.Namespace) -> None:
    """Print what an index is, as a table or JSON, or the names of what it holds.

    Raises:
        SearchError: If there is no index, or a checkpoint is missing or another one.
        StorageError: If the index is damaged.
    """
    folder, options = Path(arguments.index), IndexOptions.parsed(arguments)
    describe = {TRACKS: describe_tracks, SOUNDS: describe_sounds}[kind_of(folder, options)]
    try:
        description, names = describe(folder, options)
    except CoderFileError as error:
        raise SearchError(str(error)) from error
    if arguments.json:
        sys.stdout.write(json.dumps(description | ({"names": names} if arguments.names else {})) + "\n")
    elif arguments.names:
        sys.stdout.writelines(name + "\n" for name in names)
    else:
        table = Table.grid(padding=(0, 2))
        for name, value in description.items():
            for label, shown in _flat(name, value):
                table.add_row(escape(label.replace("_", " ")), escape(shown))
        Console().print(table)


def describe_tracks(folder: Path, options: IndexOptions) -> tuple[dict[str, object], list[str]]:
    """Return what an index of tracks is, as values JSON can hold, and the names of its tracks.

    Raises:
        SearchError: If a checkpoint is missing or another one.
        StorageError: If a file is missing or damaged.
    """
    models, place = find_track_models(folder, options), folder / INDEX

    def read(manifest: FingerprintManifest) -> tuple[dict[str, object], list[str]]:
        settings, no_match = manifest.settings, read_no_match(place, manifest)
        shards = [read_shard_tracks(place, record) for record in manifest.shards]
        is_removed = np.concatenate([np.empty(0, dtype=bool), *(shard.is_removed for shard in shards)])
        counts = np.concatenate([np.empty(0, dtype=np.int64), *(shard.counts for shard in shards)])[~is_removed]
        seconds = (counts - 1) * settings.hop_seconds + settings.segment_seconds
        # a flow keeps z of fixed vectors, which has an entry a bit; other hashes keep their options
        is_flow, z = models.hash_model is not None, manifest.projection_check
        num_bits = len(z[0]) if is_flow else read_coder_description(folder / HASH_FILE)[1]["num_bits"]
        description = {
            "kind": TRACKS,
            "tracks": len(counts),
            "hours": float(seconds.sum()) / 3600,
            "fingerprints": int(counts.sum()),
            "bytes": folder_bytes(folder),
            "fingerprinter": models.fingerprinter.name,
            "dimensions": settings.dim,
            "hop_seconds": settings.hop_seconds,
            "segment_seconds": settings.segment_seconds,
            "storage": settings.storage,
            "hash": models.hash_name,
            "hash_checkpoint": models.hash_model.name if models.hash_model else None,
            "bits": num_bits,
            "bucket_entropy_bits": _bucket_entropy(place, manifest),
            "probes": models.num_probes,
            "generation": manifest.generation,
            "removed_tracks": int(is_removed.sum()),
            "calibration": None
            if no_match is None
            else {
                "false_alarm_rate": no_match.alpha,
                "fingerprints": no_match.num_items,
                "is_stale": no_match.is_outgrown_by(int(counts.sum())),
                "thresholds": {str(count): no_match.threshold(count) for count in no_match.num_segments},
            },
        }
        return description, [name for shard in shards for name in shard.live_names()]

    return read_whole(place, read)


def describe_sounds(folder: Path, options: IndexOptions) -> tuple[dict[str, object], list[str]]:
    """Return what an index of sounds is, as values JSON can hold, and the names of its clips.

    Raises:
        SearchError: If the checkpoint is missing or another one.
        StorageError: If a file is missing or damaged.
    """
    models, place = find_sound_model(folder, options), folder / INDEX
    manifest = read_manifest(place)
    code, code_options = read_coder_description(place / CODER_FILE)
    lines = read_lines(folder)
    description: dict[str, object] = {
        "kind": SOUNDS,
        "clips": manifest.num_items,
        "bytes": folder_bytes(folder),
        "model": models.model_file.name,
        "model_class": models.model_class,
        "code": code,
        "bits": code_options["num_bits"],
        "dimensions": code_options["dim"],
        "search": manifest.kind,
    }
    return description, [lines[item_id].name for item_id in read_item_ids(place / ITEM_IDS).tolist()]


def _bucket_entropy(place: Path, manifest: FingerprintManifest) -> float | None:
    """Return how evenly buckets are filled, see `bucket_entropy`; removed tracks count until the index is compacted."""
    if not manifest.shards:
        return None
    shards = [place / SHARDS / record.name for record in manifest.shards]
    codes = np.concatenate([map_array(shard, "bucket_codes") for shard in shards])
    sizes = np.concatenate([np.diff(map_array(shard, "bucket_starts")) for shard in shards])
    counts = np.bincount(np.unique(codes, return_inverse=True)[1], sizes)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def _flat(name: str, value: object) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [row for key, inner in value.items() for row in _flat(f"{name}: {key}", inner)]
    if value is None:
        return [(name, "none")]
    return [(name, f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value))]
