"""Two-dimensional densities on which a flow can be watched: moons, rings, a checkerboard.

FlowHash (2024), appendix A.4 and figure 5.
"""

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

Toy = Literal["moons", "rings", "checkerboard"]


def make_toy(name: Toy, num_points: int, seed: int = 0) -> Float[Tensor, "point 2"]:
    """Draw points of a density, each coordinate brought to mean 0 and deviation 1.

    Args:
        name: `moons`: two interlocking half circles; `rings`: two circles around one centre; `checkerboard`: the eight
            dark fields of a board of four by four.
        num_points: At least 2.
        seed: Seed of the draw.

    Raises:
        ValueError: If there is no such density, or there are fewer than 2 points.
    """
    if name not in _DRAWS or num_points < 2:
        raise ValueError(
            f"Expected one of {', '.join(get_args(Toy))} and at least 2 points; got {name!r} and {num_points}."
        )
    points = _DRAWS[name](num_points, torch.Generator().manual_seed(seed))
    return (points - points.mean(dim=0)) / points.std(dim=0)


def _draw_moons(num_points: int, generator: torch.Generator) -> Float[Tensor, "point 2"]:
    angle = math.pi * torch.rand(num_points, generator=generator)
    is_lower = torch.randint(2, (num_points,), generator=generator).bool()
    upper = torch.stack([angle.cos(), angle.sin()], dim=1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=1)
    return torch.where(is_lower[:, None], lower, upper) + 0.08 * torch.randn(num_points, 2, generator=generator)


def _draw_rings(num_points: int, generator: torch.Generator) -> Float[Tensor, "point 2"]:
    angle = 2 * math.pi * torch.rand(num_points, generator=generator)
    radius = 1.0 + torch.randint(2, (num_points,), generator=generator)
    circle = torch.stack([angle.cos(), angle.sin()], dim=1)
    return radius[:, None] * circle + 0.08 * torch.randn(num_points, 2, generator=generator)


def _draw_checkerboard(num_points: int, generator: torch.Generator) -> Float[Tensor, "point 2"]:
    column = torch.randint(4, (num_points,), generator=generator)
    row = 2 * torch.randint(2, (num_points,), generator=generator) + column % 2
    return torch.stack([column, row], dim=1) + torch.rand(num_points, 2, generator=generator)


_DRAWS: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "moons": _draw_moons,
    "rings": _draw_rings,
    "checkerboard": _draw_checkerboard,
}
