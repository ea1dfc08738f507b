"""What no coder is made of, and what each says; what all refuse alike is in test_contract."""

from collections.abc import Callable
from typing import Any

import pytest

from retrieval.codes import (
    AnchorGraphHash,
    BalancedResidualHash,
    BinaryReconstructiveEmbedding,
    CrossPolytopeHash,
    DensitySensitiveHash,
    IterativeQuantization,
    KernelizedHash,
    OptimalTransportHash,
    OptimizedProductQuantizer,
    ProductQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
)

AGH = "Expected 2 to num_anchors nearest anchors and some iterations"
BRE = "Expected some samples, at most as many anchors, and some sweeps"
DSH = "groups_per_bit, num_iterations and num_neighbours must be positive"
KLSH = "at least one landmark a bit, but not all of them, and some iterations"
MULTIPLE = "num_bits must be a multiple of log2 num_codewords; .* Try {} bits"
REFUSED: list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any], str]] = [
    (AnchorGraphHash, (4, 10, 10), {}, "10 eigenvectors need more anchors than that; got 10"),
    (AnchorGraphHash, (4, 19, 10), {"num_layers": 2}, "10 eigenvectors need more anchors"),
    (AnchorGraphHash, (4, 2, 10, 1), {"num_iterations": 10}, AGH),
    (AnchorGraphHash, (4, 2, 10, 11), {"num_iterations": 10}, AGH),
    (AnchorGraphHash, (4, 2, 10, 2), {"num_iterations": 0}, AGH),
    (AnchorGraphHash, (4, 2, 10), {"num_layers": 3}, "num_layers must be 1 or 2; got 3"),
    (BalancedResidualHash, (6, 25), {}, "Expected at most 24 bits"),
    (BalancedResidualHash, (6, 8), {"num_iterations": 0}, "Expected at most 24 bits"),
    (BalancedResidualHash, (6, 8), {"num_rounds": -1}, "Expected at most 24 bits"),
    (BalancedResidualHash, (6, 13), {"max_book_bits": 4}, "Expected at most 24 bits"),
    (BinaryReconstructiveEmbedding, (4, 8, 0, 1, 1), {}, BRE),
    (BinaryReconstructiveEmbedding, (4, 8, 10, 0, 1), {}, BRE),
    (BinaryReconstructiveEmbedding, (4, 8, 10, 5, 0), {}, BRE),
    (BinaryReconstructiveEmbedding, (4, 8, 10, 11, 1), {}, BRE),
    *[(CrossPolytopeHash, (5, 8, axes), {}, rf"power of two up to 8; got {axes}\. Try 8") for axes in (0, 3, 16, -4)],
    (DensitySensitiveHash, (4, 8, 0.0, 3, 3), {}, DSH),
    (DensitySensitiveHash, (4, 8, 1.5, 0, 3), {}, DSH),
    (DensitySensitiveHash, (4, 8, 1.5, 3, 0), {}, DSH),
    (IterativeQuantization, (8, 4, -1), {}, r"num_iterations can't be negative; got -1\. The paper's is 50"),
    (IterativeQuantization, (8, 4), {"solver": "svd"}, "solver must be procrustes or faiss; got 'svd'"),
    *[(KernelizedHash, (4, 8, 10, summed, 5), {}, KLSH) for summed in (0, 10, 11)],
    (KernelizedHash, (4, 8, 10, 3, 0), {}, KLSH),
    (KernelizedHash, (4, 8, 1, 1, 5), {}, KLSH),
    (OptimizedProductQuantizer, (6, 6, 8, 0), {}, "num_rotations must be positive; got 0"),
    (OptimalTransportHash, (8, 17), {}, r"2\^17 buckets is out of reach: optimal transport takes 1 to 16 bits"),
    (OptimalTransportHash, (8, 4), {"hidden_dim": 0}, "Expected a"),
    (OptimalTransportHash, (8, 4), {"num_steps": 0}, "Expected a"),
    (OptimalTransportHash, (8, 4), {"batch_size": 0}, "Expected a"),
    (OptimalTransportHash, (8, 4), {"learning_rate": 0.0}, "Expected a"),
    (OptimalTransportHash, (8, 4), {"temperature": float("nan")}, "Expected a"),
    (OptimalTransportHash, (8, 4), {"entropy_weight": 0.01}, "Expected a"),
    (OptimalTransportHash, (8, 4), {"num_iterations": 0}, "Expected a"),
    (ProductQuantizer, (4, 4, 4), {"num_iterations": 0, "num_refit_iterations": 5}, "at least one iteration"),
    (ProductQuantizer, (4, 4, 4), {"num_iterations": 25, "num_refit_iterations": 0}, "at least one iteration"),
    (ProductQuantizer, (8, 7, 8), {}, MULTIPLE.format(6)),
    (ProductQuantizer, (8, 8, 8), {}, MULTIPLE.format(9)),
    (ProductQuantizer, (8, 1, 8), {}, MULTIPLE.format(3)),
    *[(ProductQuantizer, (8, 6, words), {}, f"power of two; got {words}") for words in (0, 1, 3, 100)],
    (ProductQuantizer, (4, 10, 4), {}, r"got 5 books \(10 bits\) for 4 dimensions. Use fewer bits"),
    (ResidualQuantizer, (4, 6, 8, 0, 25), {}, "beam_size and num_iterations must be positive"),
    (ResidualQuantizer, (4, 6, 8, 5, 0), {}, "beam_size and num_iterations must be positive"),
    (ResidualQuantizer, (4, 6, 12), {}, "power of two; got 12"),
    (ResidualQuantizer, (4, 7, 8), {}, r"got 7 bits with 3 bits a book\. Try 6 bits"),
    *[(VectorQuantizer, (8, bits), {}, r"1 to 16 bits\. Use product quantization for more") for bits in (17, 0, -1)],
]


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(("make", "sizes", "options", "message"), REFUSED)
def test_sizes_and_options_that_make_no_coder_are_refused(
    make: Callable[..., object], sizes: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(*sizes, **options)
