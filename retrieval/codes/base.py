"""The contract of a code: fit on vectors, encode, decode where it makes sense."""

import inspect
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

# A quantizer tabulates books x words distances a vector while it encodes; so many vectors take some 30 MB.
_CHUNK_VECTORS = 4096
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


class Quantizer(Coder):
    """A code that names one codeword in each of `num_books` codebooks; it can be decoded.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code, B = M log2 K*.
        num_codewords: Codewords a book, K*; a power of two.

    Raises:
        ValueError: If `num_codewords` is not a power of two, or `num_bits` not a multiple of its logarithm.
    """

    codebooks: Tensor

    def __init__(self, dim: int, num_bits: int, num_codewords: int) -> None:
        super().__init__(dim, num_bits)
        if num_codewords < 2 or num_codewords & (num_codewords - 1):
            raise ValueError(f"num_codewords must be a power of two; got {num_codewords}. Try 64 or 256.")
        self.num_codewords = num_codewords
        if num_bits % self.bits_per_book:
            near = max(1, round(num_bits / self.bits_per_book)) * self.bits_per_book
            raise ValueError(
                f"num_bits must be a multiple of log2 num_codewords; got {num_bits} bits with {self.bits_per_book} "
                f"bits a book. Try {near} bits."
            )
        self.num_books = num_bits // self.bits_per_book

    @property
    def bits_per_book(self) -> int:
        """Bits that name a codeword, log2 K*."""
        return self.num_codewords.bit_length() - 1

    @property
    def min_vectors(self) -> int:
        """One vector a codeword."""
        return self.num_codewords

    @property
    def _advice_on_few(self) -> str:
        return f"Use fewer codewords than {self.num_codewords}, or fit on more vectors."

    def fit(self, vectors: Float[Tensor, "item feature"]) -> CodebookFit:
        """Fit the codebooks.

        Raises:
            ValueError: If there are fewer vectors than codewords, they have another size than `dim`, or one is not
                finite.
        """
        found = super().fit(vectors)
        assert found is not None  # a code with codebooks describes its fit
        return found

    @abstractmethod
    def encode(self, vectors: Float[Tensor, "item feature"]) -> Int[Tensor, "item book"]:
        """Return the position of a codeword in each book."""

    @abstractmethod
    def decode(self, codes: Int[Tensor, "item book"]) -> Float[Tensor, "item feature"]:
        """Return the vectors that codes stand for."""

    @abstractmethod
    def lookup_distances(self, queries: Float[Tensor, "query feature"]) -> Float[Tensor, "query book word"]:
        """Tabulate each codeword's part in the squared distance of a query to a decoded code.

        The sum of one entry a book and the code's `offsets` is ||q - decode(code)||^2.

        Raises:
            RuntimeError: If the codebooks are not fitted.
        """

    def offsets(self, codes: Int[Tensor, "item book"]) -> Float[Tensor, " item"]:
        """Return the part of the squared distance that depends on the whole code; zero where books are orthogonal."""
        return self.codebooks.new_zeros(len(codes))

    @torch.no_grad()
    def describe_fit(self, vectors: Float[Tensor, "item feature"]) -> CodebookFit:
        """Measure distortion and codeword usage on `vectors`.

        Raises:
            RuntimeError: If the codebooks are not fitted.
        """
        vectors = vectors.detach().to(self.codebooks)
        codes = encode_in_chunks(self, vectors)
        chunks = zip(vectors.split(_CHUNK_VECTORS), codes.split(_CHUNK_VECTORS), strict=True)
        errors = torch.cat([(chunk - self.decode(words)).square().sum(dim=1) for chunk, words in chunks])
        counts = torch.stack([torch.bincount(book, minlength=self.num_codewords) for book in codes.T]).double()
        frequency = counts / counts.sum(dim=1, keepdim=True)
        entropy = torch.special.entr(frequency).sum(dim=1)
        return CodebookFit(
            distortion=float(errors.mean()),
            used_fraction=float((counts > 0).double().mean()),
            perplexity=float(entropy.exp().mean()),
            samples_per_codeword=len(vectors) / self.num_codewords,
        )


@torch.no_grad()
def encode_in_chunks(coder: Coder, vectors: Float[Tensor, "item feature"]) -> Tensor:
    """Encode any number of vectors, a few thousand at a time.

    Raises:
        ValueError: If they have another size than `dim`, or one is not finite.
        RuntimeError: If the coder is not fitted.
    """
    coder.check_vectors(vectors)
    return torch.cat([coder.encode(chunk) for chunk in vectors.split(_CHUNK_VECTORS)])
