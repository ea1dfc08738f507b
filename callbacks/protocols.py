"""What callbacks ask of data modules and front ends; any class that has it will do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor


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

    def role_dataset(self, role: Literal["train", "query", "database"]) -> RoleItems:
        """Return the items, in order of their index."""


@runtime_checkable
class NamedData(Protocol):
    """A data module that says what numbers measured on it are to be called."""

    @property
    def data_name(self) -> str:
        """What to call them."""


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
