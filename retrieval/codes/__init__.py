"""Vector -> code."""

from retrieval.codes.agh import AnchorGraphHash
from retrieval.codes.balanced_residual import BalancedResidualHash
from retrieval.codes.base import BinaryHash, BucketHash, CodebookFit, Coder, encode_in_chunks
from retrieval.codes.best_first import cheapest_combinations
from retrieval.codes.bre import BinaryReconstructiveEmbedding
from retrieval.codes.buckets import bucket_bits, bucket_codes
from retrieval.codes.cross_polytope import CrossPolytopeHash
from retrieval.codes.dsh import DensitySensitiveHash
from retrieval.codes.itq import IterativeQuantization
from retrieval.codes.klsh import KernelizedHash
from retrieval.codes.lsh import RandomHyperplaneHash
from retrieval.codes.opq import OptimizedProductQuantizer
from retrieval.codes.optimal_transport import OptimalTransportHash
from retrieval.codes.pca_median import MedianPcaSignHash
from retrieval.codes.pca_random_rotation import RotatedPcaHash
from retrieval.codes.pca_sign import PcaSignHash
from retrieval.codes.product import ProductQuantizer
from retrieval.codes.quantizer import Quantizer
from retrieval.codes.residual import ResidualQuantizer
from retrieval.codes.sinkhorn import balanced_assignment
from retrieval.codes.spectral import SpectralHash
from retrieval.codes.storage import load_coder, save_coder
from retrieval.codes.straight_through import StraightThroughProductQuantizer
from retrieval.codes.vq import VectorQuantizer
from retrieval.files.coders import CoderFileError

__all__ = [
    "AnchorGraphHash",
    "BalancedResidualHash",
    "BinaryHash",
    "BinaryReconstructiveEmbedding",
    "BucketHash",
    "CodebookFit",
    "Coder",
    "CoderFileError",
    "CrossPolytopeHash",
    "DensitySensitiveHash",
    "IterativeQuantization",
    "KernelizedHash",
    "MedianPcaSignHash",
    "OptimalTransportHash",
    "OptimizedProductQuantizer",
    "PcaSignHash",
    "ProductQuantizer",
    "Quantizer",
    "RandomHyperplaneHash",
    "ResidualQuantizer",
    "RotatedPcaHash",
    "SpectralHash",
    "StraightThroughProductQuantizer",
    "VectorQuantizer",
    "balanced_assignment",
    "bucket_bits",
    "bucket_codes",
    "cheapest_combinations",
    "encode_in_chunks",
    "load_coder",
    "save_coder",
]
