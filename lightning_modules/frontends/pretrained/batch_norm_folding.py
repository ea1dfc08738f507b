"""Batch normalisation that follows a convolution, as part of that convolution."""

import torch
from torch import Tensor


def fold_batch_norm(
    kernel: Tensor,
    mean: Tensor,
    variance: Tensor,
    beta: Tensor,
    epsilon: float,
    gamma: Tensor | None = None,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Turn a convolution and its batch normalisation into one biased convolution.

    Args:
        kernel: Weights, output channel first.
        mean: Running mean, a channel.
        variance: Running variance, a channel.
        beta: Offset, a channel.
        epsilon: What the normalisation adds to the variance.
        gamma: Scale, a channel; None for a normalisation without.
        bias: The convolution's own bias, a channel; None for none.

    Returns:
        Weights and bias of the convolution.
    """
    scale = torch.rsqrt(variance + epsilon)
    if gamma is not None:
        scale = scale * gamma
    centre = mean if bias is None else mean - bias
    return kernel * scale.reshape(-1, 1, 1, 1), beta - centre * scale
