"""How evenly codes fill the 2^K buckets of a hash table (FlowHash, section 4.6)."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retrieval.codes import bucket_codes

# 2^24 counts take 128 MB.
_MAX_COUNTED_BITS = 24


def bucket_counts(bits: Bool[Tensor, "item bit"]) -> Int[Tensor, " bucket"]:
    """Count the items of every bucket, the empty ones too.

    Args:
        bits: One code an item; or several, if each is to count.

    Returns:
        2^K counts in the order of `bucket_codes`.

    Raises:
        ValueError: If there are more than 24 bits.
    """
    num_bits = bits.shape[1]
    if num_bits > _MAX_COUNTED_BITS:
        raise ValueError(
            f"All buckets are counted up to {_MAX_COUNTED_BITS} bits; got {num_bits}. Count those in use with "
            "torch.unique over bucket_codes."
        )
    return torch.bincount(bucket_codes(bits), minlength=2**num_bits)


def bucket_entropy(counts: Int[Tensor, " bucket"]) -> float:
    """Return the entropy of a random item's bucket, in bits: K where all 2^K hold equally many, 0 where one holds all.

    Of N items it can't exceed log2 N, however many buckets there are.

    Raises:
        ValueError: If no bucket holds an item.
    """
    return float(torch.special.entr(_shares(counts)).sum()) / math.log(2)


def share_near_uniform(counts: Int[Tensor, " bucket"], factor: float = 2.0) -> float:
    """Return the share of all buckets that hold N / 2^K items within a factor, both ends included.

    Args:
        counts: Of every bucket, see `bucket_counts`.
        factor: At least 1; 2 takes buckets from half to twice the mean.

    Raises:
        ValueError: If no bucket holds an item, or `factor` is under 1.
    """
    if not factor >= 1:
        raise ValueError(f"A factor off the mean is at least 1; got {factor}. Try 2.")
    ratio = _shares(counts) * len(counts)
    return float(((ratio >= 1 / factor) & (ratio <= factor)).double().mean())


def bucket_density(counts: Int[Tensor, " bucket"]) -> Float[Tensor, " bucket"]:
    """Return rho_k = -log2(|T(h_k)| / N): K where buckets are even, more in one that is underfilled.

    Returns:
        float64, infinite for an empty bucket.

    Raises:
        ValueError: If no bucket holds an item.
    """
    return -_shares(counts).log2()


def _shares(counts: Int[Tensor, " bucket"]) -> Float[Tensor, " bucket"]:
    num_items = int(counts.sum())
    if num_items == 0:
        raise ValueError("Balance needs at least one item; got empty buckets. Look at the codes that were counted.")
    return counts.double() / num_items
