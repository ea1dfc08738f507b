"""What callbacks ask of models and data modules; any class that has it will do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from retrieval.codes import CodebookFit, Coder
from retrieval.metrics import ScoringOptions
from retrieval.outputs import RetrievalOutputs


@runtime_checkable
class CorpusItem(Protocol):
    """One clip."""

    @property
    def name(self) -> str:
        """Unique within the corpus."""

    @property
    def path(self) -> Path:
        """Audio file."""


@runtime_checkable
class Corpus(Protocol):
    """A data module's description of its clips."""

    @property
    def data_name(self) -> str:
        """What numbers measured on it are to be called."""

    @property
    def class_names(self) -> Sequence[str]:
        """Names in the order of labels."""

    @property
    def items(self) -> Sequence[CorpusItem]:
        """Every clip; an item index is a position in it."""


@runtime_checkable
class RoleItems(Protocol):
    """Items of one role, fetched a batch at a time."""

    def __len__(self) -> int: ...

    def __getitems__(self, positions: Sequence[int]) -> dict[str, Tensor]: ...


@runtime_checkable
class HasRoles(Protocol):
    """A data module that hands out the items of a role."""

    def role_dataset(self, role: Literal["train", "database"]) -> RoleItems:
        """Return the items, in order of their index."""


@runtime_checkable
class HasCodebook(Protocol):
    """A model whose codebooks, or another code, are fitted outside of back-propagation."""

    def fit_codebook(self, embeddings: Tensor) -> CodebookFit | None:
        """Fit to embeddings of shape [item, embedding]; None for a code without codebooks."""

    def codebook_tensors(self) -> list[Tensor]:
        """Return what the fit changed, to be shared between processes."""


@runtime_checkable
class CodedModel(Protocol):
    """A model that searches by codes; after a test it holds what reports need."""

    retrieval_outputs: RetrievalOutputs | None
    scoring: ScoringOptions

    @property
    def coder(self) -> Coder:
        """What encodes its embeddings."""

    @property
    def method_name(self) -> str:
        """What reports call it."""
