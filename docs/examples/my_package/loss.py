"""A loss of one's own: a hinge on the cosine of each pair."""

from jaxtyping import Float, Int
from torch import Tensor

from lightning_modules.losses import SimilarityLoss
from lightning_modules.losses.similarity import cosine_matrix, off_diagonal, same_class


class CosineHingeLoss(SimilarityLoss):
    """Want a cosine of at least `alike` within a class, and of at most `apart` between classes.

    Args:
        alike: Cosine above which a pair of one class costs nothing.
        apart: Cosine below which a pair of two classes costs nothing.
    """

    def __init__(self, alike: float = 0.9, apart: float = 0.1) -> None:
        super().__init__()
        self.alike = alike
        self.apart = apart

    def forward(self, embeddings: Float[Tensor, "batch feature"], labels: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Return the mean over the kinds of pair of the mean over pairs; zero for a batch of one."""
        cosine = cosine_matrix(embeddings)
        alike, pairs = same_class(labels), off_diagonal(len(labels), labels.device)
        within = ((self.alike - cosine).clamp(min=0) * (pairs & alike)).sum() / (pairs & alike).sum().clamp(min=1)
        between = ((cosine - self.apart).clamp(min=0) * ~alike).sum() / (~alike).sum().clamp(min=1)
        return (within + between) / 2
