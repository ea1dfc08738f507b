"""Normalizing flow from projections to vectors whose signs are a balanced code.

FlowHash (2024), section 3.2: RealNVP in the direction y -> z, which is f^-1 of eq. (4).
"""

from collections.abc import Sequence

from jaxtyping import Float
from nflows.transforms import CompositeTransform
from torch import Tensor, nn

from lightning_modules.networks.bimodal import BimodalGaussian
from lightning_modules.networks.coupling import CouplingKind, make_coupling


class BalancedFlow(nn.Module):
    """Coupling layers over the product of bimodal Gaussians.

    Args:
        num_bits: Size of projections and of what they become, K, at least 2.
        num_couplings: Layers; appendix A.3.1 has 10.
        hidden_dims: Hidden layers of the network in each layer; appendix A.3.1 has three of 64.
        kind: `affine` layers, as in the paper, or monotonic `spline`s.

    Raises:
        ValueError: If `num_bits` or `num_couplings` is below 2, or there is no such kind.
    """

    def __init__(
        self,
        num_bits: int,
        num_couplings: int = 10,
        hidden_dims: Sequence[int] = (64, 64, 64),
        kind: CouplingKind = "affine",
    ) -> None:
        super().__init__()
        if num_couplings < 2:
            raise ValueError(
                f"num_couplings must be at least 2, or half the dimensions are left as they are; got {num_couplings}."
            )
        self.base = BimodalGaussian(num_bits)
        self.couplings = CompositeTransform(
            [make_coupling(num_bits, position, hidden_dims, kind) for position in range(num_couplings)]
        )

    def forward(
        self, projections: Float[Tensor, "batch bit"]
    ) -> tuple[Float[Tensor, "batch bit"], Float[Tensor, " batch"]]:
        """Map projections to z.

        Returns:
            z, and log |det dz/dy| for each: the last term of eq. (4).
        """
        z, log_determinant = self.couplings(projections)
        return z, log_determinant

    def inverse(self, z: Float[Tensor, "batch bit"]) -> Float[Tensor, "batch bit"]:
        """Map z back to projections: f of eq. (4)."""
        projections: Tensor = self.couplings.inverse(z)[0]
        return projections

    def log_prob(self, projections: Float[Tensor, "batch bit"]) -> Float[Tensor, " batch"]:
        """Return log p(y) in nats, eq. (4)."""
        z, log_determinant = self(projections)
        log_prob: Tensor = self.base.log_prob(z) + log_determinant
        return log_prob

    def sample(self, num_samples: int) -> Float[Tensor, "batch bit"]:
        """Draw projections from the flow, with torch's own random state."""
        return self.inverse(self.base.sample(num_samples))
