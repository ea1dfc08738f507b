"""Codes -> ranked items."""

from retrieval.index.asymmetric import AsymmetricIndex
from retrieval.index.base import Index, Ranking
from retrieval.index.exact import ExactIndex

__all__ = ["AsymmetricIndex", "ExactIndex", "Index", "Ranking"]
