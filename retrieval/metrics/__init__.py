"""Rankings -> numbers."""

from retrieval.metrics.average_precision import Denominator, Ties, ZeroHit, average_precision, mean_average_precision
from retrieval.metrics.bootstrap import ConfidenceInterval, bootstrap_mean
from retrieval.metrics.collapse import EmbeddingSpread, embedding_spread
from retrieval.metrics.cutoff import CutoffScores, cutoff_scores
from retrieval.metrics.evaluate import RetrievalScores, ScoringOptions, evaluate_retrieval

__all__ = [
    "ConfidenceInterval",
    "CutoffScores",
    "Denominator",
    "EmbeddingSpread",
    "RetrievalScores",
    "ScoringOptions",
    "Ties",
    "ZeroHit",
    "average_precision",
    "bootstrap_mean",
    "cutoff_scores",
    "embedding_spread",
    "evaluate_retrieval",
    "mean_average_precision",
]
