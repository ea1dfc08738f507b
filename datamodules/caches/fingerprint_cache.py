"""Fingerprints of a corpus and of its distorted segments, computed once and kept memory-mapped.

A cache is a folder named after a key, a hash of the fingerprinter's settings, of the corpus's and of our own.

    <part>/<column>.npy   one row an item, in the order of the loader; parts are `train`, `val_query`, `val_item`,
                          `test_query` and `test_item`
    cache.json            what the key was made from, and size and checksum of each column; written last
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from datamodules.batches.fingerprint_rows import (
    Columns,
    WaveformFingerprinter,
    fingerprint_items,
    fingerprint_pairs,
    fingerprint_queries,
    write_parts,
)
from datamodules.batches.resumable_loader import EpochSampler, ResumableLoader
from datamodules.distortion.noise import find_noise
from datamodules.tracks import FingerprintDataModule
from storage.atomic import write_json, writing_folder
from storage.errors import IN_CACHE_DIR, FileDamaged
from storage.lock import hold_lock
from storage.manifest import check_description, check_files, hash_json, record_files

_logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
_CORPUS_OPTIONS = (
    "batch_size", "segments_per_epoch", "segments_per_track", "sample_rate_hz", "segment_seconds", "context_seconds",
    "max_offset_seconds", "hop_seconds", "query_seconds", "queries_per_condition", "val_share", "seed", "on_bad_audio",
)  # fmt: skip
_REQUIRED_PARTS = ("train", "test_query", "test_item")


@dataclass(frozen=True)
class FingerprintSource:
    """What fingerprints are computed of.

    Attributes:
        corpus: Data module whose segments are fingerprinted.
        fingerprinter: Frozen.
        num_views: Distorted versions of each training segment.
        num_passes: Epochs of the corpus that make the training segments; each draws starts of its own.
        seed: Seed of the distortions.
    """

    corpus: FingerprintDataModule
    fingerprinter: WaveformFingerprinter
    num_views: int
    num_passes: int
    seed: int

    def describe(self) -> dict[str, object]:
        """Return all that determines the fingerprints, as values JSON can hold."""
        return {
            "format_version": FORMAT_VERSION,
            "fingerprinter": self.fingerprinter.settings(),
            "corpus": _describe_corpus(self.corpus),
            "num_views": self.num_views,
            "num_passes": self.num_passes,
            "seed": self.seed,
        }

    def compute(self, generator: torch.Generator) -> Iterator[tuple[str, int, Iterator[Columns]]]:
        """Yield the name of each part, its number of batches, and its rows batch by batch."""
        # what is trained next draws the same random numbers, whether the cache was there or not
        with torch.random.fork_rng(devices=[]):
            train = self.corpus.train_dataloader()
            batches = map(self.corpus.expand, _all_passes(train, self.num_passes))
            pairs = fingerprint_pairs(self.fingerprinter, batches, self.num_views, generator)
            yield "train", self.num_passes * len(train), pairs
            for stage, loaders in (("val", self.corpus.val_dataloader()), ("test", self.corpus.test_dataloader())):
                if loaders:
                    queries, items = loaders
                    asked, searched = (map(self.corpus.expand, loader) for loader in loaders)
                    yield f"{stage}_query", len(queries), fingerprint_queries(self.fingerprinter, asked)
                    yield f"{stage}_item", len(items), fingerprint_items(self.fingerprinter, searched)


def open_or_make_fingerprints(parent: Path, source: FingerprintSource, device: torch.device) -> dict[str, Columns]:
    """Open the columns of all parts, memory-mapped; compute them first if there is no cache.

    Args:
        parent: Folder of all caches.
        source: What fingerprints are computed of.
        device: Where they are computed.

    Raises:
        FileDamaged: If the cache is damaged or of another version.
        FileNotWritten: If the disk is too small for it.
    """
    description = source.describe()
    key = hash_json(description)[:16]
    folder = parent / f"fingerprintpairs-{key}"
    if not folder.is_dir():
        with hold_lock(parent / f"{folder.name}.lock"):
            if not folder.is_dir():
                _make(folder, source, device, description)
    return _open(folder, description)


def _make(folder: Path, source: FingerprintSource, device: torch.device, description: Mapping[str, object]) -> None:
    """Compute all parts in a folder that gets its name when complete; what a killed run left is dropped."""
    source.fingerprinter.to_device(device)
    source.corpus.setup(None)
    with writing_folder(folder, IN_CACHE_DIR, is_locked=True) as partial:
        write_parts(partial, source.compute(torch.Generator(device).manual_seed(source.seed)))
        columns = sorted(path.relative_to(partial).as_posix() for path in partial.glob("*/*.npy"))
        write_json(partial / "cache.json", {**description, "files": record_files(partial, columns)})
    _logger.info("Fingerprints are kept in %s", folder)


def _all_passes(loader: ResumableLoader, num_passes: int) -> Iterator[dict[str, Tensor]]:
    for epoch in range(num_passes):
        cast(EpochSampler, loader.sampler).set_epoch(epoch)  # or each would draw the same segments
        yield from loader


def _describe_corpus(corpus: FingerprintDataModule) -> dict[str, object]:
    """Return all that determines what a corpus serves, as values JSON can hold; files by name, size and time."""
    files, noise = hashlib.sha256(), find_noise(corpus.noise)
    for path in [*(track.path for track in corpus.tracks), *noise.train, *noise.test]:
        status = path.stat()
        files.update(f"{path.parent.name}/{path.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    roles = [(track.is_trained, track.is_indexed) for track in corpus.tracks]
    files.update(json.dumps(roles).encode())
    options = {name: getattr(corpus, name) for name in _CORPUS_OPTIONS}
    options |= {name: str(getattr(corpus, name)) for name in ("noise", "rooms", "queries")}
    return options | {"corpus": type(corpus).__name__, "files_sha256": files.hexdigest()}


def _open(folder: Path, description: Mapping[str, object]) -> dict[str, Columns]:
    try:
        content = json.loads((folder / "cache.json").read_text())
        check_description(folder, content, description)
        check_files(folder, content.get("files", {}), f"Delete the folder {folder}.")  # earlier versions kept none
        rows = {
            part.name: {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in part.glob("*.npy")}
            for part in folder.iterdir()
            if part.is_dir()
        }
    except (OSError, EOFError, ValueError, TypeError, AttributeError) as error:
        raise FileDamaged(
            f"{folder}: expected a complete cache of fingerprints, found it damaged ({error}). Delete the folder."
        ) from error
    missing = [part for part in _REQUIRED_PARTS if "fingerprint" not in rows.get(part, {})]
    if missing:
        raise FileDamaged(
            f"{folder}: expected a complete cache of fingerprints, found no {missing[0]}. Delete the folder."
        )
    return rows
