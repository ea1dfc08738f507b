"""What callbacks that write predictions share: shards of several processes, merged in the order of items."""

import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytorch_lightning as pl
from torch import Tensor

from callbacks.exports.prediction_shards import (
    SHARDS,
    Columns,
    PredictionShard,
    describe_files,
    merge_shards,
    wait_for_shards,
)
from callbacks.protocols import Corpus, HasTracks

_logger = logging.getLogger(__name__)


class PredictionExport(pl.Callback, ABC):
    """Keep each process's predictions in a shard, and write those of all items on the first process.

    The files are the same however many processes predict; `prediction_shards` says what a killed run leaves.

    Args:
        folder: Where to; None is a folder of the run's.
    """

    columns: ClassVar[tuple[str, ...]]
    default_folder: ClassVar[str]

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder
        self._place = Path()
        self._shard: PredictionShard | None = None
        self._earlier: Columns | None = None
        self._batches: list[Columns] = []

    @abstractmethod
    def export(self, trainer: pl.Trainer, pl_module: pl.LightningModule, folder: Path, columns: Columns) -> None:
        """Write the predictions of all items, in the order of `item_index`."""

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look for a shard of an earlier run."""
        place = Path(self.folder) if self.folder else Path(trainer.default_root_dir) / self.default_folder
        self._place = trainer.strategy.broadcast(place)
        made_from = {"num_batches": list(trainer.num_predict_batches), "files": _files_of(trainer)}
        self._shard = PredictionShard(self._place, trainer.global_rank, trainer.world_size, made_from)
        self._earlier, self._batches = self._shard.put_aside(), []
        trainer.strategy.barrier()  # from here on, a shard that is there is of this run

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Mapping[str, Tensor],
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the batch; end with the first one where an earlier run's is the same.

        Raises:
            StopIteration: There; Lightning's loop then ends as after the last batch.
        """
        self._batches.append({name: outputs[name].cpu().numpy() for name in self.columns if name in outputs})
        earlier, self._earlier = self._earlier, None
        if earlier is None or self._shard is None:
            return
        if _begins_with(earlier, self._batches[0]):
            self._shard.put_back()
            self._shard = None
            _logger.info("%d predictions of an earlier run are used again.", len(earlier["item_index"]))
            raise StopIteration

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write this process's shard; on the first one, wait for the others and merge them."""
        if self._shard is not None:
            names = list(self._batches[0])
            self._shard.write({name: np.concatenate([batch[name] for batch in self._batches]) for name in names})
        self._shard, self._batches = None, []
        if not trainer.is_global_zero:
            return
        self.export(trainer, pl_module, self._place, merge_shards(wait_for_shards(self._place, trainer.world_size)))
        shutil.rmtree(self._place / SHARDS)


def _begins_with(columns: Columns, batch: Columns) -> bool:
    return columns.keys() == batch.keys() and all(
        np.array_equal(columns[name][: len(rows)], rows) for name, rows in batch.items()
    )


def _files_of(trainer: pl.Trainer) -> str:
    data = trainer.datamodule  # type: ignore[attr-defined]
    if isinstance(data, Corpus):
        return describe_files(data.items)
    return describe_files(data.tracks if isinstance(data, HasTracks) else ())
