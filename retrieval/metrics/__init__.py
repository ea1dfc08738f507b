"""Rankings -> numbers, with intervals and significance tests."""

from retrieval.codes import bucket_codes
from retrieval.metrics.average_precision import Denominator, Ties, ZeroHit, average_precision, mean_average_precision
from retrieval.metrics.bootstrap import ConfidenceInterval, bootstrap_mean
from retrieval.metrics.bucket_balance import bucket_counts, bucket_density, bucket_entropy, share_near_uniform
from retrieval.metrics.collapse import EmbeddingSpread, embedding_spread
from retrieval.metrics.cutoff import CutoffScores, cutoff_scores
from retrieval.metrics.evaluate import RetrievalScores, ScoringOptions, evaluate_retrieval
from retrieval.metrics.evaluated_share import evaluated_share
from retrieval.metrics.holm import HolmDecision, holm_adjust, holm_decisions
from retrieval.metrics.level_scores import QUERY_SUBSETS, LevelScores, LevelScoring, score_levels
from retrieval.metrics.localisation import (
    ConditionHits,
    HitShare,
    hit_share,
    hits_by_condition,
    localisation_hits,
    track_hits,
    wilson_interval,
)
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
    "ConditionHits",
    "ConfidenceInterval",
    "ContingencyTable",
    "CutoffScores",
    "Denominator",
    "EmbeddingSpread",
    "HitShare",
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
    "bucket_codes",
    "bucket_counts",
    "bucket_density",
    "bucket_entropy",
    "compare_paired",
    "compare_paired_folds",
    "contingency_table",
    "cutoff_scores",
    "embedding_spread",
    "evaluate_retrieval",
    "evaluated_share",
    "excluded_pairs",
    "hit_share",
    "hits_by_condition",
    "holm_adjust",
    "holm_decisions",
    "label_levels",
    "localisation_hits",
    "mcnemar",
    "mcnemar_of_table",
    "mean_average_precision",
    "mean_over_runs",
    "nearest_neighbours",
    "neighbour_scores",
    "presence_matrix",
    "score_levels",
    "share_near_uniform",
    "sign_flip_p_value",
    "similarity_level",
    "track_hits",
    "wilson_interval",
]
