"""Dense layers for the frames of clips of unequal length."""

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor, nn

from lightning_modules.networks.global_batch_norm import GlobalBatchNorm


class DenseLayers(nn.Module):
    """Map each frame by itself: linear, batch-normalised, ReLU, dropout, layer after layer.

    Padding is kept out of the statistics of batch normalisation.

    Args:
        input_dim: Size of a frame.
        dims: Sizes of the layers; none leaves frames as they are.
        dropout: Probability of dropping a unit of any layer.
    """

    def __init__(self, input_dim: int, dims: Sequence[int], dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        size = input_dim
        for dim in dims:
            layers += [nn.Linear(size, dim), *activation_layers(dim, dropout)]
            size = dim
        self.layers = nn.Sequential(*layers)
        self.output_dim = size

    def forward(
        self, frames: Float[Tensor, "clip time feature"], mask: Bool[Tensor, "clip time"]
    ) -> Float[Tensor, "clip time embedding"]:
        """Map the frames that `mask` says are there; the others become zeros."""
        return apply_to_frames(self.layers, frames, mask)


def activation_layers(dim: int, dropout: float) -> list[nn.Module]:
    """Return what follows a linear layer."""
    return [GlobalBatchNorm(dim), nn.ReLU(), nn.Dropout(dropout)]


def apply_to_frames(
    layers: nn.Module, frames: Float[Tensor, "clip time feature"], mask: Bool[Tensor, "clip time"]
) -> Float[Tensor, "clip time embedding"]:
    """Apply layers that take rows to the frames that are there; the others become zeros."""
    if bool(mask.all()):
        mapped: Tensor = layers(frames.flatten(0, 1)).unflatten(0, mask.shape)
        return mapped
    rows: Tensor = layers(frames[mask])
    scattered: Tensor = rows.new_zeros(*mask.shape, rows.shape[1])
    scattered[mask] = rows
    return scattered
