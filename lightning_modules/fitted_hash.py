"""A hash of fingerprints that is fitted to those that are to be indexed, without gradients."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_modules.base import Batch
from lightning_modules.hash_module import HashModule
from retrieval.codes import Coder
from retrieval.index import HashFunction


class FittedHash(HashModule):
    """Fit a hash of `retrieval.codes` to the training fingerprints, before the first step of a training of one step.

    `callbacks.FinalCheckpoint` keeps it.

    Args:
        input_dim: Size of a fingerprint; the data module gives it.
        coder: Makes the hash from the sizes of fingerprint and code.
        num_bits: Length of a code, K.
        efficiency_condition: Condition of the queries on which the search is measured.

    Raises:
        TypeError: If the coder places nothing in buckets.
    """

    def __init__(
        self,
        input_dim: int,
        coder: Callable[[int, int], Coder],
        num_bits: int = 12,
        efficiency_condition: str = "noise 10 dB",
    ) -> None:
        super().__init__(input_dim, num_bits, efficiency_condition)
        made = coder(input_dim, num_bits)
        if not isinstance(made, HashFunction):
            raise TypeError(
                f"Expected a hash, whose codes are buckets; got {type(made).__name__}. "
                "retrieval.codes.BalancedResidualHash is one."
            )
        self.coder: Coder = made
        # Nothing is optimized; but data-parallel training refuses a module that has no parameter at all.
        self.automatic_optimization = False
        self._placeholder = nn.Parameter(torch.zeros(()))

    @property
    def hash_function(self) -> HashFunction:
        """The hash."""
        assert isinstance(self.coder, HashFunction)  # as it was made
        return self.coder

    def on_train_start(self) -> None:
        """Fit on one process and share what was found; a run that goes on has it already."""
        if not self.coder.is_fitted:
            if self.trainer.is_global_zero:
                self.coder.fit(self._data.training_fingerprints().to(self.device))
            self.coder.load_state_dict(self.trainer.strategy.broadcast(self.coder.state_dict()))

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Learn nothing from pairs."""

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the batch's codes, and which segment of which track each is."""
        places = {name: batch[name] for name in ("item_index", "track", "start_seconds")}
        return places | {"code": self.coder.encode(batch["fingerprint"])}

    def configure_optimizers(self) -> None:
        """Have no optimizer."""
