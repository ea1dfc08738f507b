"""Gather what was computed for items, over steps and processes."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from torchmetrics import Metric


class ItemCollector(Metric):
    """Gather columns of items; items that a sampler repeated count once.

    Args:
        names: Columns beside `item_index`.
    """

    full_state_update = False

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = ("item_index", *names)
        self._shapes: dict[str, torch.Size] = {}
        for name in self.names:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, columns: Mapping[str, Tensor]) -> None:
        """Take one batch in; other columns are passed over."""
        for name in self.names:
            self._shapes[name] = columns[name].shape[1:]
            getattr(self, name).append(columns[name])

    def compute(self) -> dict[str, Tensor]:
        """Return the columns of the items of all processes, sorted by index."""
        columns = {}
        for name in self.names:
            state = getattr(self, name)
            columns[name] = torch.cat(list(state)) if isinstance(state, list) else state
        first = _first_occurrences(columns["item_index"])
        return {name: column[first] for name, column in columns.items()}

    def collect(self) -> dict[str, Tensor]:
        """Return the columns of the items of all processes, and forget them."""
        columns = self.compute()
        self.reset()
        # torchmetrics drops the axis of a result that has one entry
        return {name: column.reshape(-1, *self._shapes[name]) for name, column in columns.items()}


def _first_occurrences(values: Int[Tensor, " value"]) -> Int[Tensor, " unique"]:
    """Return the position of the first occurrence of each distinct value, values ascending."""
    order = torch.argsort(values, stable=True)
    ordered = values[order]
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return order[is_first]
