"""Numbers of buckets from bits and back."""

import pytest
import torch

from retrieval.codes import bucket_bits, bucket_codes


def test_the_first_bit_is_the_least_significant() -> None:
    bits = torch.tensor([[True, False, False], [False, False, True], [True, True, True], [False, False, False]])
    assert bucket_codes(bits).tolist() == [1, 4, 7, 0]


@pytest.mark.parametrize("num_bits", [1, 7, 24, 53, 54, 62])
def test_bits_return(num_bits: int) -> None:
    bits = torch.rand(40, num_bits, generator=torch.Generator().manual_seed(0)) < 0.5
    codes = bucket_codes(bits)
    assert codes.dtype == torch.int64
    assert codes.tolist() == [sum(1 << k for k, bit in enumerate(row) if bit) for row in bits.tolist()]
    assert torch.equal(bucket_bits(codes, num_bits), bits)


def test_any_leading_shape_is_taken() -> None:
    codes = torch.arange(24).reshape(2, 3, 4)
    assert bucket_bits(codes, 5).shape == (2, 3, 4, 5)
    assert torch.equal(bucket_codes(bucket_bits(codes, 5)), codes)
    assert bucket_codes(torch.zeros(0, 5, dtype=torch.bool)).shape == (0,)


def test_more_bits_than_a_number_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 62 bits; got 63"):
        bucket_codes(torch.zeros(1, 63, dtype=torch.bool))
    with pytest.raises(ValueError, match="at most 62 bits; got 63"):
        bucket_bits(torch.zeros(1, dtype=torch.int64), 63)
