"""Codes -> ranked items."""

from retrieval.files.fingerprints import FingerprintSettings
from retrieval.files.indexes import IndexFileError
from retrieval.files.no_match import NoMatch
from retrieval.index.alignment import propose_alignments, rank_alignments, score_alignments
from retrieval.index.asymmetric import AsymmetricIndex
from retrieval.index.base import Index
from retrieval.index.buckets import Buckets
from retrieval.index.candidates import nearest_candidates, rank_candidates_first
from retrieval.index.cells import CellIndex
from retrieval.index.exact import ExactIndex
from retrieval.index.exhaustive import exhaustive_index
from retrieval.index.fingerprint_index import FingerprintIndex
from retrieval.index.hamming import HammingIndex
from retrieval.index.hash_table import HashTable, TableSearch
from retrieval.index.inverted import InvertedIndex
from retrieval.index.multi_index import InvertedMultiIndex
from retrieval.index.nearest import nearest_by_inner_product
from retrieval.index.probing import (
    BudgetProbing,
    HashFunction,
    Probes,
    Probing,
    Projection,
    WidthProbing,
    num_bits_of,
    probe_buckets,
)
from retrieval.index.ranking import Ranking
from retrieval.index.sequence_search import Match, SequenceSearch, search_sequences
from retrieval.index.sharded import ShardedIndex, merge_rankings, merge_saved
from retrieval.index.vector_rows import FloatRows, ProductRows, VectorRows

__all__ = [
    "AsymmetricIndex",
    "Buckets",
    "BudgetProbing",
    "CellIndex",
    "ExactIndex",
    "FingerprintIndex",
    "FingerprintSettings",
    "FloatRows",
    "HammingIndex",
    "HashFunction",
    "HashTable",
    "Index",
    "IndexFileError",
    "InvertedIndex",
    "InvertedMultiIndex",
    "Match",
    "NoMatch",
    "Probes",
    "Probing",
    "ProductRows",
    "Projection",
    "Ranking",
    "SequenceSearch",
    "ShardedIndex",
    "TableSearch",
    "VectorRows",
    "WidthProbing",
    "exhaustive_index",
    "merge_rankings",
    "merge_saved",
    "nearest_by_inner_product",
    "nearest_candidates",
    "num_bits_of",
    "probe_buckets",
    "propose_alignments",
    "rank_alignments",
    "rank_candidates_first",
    "score_alignments",
    "search_sequences",
]
