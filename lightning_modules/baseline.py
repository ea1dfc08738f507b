"""Search by a code that is fitted without labels: what learned codes are compared with.

Jati and Emmanouilidou (2020), section 4.1: unsupervised methods see the whole database and work on the features as they
are.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_modules.base import Batch, CodedRetrievalModule
from lightning_modules.preprocessing import Preprocessing
from retrieval.codes import Coder
from retrieval.metrics import ScoringOptions


class Baseline(CodedRetrievalModule):
    """Encode features by a classical code; training is one fit of the code.

    `callbacks.CodebookRefit` with `fit_on: database` fits it, `callbacks.FinalCheckpoint` keeps it.

    Args:
        preprocessing: Front end, centring and scale of the features.
        coder: Makes the code from the sizes of feature and code.
        num_bits: Length of a code.
        normalize: Whether features are scaled to unit length first.
        scoring: Definitions of the scores.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        coder: Callable[[int, int], Coder],
        num_bits: int = 48,
        normalize: bool = False,
        scoring: ScoringOptions = ScoringOptions(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(preprocessing, scoring)
        self.num_bits = num_bits
        self.normalize = normalize
        self._coder = coder(preprocessing.frame_dim, num_bits)
        # Nothing is optimized; but data-parallel training refuses a module that has no parameter at all.
        self.automatic_optimization = False
        self._placeholder = nn.Parameter(torch.zeros(()))

    @property
    def coder(self) -> Coder:
        """The code."""
        return self._coder

    @property
    def method_name(self) -> str:
        """The code's name, and what the features went through before."""
        name = type(self._coder).__name__
        return f"{name}, L2-normalised" if self.normalize else name

    def forward(self, feature: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch embedding"]:
        """Return the features, of unit length if asked for."""
        return torch.nn.functional.normalize(feature, dim=1) if self.normalize else feature

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Learn nothing from labelled items."""

    def configure_optimizers(self) -> None:
        """Have no optimizer."""
