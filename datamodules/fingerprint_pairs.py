"""Fingerprints of a corpus and of its distorted segments, computed once, for what learns from fingerprints alone.

A cache is a folder named after a key, a hash of the fingerprinter's settings, of the corpus's and of our own.

    <part>/<column>.npy   one row an item, in the order of the loader; parts are `train`, `val_query`, `val_item`,
                          `test_query` and `test_item`
    cache.json            what the key was made from, and size and checksum of each column; written last

A training batch is a dict of tensors:

    fingerprint  float32 [batch, feature]   of clean segments
    distorted    float32 [batch, feature]   of the same segments in one of `num_views` distortions, drawn anew each time
                                            (or estimated, see `train_on`)
    item_index   int64 [batch]              position in the cache

Validation and test serve two loaders, queries, then the database: `fingerprint`, `track`, `start_seconds` (float64),
`condition`, `is_repeated` and `item_index`; items of the database are of no condition (-1).
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import pytorch_lightning as pl
import torch
from filelock import FileLock
from torch import Tensor, nn
from torch.utils.data import DataLoader

from datamodules.batches.dealing import WholeBatchSampler, processes_and_rank
from datamodules.batches.feature_dataset import pass_batch
from datamodules.batches.fingerprint_rows import (
    FingerprintRows,
    PairRows,
    WaveformFingerprinter,
    fingerprint_items,
    fingerprint_pairs,
    fingerprint_queries,
    shuffled_pairs,
    write_parts,
)
from datamodules.batches.resumable_loader import EpochSampler, ResumableLoader
from datamodules.distortion.noise import find_noise
from datamodules.errors import CacheError, SplitError
from datamodules.fingerprint_data import FingerprintDataModule
from datamodules.tracks import Track
from storage.cache_files import check_description, check_files, record_files, write_json

_logger = logging.getLogger(__name__)

TrainOn = Literal["segments", "database"]

FORMAT_VERSION = 1
_EVALUATION_BATCH = 4096
_CORPUS_OPTIONS = (
    "batch_size", "segments_per_epoch", "segments_per_track", "sample_rate_hz", "segment_seconds", "context_seconds",
    "max_offset_seconds", "hop_seconds", "query_seconds", "queries_per_condition", "val_share", "seed", "on_bad_audio",
)  # fmt: skip
_REQUIRED_PARTS = ("train", "test_query", "test_item")


class FingerprintPairs(pl.LightningDataModule):
    """Serve fingerprints under a frozen fingerprinter.

    Args:
        corpus: Data module whose segments are fingerprinted.
        fingerprinter: Frozen; `lightning_modules.FrozenFingerprinter`.
        cache_dir: Folder of caches.
        batch_size: Pairs a batch, on each process.
        num_views: Distorted versions of each training segment.
        num_passes: Epochs of the corpus that make the training segments; each draws starts of its own.
        train_on: `segments` serves the training segments; `database` the items of the database, with the differences
            that distortion made to the fingerprints of training segments: a hash, like any quantizer, is fitted best to
            what it holds. Queries remain unseen.
        seed: Seed of the distortions.

    Raises:
        SplitError: If a number is not positive, or `train_on` is no choice.
    """

    def __init__(
        self,
        corpus: FingerprintDataModule,
        fingerprinter: nn.Module,
        cache_dir: str = "cache",
        batch_size: int = 1024,
        num_views: int = 4,
        num_passes: int = 1,
        train_on: TrainOn = "segments",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(batch_size, num_views, num_passes) < 1:
            raise SplitError(
                f"batch_size, num_views and num_passes must be at least 1; got {batch_size}, {num_views} and "
                f"{num_passes}. Leave them out for the defaults."
            )
        if train_on not in get_args(TrainOn):
            raise SplitError(
                f"train_on must be {' or '.join(get_args(TrainOn))}; got {train_on!r}. Set --data.train_on to one."
            )
        self.corpus = corpus
        self.fingerprinter = cast(WaveformFingerprinter, fingerprinter)
        self.cache_dir = Path(cache_dir)
        self.batch_size = batch_size
        self.num_views = num_views
        self.num_passes = num_passes
        self.train_on: TrainOn = train_on
        self.seed = seed
        self._rows: dict[str, dict[str, np.ndarray]] = {}

    @property
    def feature_dim(self) -> int:
        """Size of a fingerprint."""
        return self.fingerprinter.fingerprint_dim

    @property
    def conditions(self) -> Sequence[str]:
        """Names of the conditions that `condition` numbers."""
        return self.corpus.conditions

    @property
    def tracks(self) -> Sequence[Track]:
        """The tracks that `track` numbers."""
        return self.corpus.tracks

    @property
    def track_names(self) -> Sequence[str]:
        """Names of the tracks that `track` numbers."""
        return self.corpus.track_names

    def prepare_data(self) -> None:
        """Find checkpoint and corpus and compute all fingerprints, on one process a machine."""
        self.fingerprinter.prepare()
        self.corpus.prepare_data()
        self.open_cache()

    def setup(self, stage: str | None = None) -> None:
        """Open the fingerprints."""
        if not self._rows:
            self.corpus.setup(None)
            self._rows = self.open_cache()
            sizes = {part: len(columns["fingerprint"]) for part, columns in self._rows.items()}
            _logger.info("Fingerprints: %s.", ", ".join(f"{size} {part}" for part, size in sizes.items()))

    def open_cache(self) -> dict[str, dict[str, np.ndarray]]:
        """Open the columns of all parts, memory-mapped; compute them first if there is no cache.

        Raises:
            CacheError: If the cache is damaged or of another version, or the disk too small for it.
        """
        description = self._describe()
        key = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]
        folder = self.cache_dir / f"fingerprintpairs-{key}"
        if not folder.is_dir():
            self.cache_dir.mkdir(parents=True, exist_ok=True)
            with FileLock(self.cache_dir / f"{folder.name}.lock"):
                if not folder.is_dir():
                    self._make(folder, description)
        return _open(folder, description)

    def training_fingerprints(self) -> Tensor:
        """Return the clean fingerprints to train on, float32 [item, feature].

        Raises:
            RuntimeError: Before `setup`.
        """
        part = "train" if self.train_on == "segments" else "test_item"
        return torch.from_numpy(np.array(self._part(part)["fingerprint"]))

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Shuffled pairs; an incomplete batch at the end is left out, unless it is the only one."""
        columns = self._part("train")
        rows = PairRows(
            columns["fingerprint"],
            columns["distorted"],
            None if self.train_on == "segments" else self._part("test_item")["fingerprint"],
            torch.initial_seed(),
        )
        return shuffled_pairs(rows, self.batch_size, self.trainer)

    def val_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        """Validation queries, then what they are looked for in; nothing where the corpus has none."""
        self._part("train")  # is there after setup
        if "val_query" not in self._rows:
            return []
        return [self._loader("val_query"), self._loader("val_item")]

    def test_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        """Test queries, then the database."""
        return [self._loader("test_query"), self._loader("test_item")]

    def predict_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """The database."""
        size = len(self._part("test_item")["fingerprint"])
        return self._loader("test_item", WholeBatchSampler(size, _EVALUATION_BATCH, *processes_and_rank(self.trainer)))

    def _part(self, name: str) -> Mapping[str, np.ndarray]:
        if not self._rows:
            raise RuntimeError("Call setup() before asking for fingerprints.")
        return self._rows[name]

    def _loader(self, part: str, sampler: WholeBatchSampler | None = None) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(
            FingerprintRows(self._part(part)),
            batch_size=_EVALUATION_BATCH,
            sampler=sampler,
            collate_fn=pass_batch,  # type: ignore[arg-type]  # torch's types know lists of items only
        )

    def _describe(self) -> dict[str, object]:
        return {
            "format_version": FORMAT_VERSION,
            "fingerprinter": self.fingerprinter.settings(),
            "corpus": _describe_corpus(self.corpus),
            "num_views": self.num_views,
            "num_passes": self.num_passes,
            "seed": self.seed,
        }

    def _make(self, folder: Path, description: Mapping[str, object]) -> None:
        """Compute all parts in a folder that gets its name when complete; what a killed run left is dropped."""
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        device = self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")
        self.fingerprinter.to_device(device)
        self.corpus.setup(None)
        write_parts(partial, self._compute(torch.Generator(device).manual_seed(self.seed)))
        columns = sorted(path.relative_to(partial).as_posix() for path in partial.glob("*/*.npy"))
        write_json(partial / "cache.json", {**description, "files": record_files(partial, columns)})
        partial.replace(folder)
        _logger.info("Fingerprints are kept in %s", folder)

    def _compute(self, generator: torch.Generator) -> Iterator[tuple[str, int, Iterator[dict[str, np.ndarray]]]]:
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


def _open(folder: Path, description: Mapping[str, object]) -> dict[str, dict[str, np.ndarray]]:
    try:
        content = json.loads((folder / "cache.json").read_text())
        check_description(folder, content, description)
        check_files(folder, content.get("files", {}))  # earlier versions kept none
        rows = {
            part.name: {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in part.glob("*.npy")}
            for part in folder.iterdir()
            if part.is_dir()
        }
    except (OSError, EOFError, ValueError, TypeError, AttributeError) as error:
        raise CacheError(
            f"{folder}: expected a complete cache of fingerprints, found it damaged ({error}). Delete the folder."
        ) from error
    missing = [part for part in _REQUIRED_PARTS if "fingerprint" not in rows.get(part, {})]
    if missing:
        raise CacheError(
            f"{folder}: expected a complete cache of fingerprints, found no {missing[0]}. Delete the folder."
        )
    return rows
