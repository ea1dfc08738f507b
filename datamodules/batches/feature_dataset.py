"""Items of one role as batches."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset


@runtime_checkable  # or the shape checks of the tests can't be turned on
class ClipFeatures(Protocol):
    """Features of every clip of a corpus: an array, or what copies the clips asked for from somewhere else."""

    def __getitem__(self, indices: np.ndarray, /) -> np.ndarray:
        """Return the features of these clips, [batch, feature] or [batch, frame, feature]."""


class FeatureDataset(Dataset[dict[str, Tensor]]):
    """Items of one role, fetched a whole batch at a time.

    Args:
        features: Features of every item of the corpus.
        labels: Class of every item of the corpus, [item], or which of its categories it has, [item, category].
        item_indices: Positions of the items of this role.
        further: What else a batch has of each item, by field; [item, ...] each, for every item of the corpus.
    """

    def __init__(
        self,
        features: ClipFeatures,
        labels: np.ndarray,
        item_indices: np.ndarray,
        further: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self._features = features
        self._fields = {"label": labels, **(further or {})}
        self.item_indices = item_indices

    def __len__(self) -> int:
        return len(self.item_indices)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        return {name: value[0] for name, value in self.__getitems__([position]).items()}

    def __getitems__(self, positions: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """Return the batch of these items."""
        index = self.item_indices[np.asarray(positions)]
        return {
            "feature": torch.from_numpy(np.ascontiguousarray(self._features[index], dtype=np.float32)),
            **{name: torch.from_numpy(values[index]) for name, values in self._fields.items()},
            "item_index": torch.from_numpy(index),
        }


def pass_batch(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Collate nothing: `FeatureDataset.__getitems__` has put the batch together."""
    return batch
