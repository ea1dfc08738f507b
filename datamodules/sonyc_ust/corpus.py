"""SONYC-UST: 10 s recordings of sensors in the streets of New York, tagged with 8 coarse and 23 fine categories.

Cartwright et al., SONYC Urban Sound Tagging: a multilabel dataset from an urban acoustic sensor network (DCASE 2019
workshop), and SONYC-UST-V2 (DCASE 2020 workshop). `release.py` has the releases and where their clips lie,
`annotations.py` the table and how votes become labels.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.batches.pairs import PairDataset, Partners, draw_balanced_pairs, draw_uniform_pairs, list_pairs
from datamodules.clips import ClipDataModule
from datamodules.csv_table import find_named
from datamodules.errors import SplitError
from datamodules.sonyc_ust.annotations import Aggregation, Annotations, Level, read_annotations
from datamodules.sonyc_ust.release import TABLE, Version, find_clips, find_release
from datamodules.splits.roles import Roles, draw_share

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


@dataclass(kw_only=True, eq=False, repr=False)
class SonycUst(ClipDataModule[SonycClip]):
    """Retrieve clips with the same categories; train on pairs of clips.

    Queries are the official test clips, the database all train and validate clips. `val_share` of the database asks in
    validation, the rest answers and is trained on; or, with `hold_out` off, the whole database is trained on.

    Args:
        root: Folder of the release; None takes $EARMARK_SONYC_UST_ROOT, then `data/SONYC-UST`. A copy transcoded to
            another format serves.
        download: Whether to fetch v2, 13.3 GB, into the default folder when there is no corpus. v1 can't be fetched,
            because no checksum of it is on record.
        version: What `download` means; the corpus that is there is read whichever it is.
        level: Which categories are the labels.
        aggregation: How votes become labels, see `annotations.py`.
        query_split: Clips that ask. `validate` serves v1's first record, which has no test clips, and the paper that
            used it so (2,351 clips in the database, 443 to ask); test clips are then left out of all roles.
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
    """

    short_clips = "pad"

    root: str | None = None
    download: bool = False
    version: Version = "v2"
    level: Level = "coarse"
    aggregation: Aggregation = "v2"
    query_split: QuerySplit = "test"
    batch_size: int = 128
    pairs: Pairing = "listed"
    partners: Partners = "first"
    partners_each: int = 30
    pairs_per_epoch: int = 25_600
    pair_seed: int = 0
    hold_out: bool = True
    val_share: float = 0.1
    val_by: ValBy = "clips"
    val_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.val_share < 1:
            raise SplitError(f"val_share must be between 0 and 1; got {self.val_share}. Try 0.1.")
        if min(self.partners_each, self.pairs_per_epoch) < 1:
            raise SplitError(
                f"partners_each and pairs_per_epoch must be at least 1; got {self.partners_each} and "
                f"{self.pairs_per_epoch}. Leave them out for 30 and 25600."
            )
        self._annotations: Annotations | None = None
        self._held_out: Roles | None = None
        self._listed: dict[bool, np.ndarray] = {}  # by hold_out

    @property
    def own_copy(self) -> str | None:
        """The folder that the user names, into which nothing is fetched."""
        return self.root or os.environ.get(ROOT_VARIABLE)

    @property
    def folder(self) -> Path:
        """Where the corpus lies."""
        return Path(self.own_copy or "data/SONYC-UST")

    @property
    def corpus_name(self) -> str:
        """SONYC-UST."""
        return "SONYC-UST"

    @property
    def variants(self) -> list[str]:
        """Fine categories and queries from `validate` are said."""
        return ["fine"] * (self.level == "fine") + ["validate asks"] * (self.query_split == "validate")

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
        download = self.download and not self.own_copy
        find_release(self.folder, self.version, download, f"--data.root DIR or ${ROOT_VARIABLE}")

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
        files = find_clips(self.folder)
        paths = find_named(table.file_names, files, self.folder / TABLE, f"folders audio* of {self.folder}")
        num_unnamed = len(files.keys() - {Path(name).stem for name in (*table.file_names, *table.left_out)})
        if num_unnamed:
            _logger.warning("Left out %d clips that %s doesn't name.", num_unnamed, self.folder / TABLE)
        return [
            SonycClip(path.relative_to(self.folder).as_posix(), path, sensor, split, tuple(labels), tuple(soft_labels))
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
                f"Expected usable {self.query_split} clips to ask and others to answer in {self.folder}; found "
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
                    f"Expected at least two clips to train on in {self.folder}; found {len(labels)}. Add clips, or set "
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
            self._annotations = read_annotations(self.folder / TABLE, self.level, self.aggregation)
        return self._annotations
