"""The contract of a code: fit on vectors, encode; quantizers, which decode too, are in `quantizer`."""

import inspect
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

# A quantizer tabulates books x words distances a vector while it encodes; so many vectors take some 30 MB.
CHUNK_VECTORS = 4096
# A tensor on the host compares with tensors anywhere, and sooner than a number does.
_ZERO = torch.zeros(())


@dataclass(frozen=True)
class CodebookFit:
    """How well codebooks fit the vectors they were fitted on.

    Attributes:
        distortion: Mean squared distance of a vector to its decoding, eq. (7) of Jati et al. (2020).
        used_fraction: Share of codewords that at least one vector is assigned to.
        perplexity: Exponential of the entropy of the codeword frequencies, mean over books; at most `num_codewords`.
        samples_per_codeword: Vectors fitted on, divided by codewords of a book.
    """

    distortion: float
    used_fraction: float
    perplexity: float
    samples_per_codeword: float


class Coder(nn.Module, ABC):
    """Map vectors to codes of `num_bits` bits.

    All that a fit finds lies in buffers of fixed shape, so that checkpoints restore it and `to` moves it; every
    constructor argument is kept under its own name, so that `retrieval.codes.save_coder` can write it. Vectors may be
    on any device; codes are on the coder's.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code.

    Raises:
        ValueError: If `dim` or `num_bits` is not positive.
    """

    _is_fitted: Tensor

    def __init__(self, dim: int, num_bits: int) -> None:
        super().__init__()
        if min(dim, num_bits) < 1:
            raise ValueError(f"A code needs at least one dimension and one bit; got {dim} and {num_bits}.")
        self.dim = dim
        self.num_bits = num_bits
        self.register_buffer("_is_fitted", torch.tensor(False))

    @property
    def is_fitted(self) -> bool:
        """Whether there is anything to encode with."""
        return bool(self._is_fitted)

    @property
    @abstractmethod
    def min_vectors(self) -> int:
        """Fewest vectors that it can be fitted on."""

    def fit(self, vectors: Float[Tensor, "item feature"]) -> CodebookFit | None:
        """Fit on vectors, without labels.

        Args:
            vectors: At least `min_vectors`.

        Returns:
            How well the codebooks fit, for a code that has codebooks.

        Raises:
            ValueError: If there are too few vectors, they have another size than `dim`, one is not finite, or they
                don't vary enough for the code.
        """
        self._check_enough(vectors)
        self._fit(vectors.detach())
        self._is_fitted.fill_(True)
        return self.describe_fit(vectors)

    def _check_enough(self, vectors: Float[Tensor, "item feature"]) -> None:
        """Refuse vectors that can't be fitted on, or are too few."""
        self.check_vectors(vectors)
        if len(vectors) < self.min_vectors:
            raise ValueError(
                f"{type(self).__name__} needs at least {self.min_vectors} vectors; got {len(vectors)}. "
                f"{self._advice_on_few}"
            )

    def describe_fit(self, vectors: Float[Tensor, "item feature"]) -> CodebookFit | None:
        """Measure how well the code fits `vectors`; None for a code without codebooks."""
        return None

    @abstractmethod
    def encode(self, vectors: Float[Tensor, "item feature"]) -> Int[Tensor, "item book"] | Bool[Tensor, "item bit"]:
        """Map vectors to codes.

        Raises:
            RuntimeError: If it is not fitted.
            ValueError: If the vectors have another size than `dim`, or one is not finite.
        """

    @abstractmethod
    def _fit(self, vectors: Float[Tensor, "item feature"]) -> None:
        """Fill the buffers; the vectors are checked."""

    @property
    def _advice_on_few(self) -> str:
        return "Fit on more vectors."

    def check_vectors(self, vectors: Float[Tensor, "item feature"]) -> None:
        """Refuse vectors that can't be coded.

        Raises:
            ValueError: If they have another size than `dim`, or one is not finite.
        """
        if vectors.shape[1] != self.dim:
            raise ValueError(f"Expected vectors of {self.dim} dimensions; got {vectors.shape[1]}.")
        # one sum tells of any NaN or infinity, sooner than a look at each; it may also overflow
        if not math.isfinite(float(vectors.detach().sum())) and not bool(torch.isfinite(vectors).all()):
            row = int((~torch.isfinite(vectors)).any(dim=1).nonzero()[0])
            raise ValueError(
                f"Expected finite vectors; row {row} has NaN or infinity. Look at its clip and the front end."
            )

    def check_is_fitted(self) -> None:
        """Refuse to encode before a fit.

        Raises:
            RuntimeError: If it is not fitted.
        """
        if not self.is_fitted:
            raise RuntimeError(
                f"{type(self).__name__} is not fitted; call fit(vectors), or load a checkpoint that has it."
            )

    def options(self) -> dict[str, int | float | str | bool | None]:
        """Return the constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}


class BinaryHash(Coder):
    """A code of independent bits, compared by Hamming distance; each bit is the side of a boundary."""

    def project(self, vectors: Float[Tensor, "item feature"]) -> Float[Tensor, "item bit"]:
        """Return the signed distance-like margin of each bit's boundary; the bit is set where it is positive.

        Raises:
            RuntimeError: If it is not fitted.
            ValueError: If the vectors have another size than `dim`, or one is not finite.
        """
        self.check_is_fitted()
        self.check_vectors(vectors)
        return self._margins(vectors)

    @abstractmethod
    def _margins(self, vectors: Float[Tensor, "item feature"]) -> Float[Tensor, "item bit"]:
        """Compute what `project` returns; vectors are checked, but may be of another precision and device."""

    def encode(self, vectors: Float[Tensor, "item feature"]) -> Bool[Tensor, "item bit"]:
        """Set the bits whose margin is positive.

        Raises:
            RuntimeError: If it is not fitted.
            ValueError: If the vectors have another size than `dim`, or one is not finite.
        """
        return self.project(vectors) > _ZERO


class BucketHash(Coder):
    """A code that names a bucket; what another bucket costs a query is no sum over the bits in which it differs.

    Codes are for buckets, not for Hamming distance.
    """

    @abstractmethod
    def encode(self, vectors: Float[Tensor, "item feature"]) -> Bool[Tensor, "item bit"]:
        """Return the number of each vector's bucket in bits, as `bucket_codes` reads them.

        Raises:
            RuntimeError: If it is not fitted.
            ValueError: If the vectors have another size than `dim`, or one is not finite.
        """

    @abstractmethod
    def probe(self, vectors: Float[Tensor, "query feature"], num_probes: int) -> Int[Tensor, "query probe"]:
        """Return the buckets that a query's neighbours are most likely in, best first; the first is its own.

        Args:
            vectors: Queries.
            num_probes: Buckets a query; at most 2^K are there.

        Returns:
            Numbers as `bucket_codes` reads them from codes.

        Raises:
            RuntimeError: If it is not fitted.
            ValueError: If the vectors have another size than `dim`, one is not finite, there is no probe, or a code has
                more than 62 bits.
        """

    @abstractmethod
    def costs(
        self, vectors: Float[Tensor, "query feature"], codes: Bool[Tensor, "item bit"]
    ) -> Float[Tensor, "query item"]:
        """Return by what `probe` orders buckets: the cost of each code to each vector; smaller is sooner.

        Raises:
            RuntimeError: If it is not fitted.
            ValueError: If the vectors have another size than `dim`, or one is not finite.
        """


@torch.no_grad()
def encode_in_chunks(coder: Coder, vectors: Float[Tensor, "item feature"]) -> Tensor:
    """Encode any number of vectors, a few thousand at a time.

    Raises:
        ValueError: If they have another size than `dim`, or one is not finite.
        RuntimeError: If the coder is not fitted.
    """
    coder.check_vectors(vectors)
    return torch.cat([coder.encode(chunk) for chunk in vectors.split(CHUNK_VECTORS)])
