"""Iterative quantization (Gong, Lazebnik, Gordo and Perronnin, 2013)."""

from typing import Literal

import faiss
import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float
from torch import Tensor

from retrieval.codes.linear import principal_directions_exactly, to_host
from retrieval.codes.pca_random_rotation import random_rotation
from retrieval.codes.pca_sign import PcaSignHash


class IterativeQuantization(PcaSignHash):
    """Rotate the principal components V so that their signs lose least.

    The objective is ||B - V R||^2 over B in {-1, 1} and orthogonal R, eq. (2). B = sign(V R) and the orthogonal
    Procrustes solution for R alternate; neither step raises the objective.

    faiss's own `ITQMatrix` (1.15) does not descend: its objective goes up and down between alternations and ends above
    this one's. `solver` chooses it for comparison with numbers measured by it.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code; at most `dim`.
        num_iterations: Alternations.
        solver: `procrustes` is the paper's; `faiss` takes faiss's rotation as it comes.
        seed: Seed of the first rotation.

    Raises:
        ValueError: If `num_bits` exceeds `dim`, or `num_iterations` is negative.
    """

    def __init__(
        self,
        dim: int,
        num_bits: int,
        num_iterations: int = 50,
        solver: Literal["procrustes", "faiss"] = "procrustes",
        seed: int = 0,
    ) -> None:
        super().__init__(dim, num_bits)
        if num_iterations < 0:
            raise ValueError(f"num_iterations can't be negative; got {num_iterations}. The paper's is 50.")
        if solver not in ("procrustes", "faiss"):
            raise ValueError(f"solver must be procrustes or faiss; got {solver!r}.")
        self.num_iterations = num_iterations
        self.solver = solver
        self.seed = seed

    def quantization_error(self, vectors: Float[Tensor, "item feature"]) -> float:
        """Return the mean over items of ||B - V R||^2, the objective of eq. (2)."""
        margins = self.project(vectors).double()
        signs = torch.where(margins > 0, 1.0, -1.0)
        return float((signs - margins).square().sum(dim=1).mean())

    def _fit(self, vectors: Float[Tensor, "item feature"]) -> None:
        host = to_host(vectors)
        found = principal_directions_exactly(host, self.num_bits)
        components = (host - found.mean) @ found.directions
        rotate = self._rotation if self.solver == "procrustes" else self._faiss_rotation
        weight = found.directions @ rotate(components)
        self._set_hyperplanes(weight, found.mean @ weight)

    def _rotation(self, components: np.ndarray) -> np.ndarray:
        rotation = random_rotation(self.num_bits, self.seed)
        for _ in range(self.num_iterations):
            signs = np.where(components @ rotation > 0, 1.0, -1.0)
            rotation = scipy.linalg.orthogonal_procrustes(components, signs)[0]
        return rotation

    def _faiss_rotation(self, components: np.ndarray) -> np.ndarray:
        matrix = faiss.ITQMatrix(self.num_bits)
        matrix.max_iter = self.num_iterations
        matrix.seed = self.seed + 123  # 123 is faiss's own
        matrix.train(components.astype(np.float32))
        return faiss.vector_to_array(matrix.A).reshape(self.num_bits, self.num_bits).T.astype(np.float64)
