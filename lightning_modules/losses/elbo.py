"""The evidence lower bound of a VAE, in its two parts, and what training makes of them."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class ElboTerms:
    """Both parts of the bound, for each item of a batch, in nats.

    Attributes:
        log_likelihood: log p(x | z) of one sample z of the posterior: minus the reconstruction error.
        divergence: Terms of KL(q(z | x) || p(z)); an item's divergence is their sum.
        latent_dim: Size of z.
    """

    log_likelihood: Float[Tensor, " batch"]
    divergence: Float[Tensor, "batch term"]
    latent_dim: int

    @property
    def negative_elbo(self) -> Float[Tensor, " batch"]:
        """KL - log p(x | z), minus eq. (2.24) of Pedersen (2024): an upper bound on -log p(x), in expectation."""
        return self.divergence.sum(dim=1) - self.log_likelihood

    def training_loss(self, beta: float, free_bits: float = 0.0) -> Float[Tensor, ""]:
        """Mean over the batch of the negative bound with its divergence weighted, eq. (3.3).

        Args:
            beta: Weight of the divergence.
            free_bits: Nats a latent dimension may carry without cost: the divergence counts from there on, as a mean
                over the batch (Kingma et al., Improved variational inference with inverse autoregressive flow, 2016).
                A divergence of one term has the allowance of all its dimensions together.
        """
        divergence = self.divergence.mean(dim=0)
        if free_bits:
            divergence = divergence.clamp(min=free_bits * self.latent_dim / len(divergence))
        return beta * divergence.sum() - self.log_likelihood.mean()
