"""What every corpus of clips shares, however its clips are labelled: front end, cache, roles, loaders.

A batch is a dict of tensors; `base.py` and each corpus that is not of one label a clip say which.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Generic, Literal, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from datamodules.batches.clip_frames import ClipFrames, ShortClips, check_frames_per_clip
from datamodules.batches.dealing import WholeBatchSampler, processes_and_rank
from datamodules.batches.feature_dataset import ClipFeatures, FeatureDataset, pass_batch
from datamodules.batches.pairs import PairDataset
from datamodules.batches.resumable_loader import ResumableLoader, ShuffledSampler
from datamodules.caches.embedding_cache import EmbeddingCache, WaveformFrontEnd, open_or_make_cache
from datamodules.caches.precomputed import PrecomputedEmbeddings
from datamodules.feature_scale import CenteredClips, FeatureScale, StandardizedClips, measure_scale
from datamodules.splits.roles import Role, Roles

_logger = logging.getLogger(__name__)

OnBadAudio = Literal["raise", "skip"]


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


class ClipDataModule(pl.LightningDataModule, ABC, Generic[ClipT]):
    """Serve the cached embeddings of a corpus by role.

    A corpus says where it is, what its clips and classes are, which clip has which role, and how it is trained on
    (`train_dataloader`).

    Args:
        frontend: Frozen front end that embeds the clips, or embeddings computed beforehand.
        cache_dir: Folder of embedding caches.
        batch_size: Items a batch, on each process.
        standardize: Whether each feature is brought to mean 0 and deviation 1 over the (unlabelled) database.
        center_clips: Whether each clip's own mean, over the frames served and all features, is taken off first, so that
            its level doesn't matter.
        frames_per_clip: Frames served of each clip, its first ones; a shorter clip is filled up as `short_clips` says.
            None serves the mean over all its frames.
        on_bad_audio: `raise` stops at a file that can't be embedded; `skip` lists it and leaves it out.
        num_workers: Processes that fetch batches; none is best for means over frames, which are small.
    """

    short_clips: ClassVar[ShortClips] = "repeat"

    def __init__(
        self,
        frontend: nn.Module,
        cache_dir: str = "cache",
        batch_size: int = 200,
        standardize: bool = False,
        center_clips: bool = False,
        frames_per_clip: int | None = None,
        on_bad_audio: OnBadAudio = "raise",
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        check_frames_per_clip(frames_per_clip, frontend)
        self.frontend = cast(WaveformFrontEnd | PrecomputedEmbeddings, frontend)
        self.cache_dir = Path(cache_dir)
        self.batch_size = batch_size
        self.standardize = standardize
        self.center_clips = center_clips
        self.frames_per_clip = frames_per_clip
        self.on_bad_audio: OnBadAudio = on_bad_audio
        self.num_workers = num_workers
        self._class_names: list[str] | None = None
        self._items: list[ClipT] | None = None
        self._roles: Roles | None = None
        self._features: ClipFeatures = np.zeros((0, 0), np.float32)
        self._fields: dict[str, np.ndarray] = {}
        self._scale: FeatureScale | None = None

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
    def items(self) -> list[ClipT]:
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
        self.open_cache()

    def open_cache(self) -> EmbeddingCache:
        """Open the frames of every clip, in the order of `items`; embed the corpus first if there is no cache.

        Raises:
            AudioFileError: If a file can't be embedded and `on_bad_audio` is `raise`.
            CacheError: If the cache is damaged.
            DatasetMissing: If embeddings computed beforehand lack a clip and `on_bad_audio` is `raise`.
        """
        if isinstance(self.frontend, PrecomputedEmbeddings):
            return self.frontend.select([item.name for item in self.items], self.on_bad_audio)
        device = self.trainer.strategy.root_device if self.trainer is not None else torch.device("cpu")
        paths = [item.path for item in self.items]
        return open_or_make_cache(
            self.cache_dir, type(self).__name__.lower(), paths, self.frontend, device, self.on_bad_audio
        )

    def setup(self, stage: str | None = None) -> None:
        """Open the embeddings and split the corpus; the split is the same in every stage."""
        if self._roles is not None:
            return
        cache = self.open_cache()
        usable = np.ones(len(self.items), bool)
        usable[list(cache.skipped)] = False
        roles = self._split(usable)
        self._fields = self.item_fields(self.items)
        self._serve(cache, roles.database)
        self._roles = roles
        _logger.info(
            "%s: %d clips; %d to train on, %d queries, %d in the database; %d skipped.",
            self.data_name, len(self.items), len(self.roles.train), len(roles.query), len(roles.database),
            len(cache.skipped),
        )  # fmt: skip
        if len(self.roles.val_query) == 0:
            _logger.warning("No validation: every recording it could ask for is seen in training.")

    def restore_features(self, feature: np.ndarray) -> np.ndarray:
        """Undo the standardisation of features, [..., feature]; what `center_clips` took off stays off.

        Returns:
            Features in the front end's units, in the precision given; as given where `standardize` is off.

        Raises:
            RuntimeError: Before `setup`.
        """
        if self._roles is None:
            raise RuntimeError("Call setup() before restoring features.")
        return feature if self._scale is None else self._scale.restore(feature)

    def role_dataset(self, role: Role) -> FeatureDataset:
        """Return the items of one role, in order of their index."""
        return self._dataset(getattr(self.roles, role))

    def val_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        """Validation queries, then what they are answered from; nothing where training sees every recording."""
        if len(self.roles.val_query) == 0:
            return []
        return [self._loader(self.role_dataset("val_query")), self._loader(self.role_dataset("val_database"))]

    def test_dataloader(self) -> list[DataLoader[dict[str, Tensor]]]:
        """Test queries, then the database."""
        return [self._loader(self.role_dataset("query")), self._loader(self.role_dataset("database"))]

    def predict_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Every usable item, queries and database alike."""
        everything = self._dataset(np.sort(np.concatenate([self.roles.query, self.roles.database])))
        turn = processes_and_rank(self.trainer)
        return self._loader(everything, WholeBatchSampler(len(everything), self._eval_batch_size, *turn))

    def _split(self, usable: np.ndarray) -> Roles:
        return self.assign_roles(self.items, usable)

    def _serve(self, cache: EmbeddingCache, measured: np.ndarray) -> None:
        """Keep the features to serve; their scale is that of the `measured` items."""
        num_frames: np.ndarray | None = None  # of each clip, where the rest of its frames is padding
        self._features = cache.mean
        if self.frames_per_clip is not None:
            frames = ClipFrames(cache.frames, cache.offsets, self.frames_per_clip, self.short_clips)
            self._features, num_frames = frames, frames.num_frames if self.short_clips == "pad" else None
        if self.short_clips == "pad":
            self._fields["num_frames"] = np.ones(len(self.items), np.int64) if num_frames is None else num_frames
        if self.center_clips:
            self._features = CenteredClips(self._features, num_frames)
        if self.standardize:
            self._scale = measure_scale(self._features, measured, num_frames=num_frames)
            self._features = StandardizedClips(self._features, self._scale, num_frames)

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

    @property
    def _eval_batch_size(self) -> int:
        return self.batch_size if self.frames_per_clip else max(self.batch_size, 1024)

    def _loader(
        self, dataset: FeatureDataset, sampler: WholeBatchSampler | None = None
    ) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(
            dataset,
            batch_size=self._eval_batch_size,
            sampler=sampler,
            collate_fn=pass_batch,  # type: ignore[arg-type]  # torch's types know lists of items only
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
