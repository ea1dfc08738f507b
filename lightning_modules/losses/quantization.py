"""Quantization loss of a product quantizer."""

from jaxtyping import Float
from torch import Tensor


def quantization_loss(
    embeddings: Float[Tensor, "batch feature"], decoded: Float[Tensor, "batch feature"]
) -> Float[Tensor, ""]:
    """Return the mean squared distance between embeddings and what their codes decode to.

    Q = 1/N sum_i ||e_i - C h_i||^2, eqs. (7) and (11) of Jati et al. (2020), on one batch.
    """
    return (embeddings - decoded).square().sum(dim=1).mean()
