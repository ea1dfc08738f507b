"""What every corpus of clips shares, however its clips are labelled: cache, roles, loaders."""

import dataclasses
import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Generic, Literal, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
import torch
from torch import nn

from datamodules.base import CorpusDataModule
from datamodules.batches.clip_frames import ClipFrames, ShortClips, check_frames_per_clip, check_single_frame
from datamodules.batches.dealing import processes_and_rank
from datamodules.batches.feature_dataset import ClipFeatures, FeatureDataset
from datamodules.batches.pairs import PairDataset
from datamodules.batches.resumable_loader import ResumableLoader, ShuffledSampler
from datamodules.caches.embedding_cache import EmbeddingCache, WaveformFrontEnd, open_or_make_cache
from datamodules.caches.precomputed import PrecomputedEmbeddings
from datamodules.errors import DatasetMissing
from datamodules.splits.roles import Role, Roles

_logger = logging.getLogger(__name__)


@runtime_checkable  # or the shape checks of the tests can't be turned on
class ClipFile(Protocol):
    """What every corpus knows of a clip."""

    @property
    def name(self) -> str:
        """Unique within the corpus; its path relative to the corpus's folder."""

    @property
    def path(self) -> Path:
        """Where it lies."""


ClipT = TypeVar("ClipT", bound=ClipFile)


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class ClipDataModule(CorpusDataModule, Generic[ClipT]):
    """Serve the cached embeddings of a corpus by role.

    A corpus says where it is, what its clips and classes are, which clip has which role, and how it is trained on
    (`train_dataloader`). The front end is the model's: who makes both hands it over by `embed_with`.

    Args:
        frames_per_clip: Frames served of each clip, its first ones; a shorter clip is filled up as `short_clips` says.
            None serves the mean over all its frames.
    """

    short_clips: ClassVar[ShortClips] = "repeat"
    keeps_workers = True

    frames_per_clip: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_frames_per_clip(self.frames_per_clip)
        self._frontend: WaveformFrontEnd | PrecomputedEmbeddings | None = None
        self._class_names: list[str] | None = None
        self._items: list[ClipT] | None = None
        self._roles: Roles | None = None
        self._features: ClipFeatures = np.zeros((0, 0), np.float32)
        self._num_frames: np.ndarray | None = None  # of each clip, where the rest of its frames is padding
        self._fields: dict[str, np.ndarray] = {}

    # What a corpus defines.

    def find_corpus(self) -> None:
        """Make sure the corpus is there, fetching it where that is asked for; `read_items` says what is missing.

        Raises:
            DatasetMissing: If it is not.
        """

    @abstractmethod
    def read_class_names(self) -> list[str]:
        """Return the name of each class, in the order of labels."""

    @abstractmethod
    def read_items(self) -> list[ClipT]:
        """Return every clip, in an order that never changes."""

    @abstractmethod
    def assign_roles(self, items: Sequence[ClipT], usable: np.ndarray) -> Roles:
        """Split the items that are `usable` (a mask) into roles."""

    @abstractmethod
    def item_fields(self, items: Sequence[ClipT]) -> dict[str, np.ndarray]:
        """Return what a batch has of each item besides its feature and index, [item, ...] each; `label` is one."""

    # What it serves.

    @property
    def frontend(self) -> WaveformFrontEnd | PrecomputedEmbeddings:
        """What embeds the clips.

        Raises:
            RuntimeError: Before `embed_with`.
        """
        if self._frontend is None:
            raise RuntimeError("Call embed_with(frontend) before asking for features.")
        return self._frontend

    def embed_with(self, frontend: nn.Module) -> None:
        """Have the clips embedded by a front end.

        Args:
            frontend: Frozen, `lightning_modules.frontends.FrontEnd`; or embeddings computed beforehand.

        Raises:
            SplitError: If it can't give as many frames as are to be served.
        """
        if isinstance(frontend, PrecomputedEmbeddings):
            check_single_frame(self.frames_per_clip)
        self._frontend = cast(WaveformFrontEnd | PrecomputedEmbeddings, frontend)

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
    def items(self) -> list[ClipT]:
        """Every clip of the corpus; `item_index` is a position in it.

        Raises:
            DatasetMissing: If there are none.
        """
        if self._items is None:
            self._items = self.read_items()
        if not self._items:
            raise DatasetMissing(f"Expected clips of {self.data_name}, found none. Correct --data.root.")
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
        self.open_cache()

    def open_cache(self) -> EmbeddingCache:
        """Open the frames of every clip, in the order of `items`; embed the corpus first if there is no cache.

        Raises:
            AudioFileError: If a file can't be embedded and `on_bad_audio` is `raise`.
            StorageError: If the cache is damaged, or can't be written.
            DatasetMissing: If embeddings computed beforehand lack a clip and `on_bad_audio` is `raise`.
        """
        if isinstance(self.frontend, PrecomputedEmbeddings):
            return self.frontend.select([item.name for item in self.items], self.on_bad_audio)
        device = self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")
        paths, corpus = [item.path for item in self.items], type(self).__name__.lower()
        return open_or_make_cache(Path(self.cache_dir), corpus, paths, self.frontend, device, self.on_bad_audio)

    def setup(self, stage: str | None = None) -> None:
        """Open the embeddings and split the corpus; the split is the same in every stage."""
        if self._roles is not None:
            return
        cache = self.open_cache()
        usable = np.ones(len(self.items), bool)
        usable[list(cache.skipped)] = False
        roles = self._split(usable)
        self._fields = self.item_fields(self.items)
        self._serve(cache)
        self._roles = roles
        _logger.info(
            "%s: %d clips; %d to train on, %d queries, %d in the database; %d skipped.",
            self.data_name, len(self.items), len(self.roles.train), len(roles.query), len(roles.database),
            len(cache.skipped),
        )  # fmt: skip
        if len(self.roles.val_query) == 0:
            _logger.warning("No validation: every recording it could ask for is seen in training.")

    def database_features(self, values_at_once: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yield the features of the database, some clips at a time.

        Args:
            values_at_once: Values together, but at least one clip.

        Returns:
            Features, [clip, feature] or [clip, frame, feature]; and how many frames of each clip aren't padding, None
            where there is no padding.
        """
        database = self.roles.database
        clips_at_once = max(1, values_at_once // self._features[database[:1]].size)
        for start in range(0, len(database), clips_at_once):
            clips = database[start : start + clips_at_once]
            yield self._features[clips], None if self._num_frames is None else self._num_frames[clips]

    def role_dataset(self, role: Role) -> FeatureDataset:
        """Return the items of one role, in order of their index."""
        return self._dataset(getattr(self.roles, role))

    def evaluated(self, stage: Literal["val", "test"]) -> Sequence[FeatureDataset]:
        """Return queries, then database; nothing where training sees every recording that validation could ask for."""
        if stage == "test":
            return [self.role_dataset("query"), self.role_dataset("database")]
        if len(self.roles.val_query) == 0:
            return []
        return [self.role_dataset("val_query"), self.role_dataset("val_database")]

    def predicted(self) -> FeatureDataset:
        """Return every usable item, queries and database alike."""
        return self._dataset(np.sort(np.concatenate([self.roles.query, self.roles.database])))

    @property
    def num_evaluated(self) -> int:
        """Queries, or items of the database, a batch; many where an item is small."""
        return self.batch_size if self.frames_per_clip else max(self.batch_size, 1024)

    def _split(self, usable: np.ndarray) -> Roles:
        return self.assign_roles(self.items, usable)

    def _serve(self, cache: EmbeddingCache) -> None:
        """Keep the features to serve."""
        self._features = cache.mean
        if self.frames_per_clip is not None:
            frames = ClipFrames(cache.frames, cache.offsets, self.frames_per_clip, self.short_clips)
            self._features, self._num_frames = frames, frames.num_frames if self.short_clips == "pad" else None
        if self.short_clips == "pad":
            ones = np.ones(len(self.items), np.int64)
            self._fields["num_frames"] = ones if self._num_frames is None else self._num_frames

    def _dataset(self, item_indices: np.ndarray) -> FeatureDataset:
        further = {name: values for name, values in self._fields.items() if name != "label"}
        return FeatureDataset(self._features, self._fields["label"], item_indices, further)

    def _train_loader(self, dataset: FeatureDataset | PairDataset) -> ResumableLoader:
        """Serve items in an order of each epoch's own; an interrupted epoch goes on where it was."""
        num_processes, rank = processes_and_rank(self.trainer)
        # batch normalisation, which is over the batches of all processes, is undefined over one item
        num_items, batch_size = len(dataset) // num_processes * num_processes, self.batch_size * num_processes
        ends_in_batch_of_one = num_items > batch_size and num_items % batch_size == 1
        sampler = ShuffledSampler(len(dataset), num_processes, rank)
        return ResumableLoader(dataset, sampler, self.batch_size, self.num_workers, drop_last=ends_in_batch_of_one)
