"""Kernelized locality-sensitive hashing (Kulis and Grauman, 2009)."""

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor

from retrieval.codes.base import BinaryHash
from retrieval.codes.kmeans import kmeans_centroids
from retrieval.codes.linear import to_host

# Eigenvalues of the landmark kernel below this share of the largest are numerical noise.
_RELATIVE_EIGENVALUE_FLOOR = 1e-8


class KernelizedHash(BinaryHash):
    """Random hyperplanes in the feature space of a Gaussian kernel.

    A hyperplane is made approximately Gaussian by the central limit theorem: the mean of `num_summed` random landmarks,
    whitened by the landmarks' covariance. Its weights on the landmarks are w = K^-1/2 e_S with K the centred kernel and
    e_S marking the chosen landmarks (section 4); the bit is sign(sum_i w_i k(x, x_i)), k centred like K.

    The kernel is exp(-d^2 / (2 sigma^2)) with sigma the mean distance between landmarks.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code; may exceed `dim`.
        num_landmarks: k-means centroids p, 300 in the paper.
        num_summed: Landmarks a hyperplane, t; fewer than all, whose mean is the centred kernel's zero.
        num_iterations: k-means iterations.
        seed: Seed of k-means and of the choice of landmarks.

    Raises:
        ValueError: If `num_summed` is not positive and below `num_landmarks`, or there are no iterations.
    """

    landmarks: Tensor
    bandwidth: Tensor
    landmark_means: Tensor
    weight: Tensor

    def __init__(
        self,
        dim: int,
        num_bits: int,
        num_landmarks: int = 300,
        num_summed: int = 30,
        num_iterations: int = 5,
        seed: int = 0,
    ) -> None:
        super().__init__(dim, num_bits)
        if not 1 <= num_summed < num_landmarks or num_iterations < 1:
            raise ValueError(
                f"Expected at least one landmark a bit, but not all of them, and some iterations; got {num_summed} of "
                f"{num_landmarks} and {num_iterations}."
            )
        self.num_landmarks = num_landmarks
        self.num_summed = num_summed
        self.num_iterations = num_iterations
        self.seed = seed
        self.register_buffer("landmarks", torch.zeros(num_landmarks, dim))
        self.register_buffer("bandwidth", torch.ones(()))
        self.register_buffer("landmark_means", torch.zeros(num_landmarks))
        self.register_buffer("weight", torch.zeros(num_landmarks, num_bits))

    @property
    def min_vectors(self) -> int:
        """One a landmark."""
        return self.num_landmarks

    @property
    def _advice_on_few(self) -> str:
        return f"Use fewer landmarks than {self.num_landmarks}, or fit on more vectors."

    def _margins(self, vectors: Float[Tensor, "item feature"]) -> Float[Tensor, "item bit"]:
        """Return the side of each hyperplane in the kernel's space."""
        kernel = self._kernel(vectors.to(self.landmarks))
        centred = kernel - kernel.mean(dim=1, keepdim=True) - self.landmark_means + self.landmark_means.mean()
        return centred @ self.weight

    def _kernel(self, vectors: Float[Tensor, "item feature"]) -> Float[Tensor, "item landmark"]:
        return torch.exp(-0.5 * (torch.cdist(vectors, self.landmarks) / self.bandwidth).square())

    def _fit(self, vectors: Float[Tensor, "item feature"]) -> None:
        centroids = kmeans_centroids(to_host(vectors), self.num_landmarks, self.num_iterations, self.seed)
        landmarks = torch.from_numpy(centroids).to(self.landmarks)
        bandwidth = torch.nn.functional.pdist(landmarks).mean()
        if float(bandwidth) == 0:
            raise ValueError(
                f"Expected at least {self.num_landmarks} different vectors; found fewer. Use fewer landmarks."
            )
        self.landmarks.copy_(landmarks)
        self.bandwidth.copy_(bandwidth)
        kernel = to_host(self._kernel(self.landmarks))
        means = kernel.mean(axis=0)
        self.landmark_means.copy_(torch.from_numpy(means))
        values, basis = scipy.linalg.eigh(kernel - means - means[:, None] + means.mean())
        kept = values > _RELATIVE_EIGENVALUE_FLOOR * values[-1]
        inverse_root = basis[:, kept] / np.sqrt(values[kept]) @ basis[:, kept].T
        generator = np.random.default_rng(self.seed)
        summed = np.stack(
            [generator.permutation(self.num_landmarks) < self.num_summed for _ in range(self.num_bits)], axis=1
        )
        self.weight.copy_(torch.from_numpy(inverse_root @ summed.astype(float)))
