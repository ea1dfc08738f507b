"""One law a file; smaller is better for all."""

from lightning_modules.losses.contrastive import contrastive_loss, partner_accuracy
from lightning_modules.losses.cosine_proxy import CosineProxyLoss
from lightning_modules.losses.decorrelation import covariance_loss, variance_loss
from lightning_modules.losses.elbo import ElboTerms
from lightning_modules.losses.flow_likelihood import bit_cross_entropy, flow_loss, negative_log_likelihood
from lightning_modules.losses.gaussian import gaussian_log_density, kl_from_standard_normal
from lightning_modules.losses.mean_negative_triplet import mean_negative_triplet_loss
from lightning_modules.losses.pairwise_cosine import PairwiseCosineLoss
from lightning_modules.losses.presence import presence_cross_entropy
from lightning_modules.losses.prior import GaussianMixturePrior, Prior, StandardNormalPrior
from lightning_modules.losses.projection import ContrastProjectionLoss, ProjectionLoss, TripletProjectionLoss
from lightning_modules.losses.projection_contrast import bit_agreement_loss, distance_contrast_loss, probing_loss
from lightning_modules.losses.quantization import quantization_loss
from lightning_modules.losses.similarity import SimilarityLoss
from lightning_modules.losses.supervised_contrastive import SupervisedContrastiveLoss
from lightning_modules.losses.triplet import TripletLoss

__all__ = [
    "ContrastProjectionLoss",
    "CosineProxyLoss",
    "ElboTerms",
    "GaussianMixturePrior",
    "PairwiseCosineLoss",
    "Prior",
    "ProjectionLoss",
    "SimilarityLoss",
    "StandardNormalPrior",
    "SupervisedContrastiveLoss",
    "TripletLoss",
    "TripletProjectionLoss",
    "bit_agreement_loss",
    "bit_cross_entropy",
    "contrastive_loss",
    "covariance_loss",
    "distance_contrast_loss",
    "flow_loss",
    "gaussian_log_density",
    "kl_from_standard_normal",
    "mean_negative_triplet_loss",
    "negative_log_likelihood",
    "partner_accuracy",
    "presence_cross_entropy",
    "probing_loss",
    "quantization_loss",
    "variance_loss",
]
