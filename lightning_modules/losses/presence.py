"""Cross-entropy of presence matrices, section 3.1 of Fan et al. (2020)."""

from jaxtyping import Float
from torch import Tensor

_MIN_PROB = 1e-6  # as far as single precision tells probabilities near 1 from it


def presence_cross_entropy(
    prob: Float[Tensor, "pair category situation"], target: Float[Tensor, "pair category situation"]
) -> Float[Tensor, " pair"]:
    """Return the categorical cross-entropy of each pair, summed over categories, in nats.

    Args:
        prob: Predicted probabilities of the situations.
        target: True ones: one-hot, or probabilities.
    """
    return -(target * prob.clamp(min=_MIN_PROB).log()).sum(dim=(1, 2))
