"""The exhaustive index that a coder's codes are made for."""

from retrieval.codes import BinaryHash, Coder, Quantizer
from retrieval.index.asymmetric import AsymmetricIndex
from retrieval.index.hamming import HammingIndex


def exhaustive_index(coder: Coder) -> HammingIndex | AsymmetricIndex:
    """Make an empty index: Hamming distance for bits, asymmetric quantizer distance for codewords.

    Raises:
        TypeError: If it is neither a hash nor a quantizer.
    """
    if isinstance(coder, BinaryHash):
        return HammingIndex(coder)
    if isinstance(coder, Quantizer):
        return AsymmetricIndex(coder)
    raise TypeError(f"Expected a BinaryHash or a Quantizer; got {type(coder).__name__}. Make one of the two of it.")
