"""Attention over time for weakly labelled audio.

Kong, Xu, Wang and Plumbley, Audio Set classification with attention model (ICASSP 2018), as Fan et al. (2020) use it,
eq. (1): y(h) = sum_t v(h_t) f(h_t) / sum_t v(h_t), where a softmax over time makes the denominator 1.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class AttentionOverTime(nn.Module):
    """Weigh the frames of a clip, for each category by itself.

    Args:
        input_dim: Size of a frame.
        num_categories: Categories.
        is_uniform: Whether all frames weigh the same, which leaves attention out.
    """

    def __init__(self, input_dim: int, num_categories: int, is_uniform: bool = False) -> None:
        super().__init__()
        self.num_categories = num_categories
        # without a bias, which the softmax over time would cancel
        self.scorer = None if is_uniform else nn.Linear(input_dim, num_categories, bias=False)

    def forward(
        self, frames: Float[Tensor, "clip time feature"], mask: Bool[Tensor, "clip time"]
    ) -> Float[Tensor, "clip time category"]:
        """Return weights that sum to 1 over time and are 0 where `mask` says that there is no frame.

        Raises:
            ValueError: If a clip has no frame.
        """
        if not bool(mask.any(dim=1).all()):
            raise ValueError("Expected clips of at least one frame; got one of none. Leave it out.")
        shape = (*mask.shape, self.num_categories)
        scores = frames.new_zeros(shape) if self.scorer is None else self.scorer(frames)
        # in full precision, for the weights to sum to 1
        return scores.float().masked_fill(~mask[..., None], -torch.inf).softmax(dim=1)
