"""Rankings -> numbers, with intervals and significance tests."""

from retrieval.metrics.average_precision import Denominator, Ties, ZeroHit, average_precision, mean_average_precision
from retrieval.metrics.bootstrap import ConfidenceInterval, bootstrap_mean
from retrieval.metrics.collapse import EmbeddingSpread, embedding_spread
from retrieval.metrics.cutoff import CutoffScores, cutoff_scores
from retrieval.metrics.evaluate import RetrievalScores, ScoringOptions, evaluate_retrieval
from retrieval.metrics.holm import HolmDecision, holm_adjust, holm_decisions
from retrieval.metrics.level_scores import QUERY_SUBSETS, LevelScores, LevelScoring, score_levels
from retrieval.metrics.mcnemar import (
    ContingencyTable,
    McNemarMethod,
    McNemarTest,
    contingency_table,
    mcnemar,
    mcnemar_of_table,
)
from retrieval.metrics.nearest_labels import (
    NeighbourMetric,
    NeighbourProtocol,
    NeighbourScores,
    excluded_pairs,
    nearest_neighbours,
    neighbour_scores,
)
from retrieval.metrics.paired import PairedComparison, compare_paired, compare_paired_folds
from retrieval.metrics.permutation import sign_flip_p_value
from retrieval.metrics.presence import SITUATIONS, label_levels, presence_matrix, similarity_level
from retrieval.metrics.runs import RunMean, RunUnit, mean_over_runs

__all__ = [
    "QUERY_SUBSETS",
    "SITUATIONS",
    "ConfidenceInterval",
    "ContingencyTable",
    "CutoffScores",
    "Denominator",
    "EmbeddingSpread",
    "HolmDecision",
    "LevelScores",
    "LevelScoring",
    "McNemarMethod",
    "McNemarTest",
    "NeighbourMetric",
    "NeighbourProtocol",
    "NeighbourScores",
    "PairedComparison",
    "RetrievalScores",
    "RunMean",
    "RunUnit",
    "ScoringOptions",
    "Ties",
    "ZeroHit",
    "average_precision",
    "bootstrap_mean",
    "compare_paired",
    "compare_paired_folds",
    "contingency_table",
    "cutoff_scores",
    "embedding_spread",
    "evaluate_retrieval",
    "excluded_pairs",
    "holm_adjust",
    "holm_decisions",
    "label_levels",
    "mcnemar",
    "mcnemar_of_table",
    "mean_average_precision",
    "mean_over_runs",
    "nearest_neighbours",
    "neighbour_scores",
    "presence_matrix",
    "score_levels",
    "sign_flip_p_value",
    "similarity_level",
]
