"""Vector quantization: one codebook of 2^B codewords, eqs. (2) to (5) of Jati and Emmanouilidou (2020)."""

from retrieval.codes.product import ProductQuantizer

MAX_BITS = 16


class VectorQuantizer(ProductQuantizer):
    """Replace a vector by the nearest of 2^`num_bits` codewords; a product quantizer with a single book.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code; at most 16, since the codebook doubles with every bit.
        num_iterations: k-means iterations.
        seed: Seed of k-means.

    Raises:
        ValueError: If `num_bits` is not between 1 and 16.
    """

    def __init__(self, dim: int, num_bits: int, num_iterations: int = 25, seed: int = 0) -> None:
        if not 1 <= num_bits <= MAX_BITS:
            raise ValueError(
                f"A codebook of 2^{num_bits} codewords is out of reach: vector quantization takes 1 to {MAX_BITS} "
                "bits. Use product quantization for more."
            )
        super().__init__(dim, num_bits, 2**num_bits, num_iterations, seed=seed)
