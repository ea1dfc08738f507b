"""Rows of fingerprints: computed from batches of waveforms, written as columns, served as batches."""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.batches.resumable_loader import EpochSampler, ResumableLoader
from datamodules.progress import show_progress
from storage.atomic import write_file
from storage.errors import IN_CACHE_DIR, naming_disk_errors
from storage.npy import append_array, write_header

Columns = dict[str, np.ndarray]


@runtime_checkable  # or the shape checks of the tests can't be turned on
class WaveformFingerprinter(Protocol):
    """A frozen fingerprinter; `lightning_modules.FrozenFingerprinter` is one."""

    checkpoint: str
    """File that it was read from."""

    @property
    def fingerprint_dim(self) -> int:
        """Size of a fingerprint."""

    @property
    def segment_samples(self) -> int:
        """Samples of a segment."""

    @property
    def context_samples(self) -> int:
        """Samples before a query in its waveform."""

    def prepare(self) -> None:
        """Make sure the checkpoint is there."""

    def settings(self) -> dict[str, object]:
        """Return all that determines fingerprints, as values JSON can hold."""

    def to_device(self, device: torch.device) -> None:
        """Compute there from now on."""

    def __call__(self, waveform: Tensor) -> Tensor:
        """Map segments [batch, time] to fingerprints [batch, feature]."""

    def distort(
        self, waveform: Tensor, noise: Tensor, room: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return clean segments and distorted ones."""

    def distort_query(
        self, waveform: Tensor, noise: Tensor, room: Tensor, snr_db: Tensor, has_noise: Tensor, has_room: Tensor
    ) -> Tensor:
        """Return queries distorted as told."""


def fingerprint_pairs(
    fingerprinter: WaveformFingerprinter,
    batches: Iterable[Mapping[str, Tensor]],
    num_views: int,
    generator: torch.Generator,
) -> Iterator[Columns]:
    """Fingerprint training segments, clean and in `num_views` distortions each.

    From the second view on, noise and rooms go to other segments of the batch.
    """
    for batch in batches:
        waveform, noise, room = batch["waveform"], batch["noise"], batch["room"]
        views = []
        for view in range(num_views):
            clean, distorted = fingerprinter.distort(waveform, noise.roll(view, 0), room.roll(view, 0), generator)
            views.append(fingerprinter(distorted))
        yield {"fingerprint": _to_numpy(fingerprinter(clean)), "distorted": _to_numpy(torch.stack(views, dim=1))}


def fingerprint_queries(
    fingerprinter: WaveformFingerprinter, batches: Iterable[Mapping[str, Tensor]]
) -> Iterator[Columns]:
    """Fingerprint the first segment of each query, distorted as its condition says."""
    parts = ("waveform", "noise", "room", "snr_db", "has_noise", "has_room")
    for batch in batches:
        query = fingerprinter.distort_query(*(batch[name] for name in parts))[:, : fingerprinter.segment_samples]
        kept = ("track", "start_seconds", "condition", "is_repeated", "item_index")
        yield {"fingerprint": _to_numpy(fingerprinter(query)), **{name: batch[name].numpy() for name in kept}}


def fingerprint_items(
    fingerprinter: WaveformFingerprinter, batches: Iterable[Mapping[str, Tensor]]
) -> Iterator[Columns]:
    """Fingerprint the segments of the database."""
    for batch in batches:
        kept = {name: batch[name].numpy() for name in ("track", "start_seconds", "item_index")}
        yield {"fingerprint": _to_numpy(fingerprinter(batch["waveform"])), **kept}


def write_parts(folder: Path, parts: Iterable[tuple[str, int, Iterator[Columns]]]) -> None:
    """Write each part's columns as `<part>/<column>.npy`, showing progress.

    Args:
        folder: To write into, see `writing_folder`.
        parts: Name, number of batches, and rows batch by batch.

    Raises:
        FileNotWritten: If the disk is too small for it.
    """
    for name, num_batches, batches in parts:
        (folder / name).mkdir()
        write_part(folder / name, name, num_batches, batches)


def write_part(folder: Path, name: str, num_batches: int, batches: Iterable[Columns]) -> None:
    """Write columns as `<column>.npy`, showing progress.

    Rows are appended to raw files, as many may come, then each gets its header.

    Args:
        folder: To write into, see `writing_folder`.
        name: What is shown.
        num_batches: Number of batches.
        batches: Rows batch by batch.

    Raises:
        FileNotWritten: If the disk is too small for it.
    """
    kinds: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
    num_rows = 0
    with show_progress() as progress:
        for batch in progress.track(batches, total=num_batches, description=f"Fingerprints: {name}"):
            for column, rows in batch.items():
                kinds[column] = (rows.dtype, rows.shape[1:])
                _append_rows(folder / f"{column}.raw", rows)
            num_rows += len(batch["fingerprint"])
    for column, (dtype, shape) in kinds.items():
        with (folder / f"{column}.raw").open("rb") as raw:

            def write(
                file: BinaryIO, raw: BinaryIO = raw, dtype: np.dtype = dtype, shape: tuple[int, ...] = shape
            ) -> None:
                write_header(file, dtype, (num_rows, *shape))
                shutil.copyfileobj(raw, file)

            write_file(folder / f"{column}.npy", write, IN_CACHE_DIR)
        (folder / f"{column}.raw").unlink()


def _append_rows(path: Path, rows: np.ndarray) -> None:
    with naming_disk_errors(path, IN_CACHE_DIR), path.open("ab") as file:
        append_array(file, rows)


def _to_numpy(fingerprint: Tensor) -> np.ndarray:
    return np.asarray(fingerprint.float().cpu().numpy())


class PairRows(Dataset[dict[str, Tensor]]):
    """Clean fingerprints with one distorted view each, drawn by the seed and the epoch alone.

    Items of all epochs are numbered through, see `EpochSampler`.

    Args:
        fingerprint: [item, feature].
        distorted: [item, view, feature].
        database: Fingerprints to serve in place of these, [other, feature]: each with the difference that distortion
            made to one of `fingerprint`, drawn at random; the sum has unit length.
        seed: Of what is drawn.
    """

    def __init__(
        self, fingerprint: np.ndarray, distorted: np.ndarray, database: np.ndarray | None = None, seed: int = 0
    ) -> None:
        self._fingerprint = fingerprint
        self._distorted = distorted
        self._database = database
        self._seed = seed
        self._drawn_for = -1  # epoch
        self._view = self._source = np.zeros(0, np.int64)  # of each item

    def __len__(self) -> int:
        return len(self._fingerprint if self._database is None else self._database)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        return {name: value[0] for name, value in self.__getitems__([number]).items()}

    def __getitems__(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """Return the batch of these items, all of one epoch."""
        index = np.asarray(numbers) % len(self)
        self._draw(numbers[0] // len(self))
        source, view = self._source[index], self._view[index]
        clean, distorted = (
            torch.from_numpy(rows) for rows in (self._fingerprint[source], self._distorted[source, view])
        )
        if self._database is not None:
            item = torch.from_numpy(self._database[index])
            clean, distorted = item, torch.nn.functional.normalize(item + distorted - clean, dim=1)
        return {"fingerprint": clean, "distorted": distorted, "item_index": torch.from_numpy(index)}

    def _draw(self, epoch: int) -> None:
        """Draw the view of each item, and whose it is."""
        if epoch == self._drawn_for:
            return
        generator = np.random.default_rng([self._seed, epoch, 1])  # not the numbers that shuffled them
        self._view = generator.integers(self._distorted.shape[1], size=len(self))
        self._source = np.arange(len(self))
        if self._database is not None:
            self._source = generator.integers(len(self._fingerprint), size=len(self))
        self._drawn_for = epoch


def shuffled_pairs(rows: PairRows, batch_size: int, trainer: pl.Trainer | None) -> ResumableLoader:
    """Serve pairs in random order; an incomplete batch at the end is left out, unless it is the only one."""
    num_processes, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
    sampler = EpochSampler(len(rows), num_processes, rank, shuffle_seed=torch.initial_seed())
    return ResumableLoader(rows, sampler, batch_size, 0, drop_last=len(rows) // num_processes >= batch_size)


class FingerprintRows(Dataset[dict[str, Tensor]]):
    """Queries or items of a database, a whole batch at a time.

    Args:
        columns: Each [item, ...]; `condition` and `is_repeated` may lack.
    """

    def __init__(self, columns: Mapping[str, np.ndarray]) -> None:
        num_items = len(columns["fingerprint"])
        none = {"condition": np.full(num_items, -1, np.int64), "is_repeated": np.zeros(num_items, bool)}
        self._columns = none | dict(columns)

    def __len__(self) -> int:
        return len(self._columns["fingerprint"])

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        return {name: value[0] for name, value in self.__getitems__([position]).items()}

    def __getitems__(self, positions: Sequence[int]) -> dict[str, Tensor]:
        """Return the batch of these items."""
        index = np.asarray(positions)
        return {name: torch.from_numpy(values[index]) for name, values in self._columns.items()}
