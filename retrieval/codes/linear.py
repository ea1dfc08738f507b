"""What hashes by hyperplanes share, and the principal directions that several of them start from."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from sklearn.decomposition import PCA
from torch import Tensor

from retrieval.codes.base import BinaryHash
from retrieval.codes.kmeans import ONE_VECTOR_MANY_TIMES

# Directions whose deviation is below this share of the largest are numerical noise.
_RELATIVE_DEVIATION_FLOOR = 1e-6
# Vectors that lie closer to their mean than this share of its largest coordinate are one vector, rounded.
_RELATIVE_SPREAD_FLOOR = 1e-12


class LinearHash(BinaryHash):
    """A bit is the side of a hyperplane: it is set where x.w > t.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code.
    """

    weight: Tensor
    threshold: Tensor

    def __init__(self, dim: int, num_bits: int) -> None:
        super().__init__(dim, num_bits)
        self.register_buffer("weight", torch.zeros(dim, num_bits))
        self.register_buffer("threshold", torch.zeros(num_bits))

    @property
    def min_vectors(self) -> int:
        """Two, so that they can differ."""
        return 2

    def _margins(self, vectors: Float[Tensor, "item feature"]) -> Float[Tensor, "item bit"]:
        """Return x.w - t."""
        weight = self.weight  # looked up once: a module finds a buffer slowly, which a search for one query feels
        return vectors.to(weight) @ weight - self.threshold

    def _set_hyperplanes(self, weight: np.ndarray, threshold: np.ndarray) -> None:
        """Take hyperplanes, [feature, bit] and [bit]."""
        self.weight.copy_(torch.from_numpy(weight))
        self.threshold.copy_(torch.from_numpy(threshold))


@dataclass(frozen=True)
class PrincipalDirections:
    """Directions of largest variance.

    Attributes:
        mean: Mean of the vectors, [feature].
        directions: Orthonormal columns, largest variance first, [feature, direction].
    """

    mean: np.ndarray
    directions: np.ndarray


def to_host(vectors: Float[Tensor, "item feature"]) -> np.ndarray:
    """Return vectors as float64 on the host, where numpy, scipy and scikit-learn work."""
    return np.asarray(vectors.detach().double().cpu().numpy())


def check_vary(mean: np.ndarray, largest_deviation: float) -> None:
    """Refuse a sample of one vector many times.

    Args:
        mean: Mean of the vectors, [feature].
        largest_deviation: How far off it a vector, or one of its coordinates, lies at most.

    Raises:
        ValueError: If they don't lie off it but for the rounding of the mean.
    """
    if largest_deviation <= _RELATIVE_SPREAD_FLOOR * np.abs(mean).max():
        raise ValueError(ONE_VECTOR_MANY_TIMES)


def principal_directions(vectors: np.ndarray, num_directions: int) -> PrincipalDirections:
    """Find up to `num_directions` directions; fewer where the vectors vary in fewer.

    Args:
        vectors: [item, feature].
        num_directions: At most the dimension.

    Raises:
        ValueError: If the vectors don't vary at all.
    """
    num_directions = min(num_directions, *vectors.shape)
    # the solver subtracts the mean's square from the covariance, which a large mean would drown
    mean = vectors.mean(axis=0)
    centred = vectors - mean
    check_vary(mean, float(np.abs(centred).max()))
    pca = PCA(num_directions, svd_solver="covariance_eigh").fit(centred)
    deviation = np.sqrt(np.maximum(pca.explained_variance_, 0))
    num_kept = int((deviation > _RELATIVE_DEVIATION_FLOOR * deviation[0]).sum())
    return PrincipalDirections(mean, pca.components_[:num_kept].T)


def principal_directions_exactly(vectors: np.ndarray, num_directions: int) -> PrincipalDirections:
    """Find `num_directions` directions.

    Raises:
        ValueError: If the vectors vary in fewer.
    """
    found = principal_directions(vectors, num_directions)
    if found.directions.shape[1] < num_directions:
        raise ValueError(
            f"Expected vectors that vary in at least {num_directions} directions, one a bit; these vary in "
            f"{found.directions.shape[1]}. Use at most that many bits, or fit on more vectors."
        )
    return found


def check_bits_fit_dim(dim: int, num_bits: int) -> None:
    """Refuse more bits than there are orthogonal directions.

    Raises:
        ValueError: If `num_bits` exceeds `dim`.
    """
    if num_bits > dim:
        raise ValueError(
            f"A bit a principal direction: num_bits can't exceed dim; got {num_bits} bits for {dim} dimensions. Use at "
            f"most {dim} bits, or LSH or SH, which have no such limit."
        )
