"""Batches that a callback fetches by itself: as a model's steps would get them."""

from collections.abc import Sequence
from typing import cast

import pytorch_lightning as pl
from torch import Tensor

from callbacks.protocols import RoleItems


def fetch_batch(module: pl.LightningModule, items: RoleItems, positions: Sequence[int]) -> dict[str, Tensor]:
    """Return the items at some positions of a role, on the module's device and preprocessed by it."""
    batch = {name: value.to(module.device) for name, value in items.__getitems__(positions).items()}
    return cast(dict[str, Tensor], module.on_after_batch_transfer(batch, 0))
