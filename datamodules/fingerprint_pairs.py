"""Fingerprints of a corpus and of its distorted segments, for what learns from fingerprints alone."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.base import QueriesAndDatabase
from datamodules.batches.fingerprint_rows import (
    Columns,
    FingerprintRows,
    PairRows,
    WaveformFingerprinter,
    shuffled_pairs,
)
from datamodules.batches.resumable_loader import ResumableLoader
from datamodules.caches.fingerprint_cache import FingerprintSource, open_or_make_fingerprints
from datamodules.errors import SplitError
from datamodules.splits.track_roles import Track
from datamodules.tracks import FingerprintDataModule

_logger = logging.getLogger(__name__)

TrainOn = Literal["segments", "database"]

_EVALUATION_BATCH = 4096


@dataclass(kw_only=True, eq=False, repr=False)
class FingerprintPairs(QueriesAndDatabase):
    """Serve fingerprints under a frozen fingerprinter.

    Args:
        corpus: Data module whose segments are fingerprinted.
        fingerprinter: Frozen; `lightning_modules.FrozenFingerprinter`.
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

    corpus: FingerprintDataModule
    fingerprinter: nn.Module
    batch_size: int = 1024
    num_views: int = 4
    num_passes: int = 1
    train_on: TrainOn = "segments"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.batch_size, self.num_views, self.num_passes) < 1:
            raise SplitError(
                f"batch_size, num_views and num_passes must be at least 1; got {self.batch_size}, {self.num_views} and "
                f"{self.num_passes}. Leave them out for the defaults."
            )
        self._rows: dict[str, Columns] = {}

    @property
    def feature_dim(self) -> int:
        """Size of a fingerprint."""
        return self._source.fingerprinter.fingerprint_dim

    @property
    def fingerprinter_checkpoint(self) -> str:
        """Checkpoint of the fingerprinter, wherever a command runs."""
        return str(Path(self._source.fingerprinter.checkpoint).resolve())

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
        self._source.fingerprinter.prepare()
        self.corpus.prepare_data()
        self.open_cache()

    def setup(self, stage: str | None = None) -> None:
        """Open the fingerprints."""
        if not self._rows:
            self.corpus.setup(None)
            self._rows = self.open_cache()
            sizes = {part: len(columns["fingerprint"]) for part, columns in self._rows.items()}
            _logger.info("Fingerprints: %s.", ", ".join(f"{size} {part}" for part, size in sizes.items()))

    def open_cache(self) -> dict[str, Columns]:
        """Open the columns of all parts, memory-mapped; compute them first if there is no cache.

        Raises:
            FileDamaged: If the cache is damaged or of another version.
            FileNotWritten: If the disk is too small for it.
        """
        device = self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")
        return open_or_make_fingerprints(Path(self.cache_dir), self._source, device)

    def training_fingerprints(self) -> Tensor:
        """Return the clean fingerprints to train on, float32 [item, feature].

        Raises:
            RuntimeError: Before `setup`.
        """
        part = "train" if self.train_on == "segments" else "test_item"
        return torch.from_numpy(np.array(self._part(part)["fingerprint"]))

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled pairs; an incomplete batch at the end is left out, unless it is the only one."""
        columns = self._part("train")
        rows = PairRows(
            columns["fingerprint"],
            columns["distorted"],
            None if self.train_on == "segments" else self._part("test_item")["fingerprint"],
            torch.initial_seed(),
        )
        return shuffled_pairs(rows, self.batch_size, self.trainer)

    def evaluated(self, stage: Literal["val", "test"]) -> Sequence[FingerprintRows]:
        """Return queries, then what they are looked for in; nothing where the corpus has no validation."""
        self._part("train")  # is there after setup
        parts = [f"{stage}_query", f"{stage}_item"]
        return [FingerprintRows(self._rows[part]) for part in parts if part in self._rows]

    def predicted(self) -> FingerprintRows:
        """Return the database."""
        return FingerprintRows(self._part("test_item"))

    @property
    def num_evaluated(self) -> int:
        """Queries, or items of the database, a batch."""
        return _EVALUATION_BATCH

    @property
    def _source(self) -> FingerprintSource:
        fingerprinter = cast(WaveformFingerprinter, self.fingerprinter)
        return FingerprintSource(self.corpus, fingerprinter, self.num_views, self.num_passes, self.seed)

    def _part(self, name: str) -> Columns:
        if not self._rows:
            raise RuntimeError("Call setup() before asking for fingerprints.")
        return self._rows[name]
