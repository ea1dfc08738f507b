"""Fingerprint -> R^K: what the flow, or the signs themselves, make a code of."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from lightning_modules.networks.global_batch_norm import GlobalBatchNorm


class HashProjection(nn.Module):
    """Dense layers with ReLU, the last one linear: F_phi of FlowHash (2024), appendix A.3.1.

    Args:
        input_dim: Size of a fingerprint.
        num_bits: Size of a projection, K.
        hidden_dims: Sizes of the hidden layers; the paper has one of 512.
        standardize: Whether each dimension is brought to mean 0 and deviation 1: over the batch in training, over what
            training saw afterwards. Without it, losses that stretch distances have no end.
    """

    def __init__(
        self, input_dim: int, num_bits: int, hidden_dims: Sequence[int] = (512,), standardize: bool = False
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        size = input_dim
        for hidden_dim in hidden_dims:
            layers += [nn.Linear(size, hidden_dim), nn.ReLU()]
            size = hidden_dim
        layers.append(nn.Linear(size, num_bits))
        if standardize:
            layers.append(GlobalBatchNorm(num_bits, affine=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, fingerprint: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch bit"]:
        """Project fingerprints."""
        projection: Tensor = self.layers(fingerprint)
        return projection
