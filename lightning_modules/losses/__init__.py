"""One law a file; smaller is better for all."""

from lightning_modules.losses.cosine_proxy import CosineProxyLoss
from lightning_modules.losses.elbo import ElboTerms
from lightning_modules.losses.gaussian import gaussian_log_density, kl_from_standard_normal
from lightning_modules.losses.pairwise_cosine import PairwiseCosineLoss
from lightning_modules.losses.presence import presence_cross_entropy
from lightning_modules.losses.prior import GaussianMixturePrior, Prior, StandardNormalPrior
from lightning_modules.losses.quantization import quantization_loss
from lightning_modules.losses.similarity import SimilarityLoss
from lightning_modules.losses.supervised_contrastive import SupervisedContrastiveLoss
from lightning_modules.losses.triplet import TripletLoss

__all__ = [
    "CosineProxyLoss",
    "ElboTerms",
    "GaussianMixturePrior",
    "PairwiseCosineLoss",
    "Prior",
    "SimilarityLoss",
    "StandardNormalPrior",
    "SupervisedContrastiveLoss",
    "TripletLoss",
    "gaussian_log_density",
    "kl_from_standard_normal",
    "presence_cross_entropy",
    "quantization_loss",
]
