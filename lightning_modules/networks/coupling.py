"""Coupling layers: half of a vector is mapped, element by element, in a way that the other half decides.

Dinh et al., Density estimation using Real NVP (2017), as FlowHash (2024) has it, eqs. (5) and (6); rational-quadratic
splines in place of the affine map are those of Durkan et al., Neural spline flows (2019). nflows has the transforms.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from nflows.transforms import AffineCouplingTransform, PiecewiseRationalQuadraticCouplingTransform, Transform
from torch import Tensor, nn

CouplingKind = Literal["affine", "spline"]
# A layer scales by e^-2 to e^2; as couplings alternate, five layers reach 22,000.
_LOG_SCALE_LIMIT = 2.0
# Splines act within these bounds and are the identity beyond: the modes' means are +-2, their deviation 1.
_SPLINE_BOUND = 6.0
_SPLINE_BINS = 8


def make_coupling(
    num_bits: int, position: int, hidden_dims: Sequence[int] = (64, 64, 64), kind: CouplingKind = "affine"
) -> Transform:
    """Make one layer of a flow; it is the identity, a spline nearly so, until it learns.

    Args:
        num_bits: Size of a vector, at least 2.
        position: Number of the layer: even ones map the odd dimensions, odd ones the even.
        hidden_dims: Sizes of the hidden layers of the network that decides.
        kind: The map: affine, eq. (6), or a monotonic spline.

    Raises:
        ValueError: If `num_bits` is below 2, or there is no such kind.
    """
    if num_bits < 2:
        raise ValueError(f"A coupling layer needs at least two dimensions; got {num_bits}. Raise --model.num_bits.")
    mask = [(dimension + position) % 2 for dimension in range(num_bits)]

    def make_network(input_dim: int, output_dim: int) -> CouplingNetwork:
        return CouplingNetwork(input_dim, output_dim, hidden_dims)

    if kind == "affine":
        return AffineCoupling(mask, make_network)
    if kind == "spline":
        return PiecewiseRationalQuadraticCouplingTransform(
            mask, make_network, num_bins=_SPLINE_BINS, tails="linear", tail_bound=_SPLINE_BOUND
        )
    raise ValueError(f"kind must be {' or '.join(get_args(CouplingKind))}; got {kind!r}. Set --model.flow.kind to one.")


class AffineCoupling(AffineCouplingTransform):  # type: ignore[misc]  # nflows ships no types
    """Scale by exp(s) and shift, eq. (6), where s stays within +-2.

    nflows's own layer scales by sigmoid(u + 2) + 0.001, which hardly expands: a flow of it can't reach modes that lie
    further apart than the data. A bound keeps what expands invertible in single precision.
    """

    def _scale_and_shift(
        self, transform_params: Float[Tensor, "batch parameter"]
    ) -> tuple[Float[Tensor, "batch dimension"], Float[Tensor, "batch dimension"]]:
        shift, raw = transform_params.split(self.num_transform_features, dim=1)
        return torch.exp(_LOG_SCALE_LIMIT * torch.tanh(raw / _LOG_SCALE_LIMIT)), shift


class CouplingNetwork(nn.Module):
    """Feed-forward network with ReLU; its last layer starts at zero.

    Args:
        input_dim: Dimensions that pass unchanged.
        output_dim: Parameters of the map of the others.
        hidden_dims: Sizes of the hidden layers; the paper has three of 64.
    """

    def __init__(self, input_dim: int, output_dim: int, hidden_dims: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        size = input_dim
        for hidden_dim in hidden_dims:
            layers += [nn.Linear(size, hidden_dim), nn.ReLU()]
            size = hidden_dim
        last = nn.Linear(size, output_dim)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)
        self.hidden_features = size  # nflows scales the parameters of splines by it

    def forward(
        self, vectors: Float[Tensor, "batch dimension"], context: None = None
    ) -> Float[Tensor, "batch parameter"]:
        """Return parameters; nflows calls it with a context, which is always none."""
        parameters: Tensor = self.layers(vectors)
        return parameters
