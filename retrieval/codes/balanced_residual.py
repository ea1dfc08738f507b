"""Balanced buckets from few codewords: residual quantization whose buckets have prices.

A vector's bucket is the sum of one codeword of each book that it is nearest to (residual quantization, Chen, Guan and
Wang, 2010). Buckets of many items get a price that is added to their distance, until all hold about as many: the prices
are the dual variables of the transport of the items to the buckets in equal shares (Aurenhammer, Hoffmann and Aronov,
Minkowski-type theorems and least-squares clustering, 1998).

Signs of K projections, however learned, cut noisy vectors apart at K boundaries. Among balanced bits half-spaces are
those that noise flips least if vectors are Gaussian (Borell, 1975), so that learning gains little over PCA. Cells
around 2^K points cut noisy vectors apart more seldom, and sums of codewords name them for the cost of a few codewords.
"""

from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retrieval.codes.base import BucketHash
from retrieval.codes.buckets import bucket_bits, bucket_codes
from retrieval.codes.kmeans import kmeans_centroids
from retrieval.codes.least import least_costs
from retrieval.codes.linear import to_host

MAX_BITS = 24
_MAX_BOOKS = 3
_PRICED_BOOKS = 2
# Sums of the books before that a book is searched for, at least; all of them up to 12 bits.
_BEAM = 64
# Costs at once, which stay in a core's cache.
_CHUNK_COSTS = 2**18
# Of the mean squared residual: a price rises by so much where a bucket holds e times its share, in the first round.
_PRICE_STEP = 0.05
_MAX_LOG_RATIO = 2.0


class BalancedResidualHash(BucketHash):
    """Put vectors into the 2^K buckets of two or three books of codewords, equally many in each.

    With codewords c, and the price p of a bucket, the cost of a bucket to a vector x is
    ||x - c_1 - c_2 (- c_3)||^2 + p; its bucket is the cheapest, a query visits them in the order of cost. By default
    there is one book up to 8 bits, two up to 16, beyond three, of which the first two have the prices. A vector is
    multiplied by every codeword, 2 * 2^(K/2) with two books; each book is searched for the best sums of those before it
    (a beam of 64, or as many as there are probes): up to 12 bits that is every bucket.

    Args:
        dim: Size of the vectors.
        num_bits: Length of a code, K; at most 24.
        max_book_bits: Bits of a book at most. Fewer, larger books cut noisy vectors apart more seldom; a vector is
            multiplied by all their codewords.
        num_iterations: k-means iterations of a book.
        num_rounds: Times that prices are changed; 0 leaves buckets as full as they come.
        seed: Seed of k-means.

    Raises:
        ValueError: If `num_bits` exceeds 24 or three books, `num_iterations` is not positive or `num_rounds` negative.
    """

    offset: Tensor

    def __init__(
        self,
        dim: int,
        num_bits: int,
        max_book_bits: int = 8,
        num_iterations: int = 15,
        num_rounds: int = 12,
        seed: int = 0,
    ) -> None:
        super().__init__(dim, num_bits)
        if not num_bits <= min(MAX_BITS, _MAX_BOOKS * max_book_bits) or min(num_iterations, num_rounds + 1) < 1:
            raise ValueError(
                f"Expected at most {MAX_BITS} bits in {_MAX_BOOKS} books, num_iterations above 0 and num_rounds of at "
                f"least 0; got {num_bits} bits, {max_book_bits} a book, {num_iterations} and {num_rounds}."
            )
        self.max_book_bits = max_book_bits
        self.num_iterations = num_iterations
        self.num_rounds = num_rounds
        self.seed = seed
        num_books = -(-num_bits // max_book_bits)
        self._book_bits = [(num_bits + book) // num_books for book in range(num_books)][::-1]
        for book, bits in enumerate(self._book_bits):
            self.register_buffer(f"codebook_{book}", torch.zeros(1 << bits, dim))
        # ||c_1 + c_2||^2 + p of each bucket of the first two books, the first book's word running fastest
        self.register_buffer("offset", torch.zeros(1 << sum(self._book_bits[:_PRICED_BOOKS])))

    @property
    def min_vectors(self) -> int:
        """As many as the largest book has codewords."""
        return 1 << max(self._book_bits)

    def encode(self, vectors: Float[Tensor, "item feature"]) -> Bool[Tensor, "item bit"]:
        """Return the number of the cheapest bucket in bits, the first book's the least significant.

        Raises:
            RuntimeError: If it is not fitted.
            ValueError: If the vectors have another size than `dim`, or one is not finite.
        """
        return bucket_bits(self.probe(vectors, 1)[:, 0], self.num_bits)

    def probe(self, vectors: Float[Tensor, "query feature"], num_probes: int) -> Int[Tensor, "query probe"]:
        """Return the cheapest buckets that the beam meets, cheapest first.

        Args:
            vectors: Queries.
            num_probes: Buckets a query; at most 2^K are there.

        Raises:
            RuntimeError: If it is not fitted.
            ValueError: If the vectors have another size than `dim`, one is not finite, or there is no probe.
        """
        self.check_is_fitted()
        self.check_vectors(vectors)
        if num_probes < 1:
            raise ValueError(f"Expected at least one probe; got {num_probes}.")
        third = self._third_offsets()
        beam = max(_BEAM, num_probes)
        most = max(min(beam, len(before)) * len(book) for before, book in pairwise([*self._books, self._books[-1]]))
        chunks = vectors.detach().to(self.offset).split(max(1, _CHUNK_COSTS // most))
        return torch.cat([self._cheapest(chunk, num_probes, beam, third) for chunk in chunks])

    def costs(
        self, vectors: Float[Tensor, "query feature"], codes: Bool[Tensor, "item bit"]
    ) -> Float[Tensor, "query item"]:
        """Return what the buckets of these codes cost each vector, but for what is the same for all: ||x||^2.

        Raises:
            RuntimeError: If it is not fitted.
            ValueError: If the vectors have another size than `dim`, or one is not finite.
        """
        self.check_is_fitted()
        self.check_vectors(vectors)
        numbers, third = bucket_codes(codes), self._third_offsets()
        first, second, last = self._words(numbers)
        books = self._books
        sums, offset = books[0][first], self.offset[numbers % len(self.offset)]
        if len(books) > 1:
            sums = sums + books[1][second]
        if third is not None:
            sums = sums + books[2][last]
            offset = offset + third[0][first, last] + third[1][second, last] + third[2][last]
        return offset - 2 * vectors.to(sums) @ sums.T

    @property
    def _books(self) -> list[Float[Tensor, "word feature"]]:
        return [getattr(self, f"codebook_{book}") for book in range(len(self._book_bits))]

    def _words(self, numbers: Int[Tensor, "*item"]) -> list[Int[Tensor, "*item"]]:
        """Split the numbers of buckets into a word of each of three books; 0 of books that there are not."""
        words = []
        for bits in (*self._book_bits, 0, 0)[:3]:
            words.append(numbers % (1 << bits))
            numbers = numbers >> bits
        return words

    def _third_offsets(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return 2 c_1 . c_3, 2 c_2 . c_3 and ||c_3||^2, which a word of the third book adds; None without one."""
        if len(self._books) <= _PRICED_BOOKS:
            return None
        first, second, third = self._books
        return 2 * first @ third.T, 2 * second @ third.T, third.square().sum(dim=1)

    def _cheapest(
        self,
        vectors: Float[Tensor, "query feature"],
        num_probes: int,
        beam: int,
        third: tuple[Tensor, Tensor, Tensor] | None,
    ) -> Int[Tensor, "query probe"]:
        first, *others = (-2 * vectors @ book.T for book in self._books)
        if not others:
            return least_costs(first + self.offset, num_probes)[1]
        num_first, num_second = first.shape[1], others[0].shape[1]
        if num_first <= beam:
            costs = first[:, None] + others[0][:, :, None] + self.offset.view(num_second, num_first)
            cost, numbers = least_costs(costs.flatten(1), beam if third else num_probes)
        else:
            kept = least_costs(first + self._books[0].square().sum(dim=1), beam)[1]
            offsets = self.offset.view(num_second, num_first).T[kept]
            costs = first.gather(1, kept)[:, :, None] + others[0][:, None] + offsets
            cost, best = least_costs(costs.flatten(1), beam if third else num_probes)
            numbers = kept.gather(1, best // num_second) + num_first * (best % num_second)
        if third is None:
            return numbers
        words = self._words(numbers)
        added = third[0][words[0]] + third[1][words[1]] + third[2] + others[1][:, None]
        best = least_costs((cost[:, :, None] + added).flatten(1), num_probes)[1]
        num_third = len(third[2])
        return numbers.gather(1, best // num_third) + len(self.offset) * (best % num_third)

    def _fit(self, vectors: Float[Tensor, "item feature"]) -> None:
        rest = vectors.to(self.offset)
        for number, book in enumerate(self._books):
            words = kmeans_centroids(to_host(rest), len(book), self.num_iterations, self.seed + number)
            book.copy_(torch.from_numpy(words))
            rest = rest - book[torch.cdist(rest, book).argmin(dim=1)]
        first, *others = self._books[:_PRICED_BOOKS]
        sums = first[None] + others[0][:, None] if others else first[None]
        self.offset.copy_(sums.square().sum(dim=2).flatten())
        self._is_fitted.fill_(True)  # the buckets that prices are set by are looked up as ever
        self._balance(vectors, float(rest.square().sum(dim=1).mean()))

    def _balance(self, vectors: Float[Tensor, "item feature"], residual: float) -> None:
        """Raise the price of buckets that hold more than their share, lower that of the others, by less each round."""
        share = len(vectors) / len(self.offset)
        for number in range(self.num_rounds):
            codes = self.probe(vectors, 1)[:, 0] % len(self.offset)
            counts = torch.bincount(codes, minlength=len(self.offset))
            # one more on both sides: a bucket's count says little where few are expected
            ratio = ((counts + 1) / (share + 1)).log().clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)
            self.offset += _PRICE_STEP * residual * ratio / (1 + number / 10)
