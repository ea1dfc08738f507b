"""Encoders of a FlowHash study, and what each makes of tracks, queries and training pairs, computed once and kept.

    fingerprints/<encoder>-<key>/<part>/<column>.npy

The key changes with the encoder's checkpoint and with the data's options. Parts are `item`, the segments of the
database; `query-<seconds>`, all segments of each query, at the hop; `tuning`, other queries at 10 dB; `train`, pairs of
segments.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules import FingerprintDataModule
from datamodules.batches.fingerprint_rows import fingerprint_items, fingerprint_pairs, write_part
from experiments.command.configs import find_config, read_config
from experiments.command.parser import make_datamodule
from experiments.papers.singh2024.settings import FlowStudy
from lightning_modules import FrozenFingerprinter
from lightning_modules.device import find_device
from storage.atomic import writing_folder

Columns = Mapping[str, np.ndarray]
_TUNING = ("--data.queries.kinds=[noise]", "--data.queries.snr_db=[10.0]")
_TUNING_SEED = 1
_NUM_VIEWS = 2
_CHUNK_SEGMENTS = 256


@dataclass(frozen=True)
class Encoder:
    """An encoder that is trained, or has nothing to learn.

    Attributes:
        name: In `singh2024.ENCODERS`; further transformers of table 6 have their number after it.
        label: In tables.
        checkpoint: Of a `Fingerprinter`.
    """

    name: str
    label: str
    checkpoint: Path

    @cached_property
    def key(self) -> str:
        """What changes with the weights."""
        content = json.dumps(FrozenFingerprinter(str(self.checkpoint)).settings(), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


class Fingerprints:
    """What one encoder makes of the study's audio.

    Args:
        study: What is compared.
        encoder: What to compute with.
        folder: Where fingerprints are kept.
    """

    def __init__(self, study: FlowStudy, encoder: Encoder, folder: Path) -> None:
        self.study, self.encoder = study, encoder
        described = json.dumps([encoder.key, describe_data(study)], sort_keys=True)
        self.key = hashlib.sha256(described.encode()).hexdigest()[:12]
        self._folder = folder / f"{encoder.name}-{self.key}"
        self._data: dict[tuple[str, ...], FingerprintDataModule] = {}

    @cached_property
    def network(self) -> FrozenFingerprinter:
        """The encoder, on a GPU where there is one."""
        network = FrozenFingerprinter(str(self.encoder.checkpoint))
        network.to_device(find_device())
        return network

    @property
    def items(self) -> Columns:
        """All segments of the database: fingerprint [item, feature], track and start_seconds."""

        def make() -> tuple[int, Iterator[dict[str, np.ndarray]]]:
            data = self._open_data()
            loader = data.predict_dataloader()
            return len(loader), fingerprint_items(self.network, map(data.expand, loader))

        return self._part("item", make)

    @property
    def item_vectors(self) -> Tensor:
        """Fingerprints of the database, float32 [item, feature], mapped from the file."""
        return torch.from_numpy(np.asarray(self.items["fingerprint"]).view())

    @property
    def train(self) -> Columns:
        """Pairs: fingerprint [item, feature] and distorted [item, view, feature]."""

        def make() -> tuple[int, Iterator[dict[str, np.ndarray]]]:
            data = self._open_data(
                f"--data.segments_per_track={self.study.num_pairs_per_track}", "--data.batch_size=64"
            )
            loader = data.train_dataloader()
            generator = torch.Generator(find_device()).manual_seed(0)
            return len(loader), fingerprint_pairs(self.network, map(data.expand, loader), _NUM_VIEWS, generator)

        return self._part(self._train_name, make)

    @property
    def _train_name(self) -> str:
        return f"train-{self.study.num_pairs_per_track}"

    @property
    def train_folder(self) -> Path:
        """Where the pairs lie; they are made if they are not there."""
        assert len(self.train)
        return self._folder / self._train_name

    @property
    def item_folder(self) -> Path:
        """Where the database lies; it is made if it is not there."""
        assert len(self.items)
        return self._folder / "item"

    @property
    def tuning(self) -> Columns:
        """Queries of one segment that are in no table."""
        return self._queries(self.study.seconds[0], self.study.num_tuning, "tuning", *_TUNING, seed=_TUNING_SEED)

    def queries(self, seconds: float) -> Columns:
        """Queries of a length: fingerprint [query, segment, feature], track, start_seconds, condition, is_repeated."""
        return self._queries(seconds, self.study.count(seconds), f"query-{seconds:g}s")

    def _queries(self, seconds: float, count: int, name: str, *arguments: str, seed: int = 0) -> Columns:
        def make() -> tuple[int, Iterator[dict[str, np.ndarray]]]:
            own = (f"--data.query_seconds={seconds}", f"--data.queries_per_condition={count}", *arguments)
            data = self._open_data(
                *own, "--data.eval_batch_size=32", *([f"--data.queries.seed={seed}"] if seed else [])
            )
            loader = data.test_dataloader()[0]
            hop_samples = round(data.hop_seconds * data.sample_rate_hz)
            return len(loader), _fingerprint_all_segments(self.network, map(data.expand, loader), hop_samples)

        return self._part(f"{name}-{count}", make)

    def _open_data(self, *arguments: str) -> FingerprintDataModule:
        if arguments not in self._data:
            self._data[arguments] = open_corpus(self.study, *arguments)
            self._data[arguments].prepare_data()
            self._data[arguments].setup()
        return self._data[arguments]

    def _part(self, name: str, make: Callable[[], tuple[int, Iterator[dict[str, np.ndarray]]]]) -> Columns:
        folder = self._folder / name
        if not folder.is_dir():
            with writing_folder(folder) as partial:
                write_part(partial, name, *make())
        return {path.stem: np.load(path, mmap_mode="c", allow_pickle=False) for path in folder.glob("*.npy")}


def open_corpus(study: FlowStudy, *arguments: str) -> FingerprintDataModule:
    """Make the study's data module.

    Raises:
        TypeError: If the data config has no tracks.
        ValueError: If an option is not understood.
    """
    data = make_datamodule(study.data_config, [*study.arguments, *arguments])
    if not isinstance(data, FingerprintDataModule):
        raise TypeError(f"Expected a corpus of tracks; {study.data_config} is none. Try data/fma.yaml.")
    return data


def describe_data(study: FlowStudy) -> list[object]:
    """Return what determines the audio, as values JSON can hold."""
    own = [argument for argument in study.arguments if argument.startswith("--data.")]
    return [read_config(find_config(study.data_config)), own]


def _fingerprint_all_segments(
    network: FrozenFingerprinter, batches: Iterable[Mapping[str, Tensor]], hop_samples: int
) -> Iterator[dict[str, np.ndarray]]:
    parts = ("waveform", "noise", "room", "snr_db", "has_noise", "has_room")
    kept = ("track", "start_seconds", "condition", "is_repeated", "item_index")
    for batch in batches:
        query = network.distort_query(*(batch[name] for name in parts))
        segments = query.unfold(1, network.segment_samples, hop_samples)
        chunks = [network(chunk) for chunk in segments.flatten(0, 1).split(_CHUNK_SEGMENTS)]
        fingerprint = torch.cat(chunks).unflatten(0, segments.shape[:2])
        yield {"fingerprint": fingerprint.cpu().numpy(), **{name: batch[name].numpy() for name in kept}}
