"""SONYC-UST: 10 s recordings of sensors in the streets of New York, tagged with 8 coarse and 23 fine categories.

Cartwright et al., SONYC Urban Sound Tagging: a multilabel dataset from an urban acoustic sensor network (DCASE 2019
workshop), and SONYC-UST-V2 (DCASE 2020 workshop). `sonyc_release.py` has the releases and where their clips lie,
`sonyc_annotations.py` the table and how votes become labels.

A batch is a dict of tensors:

    feature       float32 [batch, feature]          mean over the frames of a clip
                  float32 [batch, frame, feature]   its frames in order, where `frames_per_clip` is given; a shorter
                                                    clip is padded with 0
    num_frames    int64 [batch]                     frames that are the clip's own; 1 for means
    label         int64 [batch, category]           1 where a category is present
    soft_label    float32 [batch, category]         share of the volunteers that heard it; what was agreed on, if it was
    item_index    int64 [batch]                     position in the corpus, the same whatever the split

A batch to train on is of pairs: these are the fields of the first clips, `other_feature`, `other_num_frames` and so on
those of the second.

Past 300 lines because options are written out with their meaning.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from torch import Tensor, nn
from torch.utils.data import DataLoader

from datamodules.batches.pairs import PairDataset, Partners, draw_balanced_pairs, draw_uniform_pairs, list_pairs
from datamodules.clips import ClipDataModule, OnBadAudio
from datamodules.errors import DatasetMissing, SplitError
from datamodules.sonyc_annotations import Aggregation, Annotations, Level, read_annotations
from datamodules.sonyc_release import TABLE, Version, find_clips, find_release
from datamodules.splits.roles import Roles, draw_share
from sound.audio import AUDIO_SUFFIXES

_logger = logging.getLogger(__name__)

ROOT_VARIABLE = "EARMARK_SONYC_UST_ROOT"
Pairing = Literal["listed", "balanced", "uniform"]
QuerySplit = Literal["test", "validate"]
ValBy = Literal["clips", "sensors"]


@dataclass(frozen=True)
class SonycClip:
    """One clip.

    Attributes:
        name: Its path relative to the corpus's folder.
        path: Where it lies.
        sensor: Sensor that recorded it.
        split: `train`, `validate` or `test`.
        labels: 1 or 0 for each category.
        soft_labels: Share of the volunteers that heard each category; what was agreed on, if it was.
    """

    name: str
    path: Path
    sensor: str
    split: str
    labels: tuple[int, ...]
    soft_labels: tuple[float, ...]


class SonycUst(ClipDataModule[SonycClip]):
    """Retrieve clips with the same categories; train on pairs of clips.

    Queries are the official test clips, the database all train and validate clips. `val_share` of the database asks in
    validation, the rest answers and is trained on; or, with `hold_out` off, the whole database is trained on.

    Args:
        frontend: Frozen front end that embeds the clips, or embeddings computed beforehand.
        root: Folder of the release; None takes $EARMARK_SONYC_UST_ROOT, then `data/SONYC-UST`. A copy transcoded to
            another format serves.
        download: Whether to fetch v2, 13.3 GB, into the default folder when there is no corpus. v1 can't be fetched,
            because no checksum of it is on record.
        version: What `download` means; the corpus that is there is read whichever it is.
        level: Which categories are the labels.
        aggregation: How votes become labels, see `sonyc_annotations.py`.
        query_split: Clips that ask. `validate` serves v1's first record, which has no test clips, and the paper that
            used it so (2,351 clips in the database, 443 to ask); test clips are then left out of all roles.
        name: What to call numbers measured on this copy; None is `SONYC-UST`.
        cache_dir: Folder of embedding caches.
        batch_size: Items a batch; pairs in training.
        pairs: `listed` trains on all pairs of section 4.2; `balanced` and `uniform` on new ones each epoch, the same on
            all processes and after resuming, balanced as to each category or as they come; that needs a trainer with
            `reload_dataloaders_every_n_epochs: 1`.
        partners: Partners that are listed: the `first` ones, or `random` ones.
        partners_each: Partners listed of each target and category that are alike, and as many opposite ones.
        pairs_per_epoch: Pairs drawn.
        pair_seed: Seed of random partners and of drawn pairs.
        hold_out: Whether validation queries are kept out of training. It may be set between epochs: roles and the
            loaders made from then on follow, which needs `reload_dataloaders_every_n_epochs: 1`, too.
        val_share: Share of the database that asks in validation.
        val_by: What is drawn for that, single clips or all clips of a sensor.
        val_seed: Seed of drawing them.
        standardize: Whether each feature is brought to mean 0 and deviation 1 over the database; padding stays 0.
        center_clips: Whether each clip's own mean, over its frames and all features, is taken off first, so that its
            level doesn't matter.
        frames_per_clip: Frames served of each clip, its first ones, padded with 0; None serves the mean over all.
        on_bad_audio: `raise` stops at a file that can't be embedded; `skip` lists it and leaves it out.
        num_workers: Processes that fetch batches.
    """

    short_clips = "pad"

    def __init__(
        self,
        frontend: nn.Module,
        root: str | None = None,
        download: bool = False,
        version: Version = "v2",
        level: Level = "coarse",
        aggregation: Aggregation = "v2",
        query_split: QuerySplit = "test",
        name: str | None = None,
        cache_dir: str = "cache",
        batch_size: int = 128,
        pairs: Pairing = "listed",
        partners: Partners = "first",
        partners_each: int = 30,
        pairs_per_epoch: int = 25_600,
        pair_seed: int = 0,
        hold_out: bool = True,
        val_share: float = 0.1,
        val_by: ValBy = "clips",
        val_seed: int = 0,
        standardize: bool = False,
        center_clips: bool = False,
        frames_per_clip: int | None = None,
        on_bad_audio: OnBadAudio = "raise",
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            frontend, cache_dir, batch_size, standardize, center_clips, frames_per_clip, on_bad_audio, num_workers
        )
        if not 0 < val_share < 1:
            raise SplitError(f"val_share must be between 0 and 1; got {val_share}. Try 0.1.")
        if min(partners_each, pairs_per_epoch) < 1:
            raise SplitError(
                f"partners_each and pairs_per_epoch must be at least 1; got {partners_each} and {pairs_per_epoch}. "
                "Leave them out for 30 and 25600."
            )
        for option, value, choices in (
            ("version", version, Version), ("level", level, Level), ("aggregation", aggregation, Aggregation),
            ("query_split", query_split, QuerySplit), ("pairs", pairs, Pairing), ("partners", partners, Partners),
            ("val_by", val_by, ValBy),
        ):  # fmt: skip
            if value not in get_args(choices):
                raise SplitError(
                    f"{option} must be {' or '.join(get_args(choices))}; got {value!r}. Set --data.{option} to one."
                )
        given = root or os.environ.get(ROOT_VARIABLE)
        self.root = Path(given or "data/SONYC-UST")
        self.download = download and given is None
        self.version: Version = version
        self.level: Level = level
        self.aggregation: Aggregation = aggregation
        self.query_split: QuerySplit = query_split
        self.name = name
        self.pairs: Pairing = pairs
        self.partners: Partners = partners
        self.partners_each = partners_each
        self.pairs_per_epoch = pairs_per_epoch
        self.pair_seed = pair_seed
        self.hold_out = hold_out
        self.val_share = val_share
        self.val_by: ValBy = val_by
        self.val_seed = val_seed
        self._annotations: Annotations | None = None
        self._held_out: Roles | None = None
        self._listed: dict[bool, np.ndarray] = {}  # by hold_out

    @property
    def data_name(self) -> str:
        """The name given, or the corpus's own; fine categories and queries from `validate` are said."""
        name = self.name or "SONYC-UST"
        return f"{name}{', fine' * (self.level == 'fine')}{', validate asks' * (self.query_split == 'validate')}"

    @property
    def roles(self) -> Roles:
        """The split, by `hold_out`; there is one after `setup`.

        Raises:
            RuntimeError: Before `setup`.
            SplitError: If validation queries can't be drawn.
        """
        whole = super().roles
        if not self.hold_out:
            return whole
        if self._held_out is None:
            self._held_out = self._hold_out_queries(whole)
        return self._held_out

    def find_corpus(self) -> None:
        """Make sure the table is there, or fetch the release.

        Raises:
            DatasetMissing: If the table is not there.
        """
        find_release(self.root, self.version, self.download, f"--data.root DIR or ${ROOT_VARIABLE}")

    def read_class_names(self) -> list[str]:
        """Return the names of the categories, in the order of their numbers."""
        return list(self._read_annotations().category_names)

    def read_items(self) -> list[SonycClip]:
        """Read the clips in the order the table first names them; each is found by its stem.

        Raises:
            DatasetMissing: If table or clips are not there.
            DatasetLayoutError: If the table is not as its layout wants it.
        """
        table = self._read_annotations()
        files = find_clips(self.root)
        missing = [name for name in table.file_names if Path(name).stem not in files]
        if missing:
            raise DatasetMissing(
                f"{self.root / TABLE} names {len(missing)} clips that are in no folder audio* of {self.root}, first "
                f"{missing[0]} (looked for {Path(missing[0]).stem} with {', '.join(AUDIO_SUFFIXES)}). Unpack all "
                "archives of the release there, or take the lines out of the table."
            )
        num_unnamed = len(files.keys() - {Path(name).stem for name in (*table.file_names, *table.left_out)})
        if num_unnamed:
            _logger.warning("Left out %d clips that %s doesn't name.", num_unnamed, self.root / TABLE)
        paths = [files[Path(name).stem] for name in table.file_names]
        return [
            SonycClip(path.relative_to(self.root).as_posix(), path, sensor, split, tuple(labels), tuple(soft_labels))
            for path, sensor, split, labels, soft_labels in zip(
                paths, table.sensors, table.splits, table.labels.tolist(), table.soft_labels.tolist(), strict=True
            )
        ]

    def assign_roles(self, items: Sequence[SonycClip], usable: np.ndarray) -> Roles:
        """Split as the corpus is split, with nothing held out.

        Raises:
            SplitError: If there is no usable query or database.
        """
        splits = np.array([item.split for item in items])
        query = np.flatnonzero(usable & (splits == self.query_split))
        database = np.flatnonzero(usable & (splits != self.query_split) & (splits != "test"))
        if len(query) == 0 or len(database) == 0:
            raise SplitError(
                f"Expected usable {self.query_split} clips to ask and others to answer in {self.root}; found "
                f"{len(query)} and {len(database)}. Restore the clips that are missing or broken; v1's first record "
                "has no test clips, for it set --data.query_split validate."
            )
        nothing = np.zeros(0, np.int64)
        return Roles(train=database, query=query, database=database, val_query=nothing, val_database=nothing)

    def item_fields(self, items: Sequence[SonycClip]) -> dict[str, np.ndarray]:
        """Return labels and soft labels of each item."""
        return {
            "label": np.array([item.labels for item in items], np.int64),
            "soft_label": np.array([item.soft_labels for item in items], np.float32),
        }

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Shuffled pairs of items to train on, listed once or drawn anew for each epoch.

        Raises:
            SplitError: If there are too few items, or no category that some have and others have not.
        """
        everything = self._dataset(np.arange(len(self.items)))
        positions = self._list_pairs() if self.pairs == "listed" else self._draw_pairs()
        return self._train_loader(PairDataset(everything, self.roles.train[positions]))

    def _list_pairs(self) -> np.ndarray:
        if self.hold_out not in self._listed:
            labels = self._fields["label"][self.roles.train]
            listed = list_pairs(labels, self.partners_each, self.partners, self.pair_seed)
            if len(listed) == 0:
                raise SplitError(
                    f"Expected at least two clips to train on in {self.root}; found {len(labels)}. Add clips, or set "
                    "--data.hold_out false."
                )
            _logger.info("%d pairs of %d clips.", len(listed), len(labels))
            self._listed[self.hold_out] = listed
        return self._listed[self.hold_out]

    def _draw_pairs(self) -> np.ndarray:
        epoch = 0
        if self.trainer is not None:
            epoch = self.trainer.current_epoch
            if self.trainer.reload_dataloaders_every_n_epochs != 1:  # type: ignore[attr-defined]
                _logger.warning("Pairs are drawn once: set --trainer.reload_dataloaders_every_n_epochs 1.")
        generator = np.random.default_rng([self.pair_seed, epoch])
        if self.pairs == "uniform":
            return draw_uniform_pairs(len(self.roles.train), self.pairs_per_epoch, generator)
        return draw_balanced_pairs(self._fields["label"][self.roles.train], self.pairs_per_epoch, generator)

    def _hold_out_queries(self, roles: Roles) -> Roles:
        sensors = np.array([item.sensor for item in self.items])
        groups = sensors[roles.database] if self.val_by == "sensors" else roles.database
        is_held_out = draw_share(groups, self.val_share, self.val_seed)
        rest = roles.database[~is_held_out]
        return replace(roles, train=rest, val_query=roles.database[is_held_out], val_database=rest)

    def _read_annotations(self) -> Annotations:
        if self._annotations is None:
            self.find_corpus()
            self._annotations = read_annotations(self.root / TABLE, self.level, self.aggregation)
        return self._annotations
