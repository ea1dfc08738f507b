"""What every corpus of labelled clips shares: roles, cached embeddings, batches.

A batch is a dict of tensors:

    feature      float32 [batch, feature]   embedding of a clip, pooled over its frames
    label        int64 [batch]              class
    item_index   int64 [batch]              position in the corpus, the same whatever the split
"""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from datamodules.embedding_cache import EmbeddingCache, WaveformFrontEnd, open_or_make_cache
from datamodules.errors import SplitError
from datamodules.feature_dataset import FeatureDataset, pass_batch
from datamodules.precomputed import PrecomputedEmbeddings

_logger = logging.getLogger(__name__)

OnBadAudio = Literal["raise", "skip"]
Role = Literal["train", "query", "database", "val_query", "val_database"]


@dataclass(frozen=True)
class AudioItem:
    """One clip of a corpus.

    Attributes:
        name: Unique within the corpus; its path relative to the corpus's folder.
        path: Where it lies.
        label: Class.
        recording: What it was cut from; clips of one recording are never on both sides of a split.
        subset: Fold or split as the corpus has it.
    """

    name: str
    path: Path
    label: int
    recording: str
    subset: str


@dataclass(frozen=True)
class Roles:
    """Positions in the corpus of the items of each role.

    Attributes:
        train: Labelled items, a part of the database.
        query: Test queries.
        database: Items that test queries are answered from.
        val_query: Labelled items of the database that training does not see, nor another take of; may be none.
        val_database: Items that these are answered from.
    """

    train: np.ndarray
    query: np.ndarray
    database: np.ndarray
    val_query: np.ndarray
    val_database: np.ndarray


class EmbeddingDataModule(pl.LightningDataModule, ABC):
    """Serve the cached embeddings of a corpus by role.

    Args:
        frontend: Frozen front end that embeds the clips, or embeddings computed beforehand.
        cache_dir: Folder of embedding caches.
        batch_size: Items a batch.
        passes_per_epoch: Times the labelled items are gone through in one epoch; a small labelled set makes short
            epochs.
        labels_per_class: Labelled items a class; None takes `label_fraction`.
        label_fraction: Share of each class's database items that are labelled, where `labels_per_class` is None.
        label_seed: Seed of drawing the labelled items.
        standardize: Whether features are brought to mean 0 and deviation 1 over the (unlabelled) database.
        on_bad_audio: `raise` stops at a file that can't be embedded; `skip` lists it and leaves it out.
        num_workers: Processes that fetch batches; the features are in memory, so none is best for most.
    """

    def __init__(
        self,
        frontend: nn.Module,
        cache_dir: str = "cache",
        batch_size: int = 200,
        passes_per_epoch: int = 1,
        labels_per_class: int | None = 4,
        label_fraction: float = 0.1,
        label_seed: int = 0,
        standardize: bool = False,
        on_bad_audio: OnBadAudio = "raise",
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < label_fraction <= 1:
            raise SplitError(f"label_fraction must be above 0 and at most 1; got {label_fraction}.")
        self.frontend = cast(WaveformFrontEnd | PrecomputedEmbeddings, frontend)
        self.cache_dir = Path(cache_dir)
        self.batch_size = batch_size
        self.passes_per_epoch = passes_per_epoch
        self.labels_per_class = labels_per_class
        self.label_fraction = label_fraction
        self.label_seed = label_seed
        self.standardize = standardize
        self.on_bad_audio: OnBadAudio = on_bad_audio
        self.num_workers = num_workers
        self._class_names: list[str] | None = None
        self._items: list[AudioItem] | None = None
        self._roles: Roles | None = None
        self._features = np.zeros((0, 0), np.float32)

    # What a corpus defines.

    @property
    @abstractmethod
    def data_name(self) -> str:
        """What numbers measured on this corpus are to be called."""

    @abstractmethod
    def find_corpus(self) -> None:
        """Make sure the corpus is there, fetching it where that is asked for.

        Raises:
            DatasetMissing: If it is not.
        """

    @abstractmethod
    def read_class_names(self) -> list[str]:
        """Return the name of each class, in the order of labels."""

    @abstractmethod
    def read_items(self) -> list[AudioItem]:
        """Return every clip, in an order that never changes."""

    @abstractmethod
    def assign_roles(self, items: Sequence[AudioItem], usable: np.ndarray) -> Roles:
        """Split the items that are `usable` (a mask) into roles."""

    # What it serves.

    @property
    def feature_dim(self) -> int:
        """Size of a feature."""
        return self.frontend.frame_dim

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def class_names(self) -> list[str]:
        """Name of each class, in the order of labels."""
        if self._class_names is None:
            self._class_names = self.read_class_names()
        return self._class_names

    @property
    def items(self) -> list[AudioItem]:
        """Every clip of the corpus; `item_index` is a position in it."""
        if self._items is None:
            self._items = self.read_items()
        return self._items

    @property
    def roles(self) -> Roles:
        """The split; there is one after `setup`.

        Raises:
            RuntimeError: Before `setup`.
        """
        if self._roles is None:
            raise RuntimeError("Call setup() before asking for roles.")
        return self._roles

    def prepare_data(self) -> None:
        """Find or fetch the corpus and embed it, on one process a machine."""
        self.find_corpus()
        self.frontend.prepare()
        self._open_cache()

    def setup(self, stage: str | None = None) -> None:
        """Open the embeddings and split the corpus; the split is the same in every stage."""
        if self._roles is not None:
            return
        cache = self._open_cache()
        usable = np.ones(len(self.items), bool)
        usable[list(cache.skipped)] = False
        self._roles = self.assign_roles(self.items, usable)
        self._features = self._standardized(cache.mean, self._roles) if self.standardize else cache.mean
        self._labels = np.array([item.label for item in self.items], np.int64)
        roles = self._roles
        _logger.info(
            "%s: %d clips; %d labelled, %d queries, %d in the database; %d skipped.",
            self.data_name, len(self.items), len(roles.train), len(roles.query), len(roles.database),
            len(cache.skipped),
        )  # fmt: skip

    def role_dataset(self, role: Role) -> FeatureDataset:
        """Return the items of one role, in order of their index."""
        return FeatureDataset(self._features, self._labels, getattr(self.roles, role))

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Shuffled labelled items, `passes_per_epoch` times."""
        dataset = self.role_dataset("train")
        repeated = FeatureDataset(self._features, self._labels, np.tile(dataset.item_indices, self.passes_per_epoch))
        return self._loader(repeated, shuffle=True)

    def val_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        """Validation queries, then what they are answered from; nothing where every recording is labelled."""
        if len(self.roles.val_query) == 0:
            _logger.warning("No validation: every recording it could ask for is labelled for training.")
            return []
        return [self._loader(self.role_dataset("val_query")), self._loader(self.role_dataset("val_database"))]

    def test_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        """Test queries, then the database."""
        return [self._loader(self.role_dataset("query")), self._loader(self.role_dataset("database"))]

    def predict_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Every usable item, queries and database alike."""
        everything = np.sort(np.concatenate([self.roles.query, self.roles.database]))
        return self._loader(FeatureDataset(self._features, self._labels, everything))

    # What a corpus's split is made with.

    def draw_labelled(self, items: Sequence[AudioItem], database: np.ndarray) -> np.ndarray:
        """Draw the labelled items of each class from the database.

        Raises:
            SplitError: If a class has fewer items than labels asked for.
        """
        labels = np.array([items[index].label for index in database])
        generator = np.random.default_rng(self.label_seed)
        drawn = []
        for label, name in enumerate(self.class_names):
            candidates = database[labels == label]
            wanted = self.labels_per_class
            if wanted is None:
                wanted = max(1, round(self.label_fraction * len(candidates)))
            if len(candidates) < wanted:
                raise SplitError(
                    f"Class {name!r} has {len(candidates)} usable clips in the database; {wanted} labels were asked "
                    "for. Lower --data.labels_per_class, or add clips."
                )
            drawn.append(generator.choice(candidates, wanted, replace=False))
        return np.sort(np.concatenate(drawn))

    def draw_recordings(
        self, items: Sequence[AudioItem], candidates: np.ndarray, fraction: float, seed: int
    ) -> np.ndarray:
        """Draw whole recordings, a fraction of each class's; none of a class that has but one.

        Args:
            items: Every clip.
            candidates: Mask of the items to draw from.
            fraction: Share of the recordings of each class, at least one recording.
            seed: Seed of the draw.

        Returns:
            Mask of the items of the recordings drawn, candidates or not.
        """
        labels = np.array([item.label for item in items])
        recordings = np.array([item.recording for item in items])
        generator = np.random.default_rng(seed)
        drawn: list[str] = []
        for label in range(self.num_classes):
            names = np.unique(recordings[candidates & (labels == label)])
            if len(names) > 1:
                drawn += generator.choice(names, max(1, round(fraction * len(names))), replace=False).tolist()
        return np.isin(recordings, drawn)

    def _open_cache(self) -> EmbeddingCache:
        if isinstance(self.frontend, PrecomputedEmbeddings):
            return self.frontend.select([item.name for item in self.items], self.on_bad_audio)
        device = self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")
        paths = [item.path for item in self.items]
        return open_or_make_cache(
            self.cache_dir, type(self).__name__.lower(), paths, self.frontend, device, self.on_bad_audio
        )

    def _standardized(self, features: np.ndarray, roles: Roles) -> np.ndarray:
        database = features[roles.database]
        deviation = database.std(axis=0)
        return np.asarray((features - database.mean(axis=0)) / np.where(deviation > 0, deviation, 1))

    def _loader(self, dataset: FeatureDataset, *, shuffle: bool = False) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(
            dataset,
            batch_size=self.batch_size if shuffle else max(self.batch_size, 1024),
            sampler=RandomSampler(dataset) if shuffle else None,
            collate_fn=pass_batch,  # type: ignore[arg-type]  # torch's types know lists of items only
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            drop_last=shuffle and self._ends_in_batch_of_one(len(dataset)),
            pin_memory=torch.cuda.is_available(),
        )

    def _ends_in_batch_of_one(self, num_items: int) -> bool:
        """Whether a process's last batch would hold one item, over which batch normalisation is undefined."""
        num_processes = self.trainer.world_size if self.trainer is not None else 1
        own_items = math.ceil(num_items / num_processes)
        return own_items > self.batch_size and own_items % self.batch_size == 1
