"""Clips weighed over time each by itself, then compared: ours, and a classifier whose predictions are compared.

Fan et al. (2020) compare frames of the same time, so that a dog at second 2 of one clip and at second 8 of the other
are never seen together. Here attention finds what a clip contains before it meets another.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lightning_modules.networks.attention import AttentionOverTime
from lightning_modules.networks.dense_layers import DenseLayers
from lightning_modules.networks.presence import (
    NUM_SITUATIONS,
    ClipEmbeddings,
    PairTerms,
    Presence,
    PresenceNetwork,
    independent_situations,
)

_MIN_PROB = 1e-4  # of a category in a clip, so that its log-odds are finite


class ClipClassifier(nn.Module):
    """Embed a clip and tell what it contains, frames weighed by attention.

    Args:
        input_dim: Size of a frame.
        num_categories: Categories.
        branch_dims: Layers that each frame goes through.
        dropout: Probability of dropping a unit of any layer.
    """

    def __init__(self, input_dim: int, num_categories: int, branch_dims: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.branch = DenseLayers(input_dim, branch_dims, dropout)
        self.attention = AttentionOverTime(self.branch.output_dim, num_categories)
        self.output = nn.Linear(self.branch.output_dim, num_categories)

    def forward(self, frames: Float[Tensor, "clip time feature"], mask: Bool[Tensor, "clip time"]) -> ClipEmbeddings:
        """Return the log-odds of the categories, then the mean of frames by all categories' attention, in one step."""
        hidden = self.branch(frames, mask)
        weights = self.attention(hidden, mask)
        # no einsum, which autocast would take to half precision
        prob = (weights * self.output(hidden).float().sigmoid()).sum(dim=1)
        mean = (weights.mean(dim=2, keepdim=True) * hidden.float()).sum(dim=1)
        value = torch.cat([torch.logit(prob, eps=_MIN_PROB), mean], dim=1)
        return ClipEmbeddings(value[:, None], mask.new_ones(len(mask), 1), weights)


class PooledPairs(PresenceNetwork):
    """Compare whole clips by the sum, difference and product of their embeddings; swapping a pair changes nothing.

    Args:
        input_dim: Size of a frame.
        num_categories: Categories.
        branch_dims: Layers of the branch that both clips go through.
        hidden_dims: Layers of the perceptron that a pair goes through.
        dropout: Probability of dropping a unit of any layer.
    """

    def __init__(
        self,
        input_dim: int,
        num_categories: int,
        branch_dims: Sequence[int] = (128, 128, 128),
        hidden_dims: Sequence[int] = (256, 128),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.num_categories = num_categories
        self.classifier = ClipClassifier(input_dim, num_categories, branch_dims, dropout)
        self.layers = DenseLayers(3 * self.classifier.branch.output_dim, hidden_dims, dropout)
        self.output = nn.Linear(self.layers.output_dim, num_categories * NUM_SITUATIONS)

    def embed(self, frames: Float[Tensor, "clip time feature"], mask: Bool[Tensor, "clip time"]) -> ClipEmbeddings:
        """Embed and classify clips."""
        clips: ClipEmbeddings = self.classifier(frames, mask)
        return clips

    def prepare(self, clips: ClipEmbeddings) -> PairTerms:
        """Keep the embedding without the log-odds."""
        embedding = clips.value[..., self.num_categories :]
        return PairTerms(embedding, embedding, clips.mask)

    def compare(
        self,
        first: Float[Tensor, "pair step term"],
        second: Float[Tensor, "pair step term"],
        mask: Bool[Tensor, "pair step"],
    ) -> Presence:
        """Compare pairs of clips."""
        interactions = torch.cat([first + second, (first - second).abs(), first * second], dim=-1)
        logits = self.output(self.layers(interactions, mask))[:, 0]
        return Presence(logits.unflatten(1, (self.num_categories, NUM_SITUATIONS)).float().softmax(dim=-1))

    def classify(self, clips: ClipEmbeddings) -> Float[Tensor, "clip category"]:
        """Return the log-odds of each category."""
        return clips.value[:, 0, : self.num_categories]


class IndependentClassifier(PresenceNetwork):
    """The plain baseline: classify each clip, compare the predictions as if clips were independent.

    Args:
        input_dim: Size of a frame.
        num_categories: Categories.
        branch_dims: Layers that each frame goes through.
        dropout: Probability of dropping a unit of any layer.
    """

    def __init__(
        self, input_dim: int, num_categories: int, branch_dims: Sequence[int] = (128, 128, 128), dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.num_categories = num_categories
        self.classifier = ClipClassifier(input_dim, num_categories, branch_dims, dropout)

    def embed(self, frames: Float[Tensor, "clip time feature"], mask: Bool[Tensor, "clip time"]) -> ClipEmbeddings:
        """Classify clips."""
        clips: ClipEmbeddings = self.classifier(frames, mask)
        return clips

    def prepare(self, clips: ClipEmbeddings) -> PairTerms:
        """Keep the log-odds."""
        log_odds = clips.value[..., : self.num_categories]
        return PairTerms(log_odds, log_odds, clips.mask)

    def compare(
        self,
        first: Float[Tensor, "pair step term"],
        second: Float[Tensor, "pair step term"],
        mask: Bool[Tensor, "pair step"],
    ) -> Presence:
        """Compare predictions."""
        return Presence(independent_situations(first[:, 0], second[:, 0]).exp())

    def classify(self, clips: ClipEmbeddings) -> Float[Tensor, "clip category"]:
        """Return the log-odds of each category."""
        return clips.value[:, 0, : self.num_categories]
