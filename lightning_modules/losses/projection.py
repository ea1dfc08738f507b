"""Losses that train a projection to R^K on pairs: the paper's, and what replaces it."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lightning_modules.losses.decorrelation import covariance_loss, variance_loss
from lightning_modules.losses.mean_negative_triplet import mean_negative_triplet_loss
from lightning_modules.losses.projection_contrast import bit_agreement_loss, distance_contrast_loss, probing_loss


class ProjectionLoss(nn.Module, ABC):
    """Compare projections of clean fingerprints with those of their distorted counterparts."""

    @abstractmethod
    def forward(self, projection: Float[Tensor, "pair bit"], other: Float[Tensor, "pair bit"]) -> Float[Tensor, ""]:
        """Return the loss of a batch of at least two pairs.

        Args:
            projection: Of clean fingerprints.
            other: Of distorted ones, position by position.
        """


class TripletProjectionLoss(ProjectionLoss):
    """The mean-negative triplet loss, eq. (2) of FlowHash (2024)."""

    def forward(self, projection: Float[Tensor, "pair bit"], other: Float[Tensor, "pair bit"]) -> Float[Tensor, ""]:
        """Return the loss, which is soon zero: a partner is nearer than the mean of the others."""
        return mean_negative_triplet_loss(projection, other)


class ContrastProjectionLoss(ProjectionLoss):
    """Contrast by squared distance or by probing order, agreement, and terms that keep dimensions apart.

    Args:
        distance_weight: Of `distance_contrast_loss`; its temperature is learned.
        probing_weight: Of `probing_loss`; the scale of its scores is learned.
        agreement_weight: Of `bit_agreement_loss`.
        variance_weight: Of `variance_loss`, not needed where projections are standardised.
        covariance_weight: Of `covariance_loss` on tanh(slope z), what bits will be.
        slope: How soon a coordinate counts as a sure bit.

    Raises:
        ValueError: If a weight is negative or nothing pulls pairs together.
    """

    def __init__(
        self,
        distance_weight: float = 0.0,
        probing_weight: float = 1.0,
        agreement_weight: float = 0.0,
        variance_weight: float = 0.0,
        covariance_weight: float = 0.0,
        slope: float = 2.0,
    ) -> None:
        super().__init__()
        pulling = (distance_weight, probing_weight, agreement_weight)
        if min(*pulling, variance_weight, covariance_weight) < 0 or max(pulling) == 0 or slope <= 0:
            raise ValueError(
                "Expected a positive slope and weights of at least 0, one of distance_weight, probing_weight and "
                f"agreement_weight above; got {slope}, {pulling}, {variance_weight} and {covariance_weight}."
            )
        self.distance_weight = distance_weight
        self.probing_weight = probing_weight
        self.agreement_weight = agreement_weight
        self.variance_weight = variance_weight
        self.covariance_weight = covariance_weight
        self.slope = slope
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, projection: Float[Tensor, "pair bit"], other: Float[Tensor, "pair bit"]) -> Float[Tensor, ""]:
        """Return the weighted sum."""
        loss, scale = projection.new_zeros(()), self.log_scale.exp()
        if self.distance_weight:
            loss = loss + self.distance_weight * distance_contrast_loss(projection, other, 1 / scale)
        if self.probing_weight:
            loss = loss + self.probing_weight * probing_loss(projection, other, scale, self.slope)
        if self.agreement_weight:
            loss = loss + self.agreement_weight * bit_agreement_loss(projection, other, self.slope)
        both = torch.cat([projection, other])
        if self.variance_weight:
            loss = loss + self.variance_weight * variance_loss(both)
        if self.covariance_weight:
            loss = loss + self.covariance_weight * covariance_loss(torch.tanh(self.slope * both))
        return loss
