"""Product quantization whose codebooks learn by gradient, through a soft-to-hard assignment."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from retrieval.codes.product import ProductQuantizer


class StraightThroughProductQuantizer(ProductQuantizer):
    """A product quantizer with trainable codebooks.

    Forward, a slice is replaced by its nearest codeword; backward, its gradient is that of the softmax mixture of
    codewords, weighted by exp(-distance / temperature) (soft-to-hard, Agustsson et al., 2017; straight-through,
    Bengio et al., 2013). k-means gives the starting codebooks, gradients the rest.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code, B = M log2 K*.
        num_codewords: Codewords a book, K*; a power of two.
        num_iterations: k-means iterations of the first fit.
        num_refit_iterations: k-means iterations of a further fit, should one be asked for.
        seed: Seed of k-means' first centroids.
        temperature: Squared distance over which an assignment softens, in the units of the vectors.
    """

    def __init__(
        self,
        dim: int,
        num_bits: int,
        num_codewords: int = 256,
        num_iterations: int = 25,
        num_refit_iterations: int = 5,
        seed: int = 0,
        temperature: float = 0.1,
    ) -> None:
        super().__init__(dim, num_bits, num_codewords, num_iterations, num_refit_iterations, seed)
        self.temperature = temperature

    def _register_codebooks(self, codebooks: Float[Tensor, "book word sub"]) -> None:
        self.codebooks = nn.Parameter(codebooks)

    def quantize(self, vectors: Float[Tensor, "item feature"]) -> Float[Tensor, "item feature"]:
        """Decode the nearest codewords, with gradients through the soft assignment.

        Vectors get the gradient of the soft mixture; a codeword gets that of the slices assigned to it, and through
        the softmax that of the others.

        Raises:
            RuntimeError: If the codebooks are not fitted.
        """
        distances = self.lookup_distances(vectors)
        soft = torch.softmax(-distances / self.temperature, dim=2)
        hard = torch.nn.functional.one_hot(distances.argmin(dim=2), self.num_codewords).to(soft)
        assignment = hard + soft - soft.detach()
        return self._concatenate(torch.einsum("qbw,bws->qbs", assignment, self.codebooks))
