"""Codes -> ranked items."""

from retrieval.index.asymmetric import AsymmetricIndex
from retrieval.index.base import Index, Ranking
from retrieval.index.candidates import nearest_candidates, rank_candidates_first
from retrieval.index.cells import CellIndex
from retrieval.index.exact import ExactIndex
from retrieval.index.exhaustive import exhaustive_index
from retrieval.index.files import IndexFileError
from retrieval.index.hamming import HammingIndex
from retrieval.index.inverted import InvertedIndex
from retrieval.index.multi_index import InvertedMultiIndex

__all__ = [
    "AsymmetricIndex",
    "CellIndex",
    "ExactIndex",
    "HammingIndex",
    "Index",
    "IndexFileError",
    "InvertedIndex",
    "InvertedMultiIndex",
    "Ranking",
    "exhaustive_index",
    "nearest_candidates",
    "rank_candidates_first",
]
