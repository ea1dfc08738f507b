"""Vectors of known structure, and a maker of every coder, for the tests of codes."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from retrieval.codes import (
    AnchorGraphHash,
    BalancedResidualHash,
    BinaryReconstructiveEmbedding,
    Coder,
    CrossPolytopeHash,
    DensitySensitiveHash,
    IterativeQuantization,
    KernelizedHash,
    MedianPcaSignHash,
    OptimalTransportHash,
    OptimizedProductQuantizer,
    PcaSignHash,
    ProductQuantizer,
    RandomHyperplaneHash,
    ResidualQuantizer,
    RotatedPcaHash,
    SpectralHash,
    StraightThroughProductQuantizer,
    VectorQuantizer,
)
from tests.draws import draw_double as draw

AnyCoder = TypeVar("AnyCoder", bound=Coder)

# Name -> maker of (dim, num_bits, seed), with options off their defaults so that a lost one shows.
CODERS: dict[str, Callable[[int, int, int], Coder]] = {
    "lsh": lambda dim, bits, seed: RandomHyperplaneHash(dim, bits, seed=seed),
    "lsh_origin": lambda dim, bits, seed: RandomHyperplaneHash(dim, bits, center=False, seed=seed),
    "pca_sign": lambda dim, bits, _: PcaSignHash(dim, bits),
    "pca_median": lambda dim, bits, _: MedianPcaSignHash(dim, bits),
    "rotated_pca": lambda dim, bits, seed: RotatedPcaHash(dim, bits, seed),
    "itq": lambda dim, bits, seed: IterativeQuantization(dim, bits, 12, seed=seed),
    "itq_faiss": lambda dim, bits, seed: IterativeQuantization(dim, bits, 12, solver="faiss", seed=seed),
    "spectral": lambda dim, bits, _: SpectralHash(dim, bits),
    "agh": lambda dim, bits, seed: AnchorGraphHash(dim, bits, 40, 3, 1, 7, seed),
    "agh_two_layers": lambda dim, bits, seed: AnchorGraphHash(dim, bits, 40, 3, 2, 7, seed),
    "klsh": lambda dim, bits, seed: KernelizedHash(dim, bits, 40, 8, 6, seed),
    "bre": lambda dim, bits, seed: BinaryReconstructiveEmbedding(dim, bits, 100, 10, 3, seed),
    "dsh": lambda dim, bits, seed: DensitySensitiveHash(dim, bits, 2.0, 4, 2, seed),
    "optimal_transport": lambda dim, bits, seed: OptimalTransportHash(
        dim, min(bits, 10), 16, 20, 100, 1e-2, 0.2, 0.1, 2, seed
    ),
    "cross_polytope": lambda dim, bits, seed: CrossPolytopeHash(dim, bits, seed=seed),
    "cross_polytope_origin": lambda dim, bits, seed: CrossPolytopeHash(dim, bits, 4, False, seed),
    "balanced_residual": lambda dim, bits, seed: BalancedResidualHash(dim, bits, max(4, bits // 3), 8, 3, seed),
    "pq": lambda dim, bits, seed: ProductQuantizer(dim, bits, 16, 8, 3, seed),
    "opq": lambda dim, bits, seed: OptimizedProductQuantizer(dim, bits, 16, 3, 8, 2, seed),
    "vq": lambda dim, bits, seed: VectorQuantizer(dim, min(bits, 5), 8, seed),
    "rq": lambda dim, bits, seed: ResidualQuantizer(dim, bits, 16, 3, 8, seed),
    "straight_through": lambda dim, bits, seed: StraightThroughProductQuantizer(dim, bits, 16, 8, 3, seed, 0.3),
}
# One bit a principal direction.
PCA_CODERS = ["pca_sign", "pca_median", "rotated_pca", "itq", "itq_faiss"]
POLYTOPES = ["cross_polytope", "cross_polytope_origin"]
# Bits without margins.
BUCKET_HASHES = [*POLYTOPES, "balanced_residual"]
# Of the vectors they need the mean at most.
RANDOM_CODERS = ["lsh", "lsh_origin", *POLYTOPES]
QUANTIZERS = ["pq", "opq", "vq", "rq", "straight_through"]
WITHOUT_SEED = ["pca_sign", "pca_median", "spectral"]


def make(name: str, dim: int = 8, num_bits: int = 8, seed: int = 0) -> Coder:
    return CODERS[name](dim, num_bits, seed)


def fitted_on(vectors: Tensor, coder: AnyCoder) -> AnyCoder:
    """Return the coder, fitted, in the precision of the vectors."""
    coder.to(vectors.dtype).fit(vectors)
    return coder


def fitted(name: str, num_items: int = 300, dim: int = 8, num_bits: int = 8, seed: int = 0) -> Coder:
    """A float64 coder, fitted on `draw(num_items, dim)`."""
    return fitted_on(draw(num_items, dim), make(name, dim, num_bits, seed))


def rotation(size: int, seed: int = 0) -> Tensor:
    """An orthonormal matrix."""
    orthonormal: Tensor = torch.linalg.qr(draw(size, size, seed=seed)).Q
    return orthonormal


def clusters(num_clusters: int, num_each: int, dim: int, spread: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Gaussian clusters around Gaussian centres, and each vector's cluster."""
    labels = torch.arange(num_clusters).repeat(num_each)
    noise = spread * draw(len(labels), dim, seed=seed + 1)
    return draw(num_clusters, dim, seed=seed)[labels] + noise, labels
