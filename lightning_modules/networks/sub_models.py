"""One network a category, section 5.2 of Fan et al. (2020)."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lightning_modules.networks.presence import ClipEmbeddings, PairTerms, Presence, PresenceNetwork


class SubModels(PresenceNetwork):
    """Tell of each category by a network of its own; they share nothing.

    Args:
        input_dim: Size of a frame.
        num_categories: Categories.
        network: Makes a network from the size of a frame and its number of categories, which is 1.
    """

    def __init__(self, input_dim: int, num_categories: int, network: Callable[[int, int], PresenceNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(network(input_dim, 1) for _ in range(num_categories))

    def embed(self, frames: Float[Tensor, "clip time feature"], mask: Bool[Tensor, "clip time"]) -> ClipEmbeddings:
        """Embed clips by every network, one embedding after the other."""
        clips = [network.embed(frames, mask) for network in self._parts()]
        attention = [each.attention for each in clips if each.attention is not None]
        return ClipEmbeddings(
            torch.cat([each.value for each in clips], dim=-1),
            clips[0].mask,
            torch.cat(attention, dim=-1) if attention else None,
        )

    def prepare(self, clips: ClipEmbeddings) -> PairTerms:
        """Compute the terms of every network."""
        parts = clips.value.chunk(len(self.networks), dim=-1)
        terms = [
            network.prepare(ClipEmbeddings(part, clips.mask))
            for network, part in zip(self._parts(), parts, strict=True)
        ]
        return PairTerms(
            torch.cat([each.first for each in terms], dim=-1),
            torch.cat([each.second for each in terms], dim=-1),
            clips.mask,
        )

    def compare(
        self,
        first: Float[Tensor, "pair step term"],
        second: Float[Tensor, "pair step term"],
        mask: Bool[Tensor, "pair step"],
    ) -> Presence:
        """Compare pairs by every network."""
        count = len(self.networks)
        parts = zip(self._parts(), first.chunk(count, dim=-1), second.chunk(count, dim=-1), strict=True)
        predictions = [network.compare(own_first, own_second, mask) for network, own_first, own_second in parts]
        attention = [each.attention for each in predictions if each.attention is not None]
        return Presence(
            torch.cat([each.prob for each in predictions], dim=1),
            torch.cat(attention, dim=-1) if attention else None,
        )

    def classify(self, clips: ClipEmbeddings) -> Float[Tensor, "clip category"]:
        """Return the log-odds that each network gives."""
        parts = clips.value.chunk(len(self.networks), dim=-1)
        return torch.cat(
            [
                network.classify(ClipEmbeddings(part, clips.mask))
                for network, part in zip(self._parts(), parts, strict=True)
            ],
            dim=1,
        )

    def _parts(self) -> list[PresenceNetwork]:
        return [network for network in self.networks if isinstance(network, PresenceNetwork)]
