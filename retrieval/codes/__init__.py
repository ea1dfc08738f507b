"""Vector -> code."""

from retrieval.codes.product import CodebookFit, ProductQuantizer
from retrieval.codes.straight_through import StraightThroughProductQuantizer

__all__ = ["CodebookFit", "ProductQuantizer", "StraightThroughProductQuantizer"]
