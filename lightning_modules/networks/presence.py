"""Networks that tell for each category whether both, neither or one of two sounds contain it.

Clips are embedded one by one; what a comparison needs of each clip alone is computed once a clip; the rest is computed
pair by pair. Situations are in the order both, neither, one.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

NUM_SITUATIONS = 3


@dataclass(frozen=True)
class ClipEmbeddings:
    """Clips, each embedded by itself.

    Attributes:
        value: Embedding of each step: a frame, or the whole clip where it has but one step.
        mask: Whether a clip has this step.
        attention: Weight of each frame for each category, where frames are weighed before clips are compared.
    """

    value: Float[Tensor, "clip step embedding"]
    mask: Bool[Tensor, "clip step"]
    attention: Float[Tensor, "clip time category"] | None = None

    @property
    def mean(self) -> Float[Tensor, "clip embedding"]:
        """Mean over the steps that a clip has."""
        present = self.mask[..., None]
        return (self.value * present).sum(dim=1) / present.sum(dim=1)


@dataclass(frozen=True)
class PairTerms:
    """What comparisons need of each clip alone.

    Attributes:
        first: Where it is the first of a pair.
        second: Where it is the second.
        mask: Whether a clip has this step.
    """

    first: Float[Tensor, "clip step term"]
    second: Float[Tensor, "clip step term"]
    mask: Bool[Tensor, "clip step"]


@dataclass(frozen=True)
class Presence:
    """Predicted presence matrices.

    Attributes:
        prob: Probability of both, neither and one; sums to 1.
        attention: Weight of each step for each category, where steps are weighed after they are compared.
    """

    prob: Float[Tensor, "pair category situation"]
    attention: Float[Tensor, "pair step category"] | None = None


class PresenceNetwork(nn.Module, ABC):
    """The contract: embed each clip, prepare it for comparison, compare pairs."""

    @abstractmethod
    def embed(self, frames: Float[Tensor, "clip time feature"], mask: Bool[Tensor, "clip time"]) -> ClipEmbeddings:
        """Embed clips one by one."""

    @abstractmethod
    def prepare(self, clips: ClipEmbeddings) -> PairTerms:
        """Compute what comparisons need of each clip alone."""

    @abstractmethod
    def compare(
        self,
        first: Float[Tensor, "pair step term"],
        second: Float[Tensor, "pair step term"],
        mask: Bool[Tensor, "pair step"],
    ) -> Presence:
        """Compare pairs by their terms; `mask` says which steps both clips have."""

    def classify(self, clips: ClipEmbeddings) -> Float[Tensor, "clip category"]:
        """Return the log-odds that each clip contains each category.

        Raises:
            NotImplementedError: If the network tells of pairs alone.
        """
        raise NotImplementedError(
            f"{type(self).__name__} doesn't tell what a clip contains; set --model.label_weight 0, or take PooledPairs."
        )


def independent_situations(
    log_odds: Float[Tensor, "*pair category"], other_log_odds: Float[Tensor, "*pair category"]
) -> Float[Tensor, "*pair category situation"]:
    """Return the log-probabilities of the situations if two clips contain a category independently of each other."""
    has, lacks = logsigmoid(log_odds), logsigmoid(-log_odds)
    other_has, other_lacks = logsigmoid(other_log_odds), logsigmoid(-other_log_odds)
    one = torch.logaddexp(has + other_lacks, lacks + other_has)
    return torch.stack([has + other_has, lacks + other_lacks, one], dim=-1)
