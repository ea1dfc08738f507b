"""What callbacks ask of models and data modules; any class that has it will do."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from retrieval.codes import CodebookFit, Coder
from retrieval.metrics import LevelScoring, ScoringOptions
from retrieval.outputs import FingerprintOutputs, PresenceOutputs, RetrievalOutputs


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
class HasTracks(Protocol):
    """A data module's description of its tracks."""

    @property
    def tracks(self) -> Sequence[CorpusItem]:
        """Every track; a segment's `track` is a position in it."""


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
class HasBeta(Protocol):
    """A model whose loss has a weighted part."""

    beta: float


@runtime_checkable
class SearchedModel(Protocol):
    """A model that searches by embeddings; after a test it holds what reports need."""

    retrieval_outputs: RetrievalOutputs | None
    scoring: ScoringOptions

    @property
    def method_name(self) -> str:
        """What reports call it."""


@runtime_checkable
class CodedModel(SearchedModel, Protocol):
    """A model that searches by codes."""

    @property
    def coder(self) -> Coder:
        """What encodes its embeddings."""


@runtime_checkable
class HasMean(Protocol):
    """A distribution."""

    @property
    def mean(self) -> Tensor:
        """Its mean."""


@runtime_checkable
class LatentModel(SearchedModel, Protocol):
    """A variational autoencoder of windows of spectrograms; it has a prior, too, see `HasPrior`."""

    @property
    def device(self) -> torch.device:
        """Where it lives."""

    def windows(self, feature: Tensor) -> Tensor:
        """Cut clips, [batch, frame, feature], into overlapping windows, [batch, window, frame, feature]."""

    def posterior(self, window: Tensor) -> HasMean:
        """Encode windows, [batch, frame, feature], to distributions of latents, [batch, latent]."""

    def likelihood(self, latent: Tensor) -> HasMean:
        """Decode latents, [batch, latent], to distributions of windows, [batch, frame, feature]."""


@runtime_checkable
class LatentPrior(Protocol):
    """A distribution of latent vectors."""

    def sample(self, num_samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw vectors, [item, latent], on the generator's device."""


class HasPrior(Protocol):
    """What a `LatentModel` samples from.

    Not for `isinstance`, which from Python 3.12 on does not see the submodules of a module.
    """

    @property
    def prior(self) -> LatentPrior:
        """The prior of the latents."""


@runtime_checkable
class HasQueries(Protocol):
    """A data module that hands out the test queries."""

    def role_dataset(self, role: Literal["query"]) -> RoleItems:
        """Return the queries, in order of their index."""


@runtime_checkable
class PresenceOfPairs(Protocol):
    """What a model says of pairs of clips."""

    @property
    def prob(self) -> Tensor:
        """Predicted presence matrices, [pair, category, situation]."""

    @property
    def target(self) -> Tensor:
        """True ones."""

    @property
    def attention(self) -> Tensor:
        """Weight of each frame of the first clip for each category, [pair, time, category]; sums to 1 over time."""

    @property
    def other_attention(self) -> Tensor:
        """The same of the second clip."""


@runtime_checkable
class PairwiseModel(Protocol):
    """A model that compares clips pair by pair; after a test it holds what reports need."""

    presence_outputs: PresenceOutputs | None
    scoring: LevelScoring

    @property
    def method_name(self) -> str:
        """What reports call it."""

    def compare_clips(self, batch: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> PresenceOfPairs:
        """Compare the clips of two batches of one size, position by position."""


@runtime_checkable
class FingerprintModel(Protocol):
    """A model that fingerprints segments of tracks; after a test it holds what reports need."""

    fingerprint_outputs: FingerprintOutputs | None

    @property
    def method_name(self) -> str:
        """What reports call it."""


@runtime_checkable
class NamedData(Protocol):
    """A data module that says what numbers measured on it are to be called."""

    @property
    def data_name(self) -> str:
        """What to call them."""


@runtime_checkable
class HasQueriesAndItems(Protocol):
    """A data module that hands out test queries, and the database that answers them."""

    def role_dataset(self, role: Literal["query", "database"]) -> RoleItems:
        """Return the clips of a role, in order of their index."""


@runtime_checkable
class HasSuperclasses(Protocol):
    """A corpus whose classes are of fewer kinds."""

    @property
    def superclass_of(self) -> np.ndarray | None:
        """Superclass of each class, in the order of labels; None where there are none."""

    @property
    def superclass_names(self) -> Sequence[str] | None:
        """Names of the superclasses; None where there are none."""


@runtime_checkable
class RestoresFeatures(Protocol):
    """A data module that standardises features and can undo it."""

    def restore_features(self, feature: np.ndarray) -> np.ndarray:
        """Return features, [..., feature], in the front end's units."""


@runtime_checkable
class InvertibleFrontEnd(Protocol):
    """A front end whose frames can be turned back into sound."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the sound."""

    def to(self, device: torch.device) -> object:
        """Move to a device."""

    def invert(self, frames: Tensor) -> Tensor:
        """Return waveforms, [batch, time], of frames, [batch, frame, feature]."""


@runtime_checkable
class HoldsOut(Protocol):
    """A data module that can train on all its training items, or hold some of them out for validation."""

    hold_out: bool
    """Whether loaders made from now on hold out; if not, there are no loaders for validation."""
