"""The Siamese attention network of Fan et al. (2020), section 3.1 and fig. 1, and its variants of section 5.2."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import linear

from lightning_modules.networks.attention import AttentionOverTime
from lightning_modules.networks.dense_layers import DenseLayers, activation_layers, apply_to_frames
from lightning_modules.networks.presence import NUM_SITUATIONS, ClipEmbeddings, PairTerms, Presence, PresenceNetwork


class ConcatenatedPairs(PresenceNetwork):
    """Embed both clips frame by frame, compare frames of the same time, average over time by attention.

    The first layer after the concatenation is linear in each clip, so that its two halves are computed once a clip.

    Args:
        input_dim: Size of a frame.
        num_categories: Categories.
        branch_dims: Layers of the branch that both clips go through; none leaves the Siamese structure out.
        hidden_dims: Layers of the perceptron that the concatenation goes through; at least one.
        dropout: Probability of dropping a unit of any layer.
        attention: Whether frames are weighed by attention, eq. (1), or all the same.
        symmetric: Whether the prediction is the mean over both orders of a pair, so that swapping changes nothing;
            twice the cost.

    Raises:
        ValueError: If there is no hidden layer.
    """

    def __init__(
        self,
        input_dim: int,
        num_categories: int,
        branch_dims: Sequence[int] = (128, 128, 128),
        hidden_dims: Sequence[int] = (256, 128),
        dropout: float = 0.5,
        attention: bool = True,
        symmetric: bool = False,
    ) -> None:
        super().__init__()
        if not hidden_dims:
            raise ValueError("hidden_dims must have a layer; got none. The paper has 256 and 128.")
        self.num_categories = num_categories
        self.symmetric = symmetric
        self.branch = DenseLayers(input_dim, branch_dims, dropout)
        self.concatenation = nn.Linear(2 * self.branch.output_dim, hidden_dims[0])
        self.activation = nn.Sequential(*activation_layers(hidden_dims[0], dropout))
        self.layers = DenseLayers(hidden_dims[0], hidden_dims[1:], dropout)
        self.attention = AttentionOverTime(self.layers.output_dim, num_categories, is_uniform=not attention)
        self.output = nn.Linear(self.layers.output_dim, num_categories * NUM_SITUATIONS)

    def embed(self, frames: Float[Tensor, "clip time feature"], mask: Bool[Tensor, "clip time"]) -> ClipEmbeddings:
        """Send each frame through the branch."""
        return ClipEmbeddings(self.branch(frames, mask), mask)

    def prepare(self, clips: ClipEmbeddings) -> PairTerms:
        """Multiply by both halves of the weights that the concatenation is multiplied by."""
        as_first, as_second = self.concatenation.weight.chunk(2, dim=1)
        first = linear(clips.value, as_first, self.concatenation.bias)
        second = linear(clips.value, as_second)
        if not self.symmetric:
            return PairTerms(first, second, clips.mask)
        # the order as given, then the other one
        return PairTerms(torch.cat([first, second], dim=-1), torch.cat([second, first], dim=-1), clips.mask)

    def compare(
        self,
        first: Float[Tensor, "pair step term"],
        second: Float[Tensor, "pair step term"],
        mask: Bool[Tensor, "pair step"],
    ) -> Presence:
        """Compare pairs frame by frame."""
        total = first + second
        if not self.symmetric:
            return self._predict(total, mask)
        orders = [self._predict(part, mask) for part in total.chunk(2, dim=-1)]
        return Presence(
            torch.stack([each.prob for each in orders]).mean(dim=0),
            torch.stack([each.attention for each in orders if each.attention is not None]).mean(dim=0),
        )

    def _predict(self, total: Float[Tensor, "pair step term"], mask: Bool[Tensor, "pair step"]) -> Presence:
        hidden = self.layers(apply_to_frames(self.activation, total, mask), mask)
        weights = self.attention(hidden, mask)
        situations = self.output(hidden).unflatten(-1, (self.num_categories, NUM_SITUATIONS)).float().softmax(dim=-1)
        # no einsum, which autocast would take to half precision
        return Presence((weights[..., None] * situations).sum(dim=1), weights)
