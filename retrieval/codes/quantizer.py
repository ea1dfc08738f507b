"""The contract of a quantizer: a code of codewords, which can be decoded."""

from abc import abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retrieval.codes.base import CHUNK_VECTORS, CodebookFit, Coder, encode_in_chunks


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
        chunks = zip(vectors.split(CHUNK_VECTORS), codes.split(CHUNK_VECTORS), strict=True)
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
