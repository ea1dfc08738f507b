"""Holm's correction: p-values of many tests, so that the chance of any false alarm stays bounded.

Holm, A simple sequentially rejective multiple test procedure, 1979. Of m p-values in ascending order, the i-th is
adjusted to

    max_{j <= i} min(1, (m - j + 1) p_(j)),

and a test is significant at level alpha if its adjusted p-value is at most alpha. The chance that any test of equal
methods is then called significant is at most alpha, however the tests depend on each other.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class HolmDecision:
    """One test among many.

    Attributes:
        p_value: As the test gave it.
        adjusted_p_value: After Holm's correction; never smaller.
        is_significant: Whether the adjusted p-value is at most the level asked for.
    """

    p_value: float
    adjusted_p_value: float
    is_significant: bool


def holm_adjust(p_values: Float[Tensor, " test"]) -> Float[Tensor, " test"]:
    """Adjust p-values for their number.

    Args:
        p_values: One a test, in any order.

    Returns:
        Adjusted p-values in double precision and in the order given; at most 1, ranked like `p_values`.

    Raises:
        ValueError: If there is none, or one is NaN or outside [0, 1].
    """
    if len(p_values) == 0:
        raise ValueError("Holm's correction needs at least one p-value; got none. Look at the list of methods.")
    is_bad = ~((p_values >= 0) & (p_values <= 1))
    if bool(is_bad.any()):
        raise ValueError(
            f"Expected p-values in [0, 1]; got {p_values[is_bad].tolist()} at {is_bad.nonzero()[:, 0].tolist()}. "
            "Look at the scores of those methods."
        )
    ascending, order = p_values.double().sort(stable=True)
    num_left = torch.arange(len(p_values), 0, -1, device=p_values.device)
    adjusted = torch.empty_like(ascending)
    adjusted[order] = (num_left * ascending).cummax(dim=0).values.clamp(max=1)
    return adjusted


def holm_decisions(p_values: Mapping[Name, float], level: float = 0.05) -> dict[Name, HolmDecision]:
    """Decide which of many named tests are significant together.

    Args:
        p_values: p-value of each test, under the name of a method or a pair of methods.
        level: Largest chance of any false alarm, alpha.

    Returns:
        A decision a name, in the order given.

    Raises:
        ValueError: If there is no p-value, one is NaN or outside [0, 1], or the level is not in (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level}. Try 0.05.")
    adjusted = holm_adjust(torch.tensor(list(p_values.values()), dtype=torch.float64)).tolist()
    return {
        name: HolmDecision(p_value, adjusted_p_value, adjusted_p_value <= level)
        for (name, p_value), adjusted_p_value in zip(p_values.items(), adjusted, strict=True)
    }
