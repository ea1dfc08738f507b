"""Folding changes nothing but the number of operations."""

import pytest
import torch
from torch.nn import functional as F

from lightning_modules.frontends.pretrained.batch_norm_folding import fold_batch_norm


@pytest.mark.parametrize("has_scale", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
def test_folding_gives_the_same_output_as_convolution_and_normalisation(has_scale: bool, has_bias: bool) -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    kernel = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    mean, beta, scale, offset = torch.randn(4, 4, dtype=torch.float64)
    variance = torch.rand(4, dtype=torch.float64) + 0.1
    gamma, bias = scale if has_scale else None, offset if has_bias else None
    expected = F.batch_norm(F.conv2d(image, kernel, bias), mean, variance, weight=gamma, bias=beta, eps=1e-4)
    folded, offsets = fold_batch_norm(kernel, mean, variance, beta, 1e-4, gamma=gamma, bias=bias)
    torch.testing.assert_close(F.conv2d(image, folded, offsets), expected, atol=1e-12, rtol=0)
