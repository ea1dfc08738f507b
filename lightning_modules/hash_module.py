"""What every module that hashes fingerprints shares: collecting queries and items, and scoring their codes."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from lightning_modules.base import Batch
from lightning_modules.checkpoints import RestorableModule
from lightning_modules.code_scoring import score_codes
from lightning_modules.global_batch import log_scores
from lightning_modules.queries_and_items import QueriesAndItems, Stage
from retrieval.index import HashFunction

FINGERPRINTER_KEY = "fingerprinter"  # of a checkpoint
_QUERY_COLUMNS = ("fingerprint", "track", "start_seconds", "condition", "is_repeated")
_ITEM_COLUMNS = ("fingerprint", "track", "start_seconds")


@runtime_checkable  # or the shape checks of the tests can't be turned on
class ServesFingerprints(Protocol):
    """What the data module has beside its loaders; `datamodules.FingerprintPairs` does."""

    @property
    def conditions(self) -> Sequence[str]:
        """Names of the conditions under which queries were recorded."""

    def training_fingerprints(self) -> Float[Tensor, "item feature"]:
        """Return the clean fingerprints to train on."""


@runtime_checkable  # or the shape checks of the tests can't be turned on
class NamesFingerprinter(Protocol):
    """A data module that tells where its fingerprints are from."""

    @property
    def fingerprinter_checkpoint(self) -> str:
        """Checkpoint of the fingerprinter."""


class HashModule(QueriesAndItems, RestorableModule):
    """Score the codes of fingerprints: balance, agreement under distortion, and what a search evaluates.

    Validation and test read two loaders: queries, then the database.

    Args:
        input_dim: Size of a fingerprint.
        num_bits: Length of a code, K.
        efficiency_condition: Condition of the queries on which the search is measured.
    """

    def __init__(self, input_dim: int, num_bits: int, efficiency_condition: str) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.num_bits = num_bits
        self.efficiency_condition = efficiency_condition
        self.gather(_QUERY_COLUMNS, _ITEM_COLUMNS)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Name the fingerprinter that it hashes the fingerprints of, where the data module tells."""
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, NamesFingerprinter):
            checkpoint[FINGERPRINTER_KEY] = data.fingerprinter_checkpoint

    @property
    @abstractmethod
    def hash_function(self) -> HashFunction:
        """What places fingerprints in buckets."""

    def columns_of(self, batch: Batch, *, is_query: bool) -> Batch:
        """Return the batch as it is."""
        return batch

    def score(self, stage: Stage, queries: dict[str, Tensor], items: dict[str, Tensor]) -> None:
        """Score the codes of queries and items."""
        if self.trainer.sanity_checking:
            return
        scores = score_codes(queries, items, self.hash_function, self._measured(queries)) | self.score_items(items)
        log_scores(self, stage, scores, len(queries["track"]))

    def score_items(self, items: Mapping[str, Tensor]) -> dict[str, float]:
        """Return further scores, of the database alone; none unless overridden."""
        return {}

    @property
    def _data(self) -> ServesFingerprints:
        return cast(ServesFingerprints, self.trainer.datamodule)  # type: ignore[attr-defined]

    def _measured(self, queries: Mapping[str, Tensor]) -> Bool[Tensor, " query"]:
        """Say which queries are of the condition on which the search is measured."""
        names = list(self._data.conditions)
        if self.efficiency_condition not in names:
            raise ValueError(
                f"Expected efficiency_condition to be one of the data's conditions, {', '.join(names)}; got "
                f"{self.efficiency_condition!r}. Set --model.efficiency_condition to one."
            )
        return queries["condition"] == names.index(self.efficiency_condition)
