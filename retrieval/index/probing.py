"""Which buckets of a hash table a vector belongs to, or a query visits.

By width: every code whose bits differ from the signs of z only where z is near zero (FlowHash, sections 3.3 and 3.4).
By budget: so many codes, cheapest first, where a flipped bit costs its distance from the sign change (query-directed
probing of Lv et al., Multi-probe LSH, 2007, section 4.4). A code is an integer whose bit k is set where z_k > 0.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retrieval.codes import BucketHash

# codes are kept in 32 bits, and bits are summed in float32, which is exact so far
MAX_BITS = 24
# sums of flipped bits at once, which with a whole number each stay in a core's cache
_CHUNK_SUMS = 2**15
_POWERS = np.exp2(np.arange(MAX_BITS, dtype=np.float32))


@runtime_checkable
class Projection(Protocol):
    """What maps vectors to z, the sign of whose entries is the code; every `BinaryHash` does."""

    def project(self, vectors: Float[Tensor, "item feature"]) -> Float[Tensor, "item bit"]:
        """Return z."""


# What places vectors in buckets: by signs of z, or in an order of its own.
HashFunction = Projection | BucketHash


@dataclass(frozen=True)
class Probes:
    """Codes of several vectors, one vector after another.

    Attributes:
        codes: Not negative; distinct for each vector.
        counts: Codes of each vector.
    """

    codes: Int[Tensor, " probe"]
    counts: Int[Tensor, " query"]


@runtime_checkable
class Probing(Protocol):
    """A rule that says which buckets to visit."""

    def probe(self, z: Float[Tensor, "query bit"]) -> Probes:
        """Return the codes to visit."""


@dataclass(frozen=True)
class WidthProbing:
    """Visit every code that differs from the signs only in bits with |z_k| <= width.

    Attributes:
        width: r of an item, r~ of a query; 0 visits one code, unless z_k is zero. The paper has 1.0 and 1.25.
        max_codes: Codes a vector at most.
        on_excess: What to do where there are more: `raise`, or flip only so many bits `nearest` to their sign change
            as stay within it.

    Raises:
        ValueError: If the width is negative, `max_codes` under 1 or `on_excess` unknown.
    """

    width: float
    max_codes: int = 4096
    on_excess: Literal["raise", "nearest"] = "raise"

    def __post_init__(self) -> None:
        if not self.width >= 0 or self.max_codes < 1 or self.on_excess not in ("raise", "nearest"):
            raise ValueError(
                "Expected a width of at least 0, at least one code, and raise or nearest on excess; got "
                f"{self.width}, {self.max_codes} and {self.on_excess!r}."
            )

    def probe(self, z: Float[Tensor, "query bit"]) -> Probes:
        """Return the codes to visit, the signs' own first.

        Raises:
            ValueError: If z has more than 24 bits, or a vector more codes than `max_codes` and `on_excess` is `raise`.
        """
        signs = pack_signs(z)
        is_free = z.abs() <= self.width
        num_free = is_free.sum(dim=1)
        most = self.max_codes.bit_length() - 1
        if bool((num_free > most).any()):
            if self.on_excess == "raise":
                row = int(num_free.argmax())
                raise ValueError(
                    f"Expected at most {self.max_codes} codes a vector; vector {row} has {2 ** int(num_free[row])} "
                    f"within width {self.width}. Use a smaller width, raise max_codes, or set on_excess to nearest."
                )
            is_free &= z.abs().argsort(dim=1, stable=True).argsort(dim=1) < most
            num_free = is_free.sum(dim=1)
        counts = 1 << num_free
        owner = torch.repeat_interleave(counts)
        # which of a vector's subsets of free bits this is; its digits go to the free bits, one after another
        subset = torch.arange(len(owner), device=z.device) - (counts.cumsum(0) - counts)[owner]
        codes = signs[owner]
        for bit, is_free_bit in enumerate(is_free.long().T):
            takes = is_free_bit[owner]
            codes ^= (subset & takes) << bit
            subset >>= takes
        return Probes(codes, counts)


@dataclass(frozen=True)
class BudgetProbing:
    """Visit the `num_probes` codes whose flipped bits cost least, cheapest first; all where there are no more.

    Attributes:
        num_probes: B.
        power: A flipped bit costs |z_k|^power.

    Raises:
        ValueError: If there is no probe, or the power is not positive.
    """

    num_probes: int
    power: float = 1.0

    def __post_init__(self) -> None:
        if self.num_probes < 1 or not self.power > 0:
            raise ValueError(
                f"Expected at least one probe and a positive power; got {self.num_probes} and {self.power}."
            )

    def probe(self, z: Float[Tensor, "query bit"]) -> Probes:
        """Return the codes to visit, on the CPU.

        Raises:
            ValueError: If z has more than 24 bits.
        """
        costs = z.abs() if self.power == 1 else z.abs() ** self.power
        codes = cheapest_codes(pack_signs(z), costs, self.num_probes)
        return Probes(codes.flatten(), torch.full((len(z),), codes.shape[1]))


def probe_buckets(function: HashFunction, vectors: Float[Tensor, "query feature"], probing: Probing) -> Probes:
    """Return the codes that vectors visit, without gradients.

    Args:
        function: What places vectors.
        vectors: Queries, or items whose places are wanted.
        probing: Which codes; of a `BucketHash`, which has no z, only a number of them can be had.

    Raises:
        ValueError: If the vectors don't fit, or there are more than 24 bits, or a vector gets too many codes.
        TypeError: If codes within a width are wanted of a hash that has no z.
    """
    with torch.no_grad():
        if not isinstance(function, BucketHash):
            return probing.probe(function.project(vectors))
        if not isinstance(probing, BudgetProbing):
            raise TypeError(
                f"Expected a number of buckets to visit, BudgetProbing: {type(function).__name__} has no margins to "
                f"compare with a width; got {probing}."
            )
        codes = function.probe(vectors, min(probing.num_probes, 1 << function.num_bits)).cpu()
        return Probes(codes.flatten(), torch.full((len(codes),), codes.shape[1]))


def num_bits_of(function: HashFunction, dim: int) -> int:
    """Return the length of the codes of vectors of `dim` dimensions."""
    if isinstance(function, BucketHash):
        return function.num_bits
    with torch.no_grad():
        return function.project(torch.zeros(1, dim)).shape[1]


def pack_signs(z: Float[Tensor, "item bit"]) -> Int[Tensor, " item"]:
    """Return codes: bit k is set where z_k > 0.

    Raises:
        ValueError: If there are no bits, or more than 24.
    """
    if not 1 <= z.shape[1] <= MAX_BITS:
        raise ValueError(f"Expected 1 to {MAX_BITS} bits; got {z.shape[1]}.")
    # one product in place of K steps: sums of different powers of two below 2^24 are exact in float32
    return ((z > 0).float() @ _bit_values(z.shape[1], z.device)).long()


@lru_cache(maxsize=64)
def _bit_values(num_bits: int, device: torch.device) -> Float[Tensor, " bit"]:
    """Return 2^k of each bit k."""
    return torch.from_numpy(_POWERS[:num_bits]).to(device)


def cheapest_codes(
    codes: Int[Tensor, " query"], costs: Float[Tensor, "query bit"], num_probes: int
) -> Int[Tensor, "query probe"]:
    """Find the codes that are reached from a query's by flipping bits of least total cost.

    With bits ranked by cost, a set of ranks costs no less than any set that it dominates (see `_candidate_subsets`), so
    that only few sets can be among the cheapest B. They are tabulated once; a query costs one row of a matrix product.
    Computed by numpy, on the CPU, where a single query costs a third of what it does in torch.

    Args:
        codes: Each query's own code.
        costs: Cost of flipping each bit; not negative. Summed in float32.
        num_probes: B.

    Returns:
        Codes, cheapest first, the query's own among the first; min(B, 2^K) of them. Of equal costs in an order that
        depends on the query alone.
    """
    subsets = _subset_columns(costs.shape[1], num_probes)
    num_probes = min(num_probes, subsets.shape[1])
    own, row_costs = codes.cpu().numpy(), costs.detach().cpu().numpy().astype(np.float32, copy=False)
    found = np.empty((len(own), num_probes), dtype=np.int64)
    chunk = max(1, _CHUNK_SUMS // subsets.shape[1])
    for start in range(0, len(own), chunk):
        part = slice(start, start + chunk)
        order = row_costs[part].argsort(axis=1)
        chosen = _cheapest_columns(np.take_along_axis(row_costs[part], order, axis=1) @ subsets, num_probes)
        flips = _POWERS[order] @ subsets
        np.bitwise_xor(own[part, None], np.take_along_axis(flips, chosen, axis=1).astype(np.int64), out=found[part])
    return torch.from_numpy(found)


def _cheapest_columns(totals: np.ndarray, num_columns: int) -> np.ndarray:
    """Return the columns of the least totals of each row, least first, of equal ones the first."""
    # of numbers that are not negative the bits are in order as well: one integer sorts by total, then by column
    keys = totals.view(np.uint32).astype(np.int64)
    keys <<= 32
    keys |= np.arange(totals.shape[1])
    if num_columns < totals.shape[1]:
        keys.partition(num_columns - 1, axis=1)
        keys = keys[:, :num_columns]
    keys.sort(axis=1)
    keys &= 2**32 - 1
    return keys


@lru_cache(maxsize=16)
def _subset_columns(num_bits: int, num_probes: int) -> np.ndarray:
    """Return the candidate subsets as the columns of a matrix of zeros and ones, float32 [bit, subset]."""
    return np.ascontiguousarray(_candidate_subsets(num_bits, num_probes).numpy().T.astype(np.float32))


def _candidate_subsets(num_bits: int, num_probes: int) -> Bool[Tensor, "subset bit"]:
    """Tabulate the sets of ranks that fewer than `num_probes` others are dominated by, in order of their size.

    T is dominated by S where, for every rank j, T has no more ranks from j on than S: then T's ranks pair with some of
    S's that are no smaller. Dominance is passed on, so that such sets are reached from the empty set by adding rank 0
    or raising one rank, without leaving them.
    """
    frontier = torch.zeros(1, num_bits, dtype=torch.bool)
    found = [frontier]
    while len(frontier):
        grown = frontier[~frontier[:, 0]].clone()
        grown[:, 0] = True
        can_rise = frontier[:, :-1] & ~frontier[:, 1:]
        row, rank = can_rise.nonzero(as_tuple=True)
        risen = frontier[row]
        risen[torch.arange(len(row)), rank] = False
        risen[torch.arange(len(row)), rank + 1] = True
        # each step adds one to the sum of (rank + 1), so that a set belongs to one frontier only
        frontier = torch.cat([grown, risen]).unique(dim=0)
        frontier = frontier[_num_dominated(frontier) < num_probes]
        found.append(frontier)
    return torch.cat(found)


def _num_dominated(subsets: Bool[Tensor, "subset bit"]) -> Int[Tensor, " subset"]:
    """Count the other sets that each set dominates, from the highest rank down."""
    num_bits = subsets.shape[1]
    size = torch.arange(num_bits + 1)
    ways = torch.zeros(len(subsets), num_bits + 1, dtype=torch.long)
    ways[:, 0] = 1
    limit = torch.zeros(len(subsets), dtype=torch.long)
    for rank in reversed(range(num_bits)):
        limit += subsets[:, rank]
        ways[:, 1:] += ways[:, :-1].clone()
        ways *= size <= limit[:, None]
    return ways.sum(dim=1) - 1
