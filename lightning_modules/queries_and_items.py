"""What modules share that are tested by searching: two loaders, whose items are gathered, then scored."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal, cast

import pytorch_lightning as pl
from torch import Tensor, nn

from lightning_modules.collector import ItemCollector

Stage = Literal["val", "test"]
Columns = Mapping[str, Tensor]
_ROLES = ("query", "item")  # in the order of the loaders


class QueriesAndItems(pl.LightningModule, ABC):
    """Gather what is computed for queries (loader 0) and for the database that answers them (loader 1).

    A module says which columns are gathered, what a batch's are, and what becomes of them when all are there.
    """

    def gather(self, query_columns: Sequence[str], item_columns: Sequence[str]) -> None:
        """Say which columns are gathered beside `item_index`, once, in the constructor."""
        self._collectors = nn.ModuleDict(
            {
                f"{stage}_{role}": ItemCollector(columns)
                for stage in ("val", "test")
                for role, columns in zip(_ROLES, (query_columns, item_columns), strict=True)
            }
        )

    @abstractmethod
    def columns_of(self, batch: Columns, *, is_query: bool) -> Columns:
        """Return a batch's columns; more than are gathered may be among them."""

    @abstractmethod
    def score(self, stage: Stage, queries: dict[str, Tensor], items: dict[str, Tensor]) -> None:
        """Score all queries against all items of all processes, and log what comes out."""

    def validation_step(self, batch: Columns, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Gather one batch of queries (loader 0) or database items (loader 1)."""
        self._collector("val", _ROLES[dataloader_idx]).update(self.columns_of(batch, is_query=dataloader_idx == 0))

    def test_step(self, batch: Columns, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Gather one batch of queries (loader 0) or database items (loader 1)."""
        self._collector("test", _ROLES[dataloader_idx]).update(self.columns_of(batch, is_query=dataloader_idx == 0))

    def on_validation_epoch_end(self) -> None:
        """Score the validation queries."""
        self.score("val", *self._collected("val"))

    def on_test_epoch_end(self) -> None:
        """Score the test queries."""
        self.score("test", *self._collected("test"))

    def _collected(self, stage: Stage) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        queries, items = (self._collector(stage, role).collect() for role in _ROLES)
        return queries, items

    def _collector(self, stage: Stage, role: str) -> ItemCollector:
        return cast(ItemCollector, self._collectors[f"{stage}_{role}"])
