"""Bits <-> the number of the bucket that they name: bit k counts 2^k."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

# An int64 holds the number of a bucket, and the number of buckets too.
MAX_BUCKET_BITS = 62


def bucket_codes(bits: Bool[Tensor, "*item bit"]) -> Int[Tensor, "*item"]:
    """Read bits as the number of a bucket, sum_k 2^k b_k: the first bit is the least significant.

    Returns:
        int64 numbers in [0, 2^K).

    Raises:
        ValueError: If there are more than 62 bits.
    """
    check_bucket_bits(bits.shape[-1])
    codes = bits.new_zeros(bits.shape[:-1], dtype=torch.int64)
    for position in range(bits.shape[-1]):  # all at once would take K numbers an item
        codes |= bits[..., position].long() << position
    return codes


def bucket_bits(codes: Int[Tensor, "*item"], num_bits: int) -> Bool[Tensor, "*item bit"]:
    """Return the bits of buckets: what `bucket_codes` undoes.

    Args:
        codes: Numbers in [0, 2^K).
        num_bits: K.

    Raises:
        ValueError: If there are more than 62 bits.
    """
    check_bucket_bits(num_bits)
    return (codes[..., None] >> torch.arange(num_bits, device=codes.device)) % 2 == 1


def check_bucket_bits(num_bits: int) -> None:
    """Refuse codes that are no bucket's number.

    Raises:
        ValueError: If there are more than 62 bits.
    """
    if num_bits > MAX_BUCKET_BITS:
        raise ValueError(
            f"The number of a bucket has at most {MAX_BUCKET_BITS} bits; got {num_bits}. Longer codes are searched by "
            "Hamming distance."
        )
