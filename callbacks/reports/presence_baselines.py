"""What a model that compares pairs has to beat, and what comparing fewer pairs costs."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from retrieval.index import nearest_candidates, rank_candidates_first
from retrieval.metrics import LevelScores, LevelScoring, label_levels, score_levels
from retrieval.outputs import PresenceOutputs

COSINE_NAME = "cosine of mean features"
RANDOM_NAME = "random order"


@dataclass(frozen=True)
class FirstStageScores:
    """Scores where embeddings choose what is compared.

    Attributes:
        share: Of the database that is compared with each query.
        num_compared: Items that is.
        scores: How the ranking did.
    """

    share: float
    num_compared: int
    scores: LevelScores

    @property
    def saved(self) -> float:
        """Share of the comparisons that are left out."""
        return 1 - self.num_compared / self.scores.num_items


def cosine_distances(outputs: PresenceOutputs) -> Float[Tensor, "query item"]:
    """Return 1 - cosine of the clips' features, unlearned, in [0, 2]."""
    queries, items = (normalize(each.feature.double(), dim=1) for each in (outputs.queries, outputs.items))
    distances: Tensor = 1 - queries @ items.T
    return distances


def baseline_scores(outputs: PresenceOutputs, scoring: LevelScoring) -> dict[str, LevelScores]:
    """Score search by features, and the paper's baseline, items in random order.

    Args:
        outputs: Features and labels of queries and database.
        scoring: Definitions of the scores.

    Returns:
        Scores by the method's name. Those of random order are the exact expectation, whatever `scoring` says of ties.
    """
    distances = cosine_distances(outputs)
    expecting = dataclasses.replace(scoring, ties="expected")
    return {
        COSINE_NAME: _score(outputs, distances, scoring),
        RANDOM_NAME: _score(outputs, torch.zeros_like(distances), expecting),
    }


def first_stage_scores(
    outputs: PresenceOutputs, scoring: LevelScoring, shares: Sequence[float] = (0.05, 0.1, 0.25, 0.5, 1.0)
) -> list[FirstStageScores]:
    """Score rankings where each query is compared only with the items whose embeddings are most like its own.

    Args:
        outputs: Of a test that compared all pairs.
        scoring: Definitions of the scores.
        shares: Of the database that are compared, rounded up to whole items; 0 ranks by embeddings alone.

    Raises:
        ValueError: If a share is outside [0, 1], or pairs were not compared.
    """
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"Expected shares of the database from 0 to 1; got {list(shares)}.")
    if bool(outputs.level.isnan().any()):
        raise ValueError("Expected the level of every pair; got NaN. Test the model without num_candidates.")
    num_items = outputs.level.shape[1]
    stages = []
    for share in shares:
        num_compared = math.ceil(round(share * num_items, 6))  # 0.1 * 30 is above 3
        compared = nearest_candidates(outputs.embedding_similarity, num_compared)
        level = outputs.level.double().masked_fill(~compared, torch.nan)
        distances = rank_candidates_first(level, outputs.embedding_similarity.double())
        stages.append(FirstStageScores(share, num_compared, _score(outputs, distances, scoring)))
    return stages


def swapped_scores(outputs: PresenceOutputs, scoring: LevelScoring) -> LevelScores:
    """Score the ranking by the level that is predicted with the item in the first place.

    Raises:
        ValueError: If that was not measured.
    """
    if outputs.swapped_level is None:
        raise ValueError("Expected the level of swapped pairs; got none. Test the model with measures_swap.")
    return _score(outputs, rank_candidates_first(outputs.swapped_level, outputs.embedding_similarity), scoring)


def commonest_situation_shares(outputs: PresenceOutputs) -> Float[Tensor, " category"]:
    """Return the share of the compared pairs that are in the commonest situation of each category.

    It is the accuracy of a prediction that is the same for every pair, to be had without listening.
    """
    compared = ~outputs.level.isnan()
    shares = []
    for query, item in zip(outputs.queries.label.T.bool(), outputs.items.label.T.bool(), strict=True):
        has, other_has = query[:, None], item[None, :]
        counts = [(situation & compared).sum() for situation in (has & other_has, ~has & ~other_has, has ^ other_has)]
        shares.append(torch.stack(counts).max() / compared.sum())
    return torch.stack(shares)


def true_levels(outputs: PresenceOutputs) -> Int[Tensor, "query item"]:
    """Return the true level of similarity of every pair."""
    return label_levels(outputs.queries.label, outputs.items.label)


def _score(outputs: PresenceOutputs, distances: Float[Tensor, "query item"], scoring: LevelScoring) -> LevelScores:
    return score_levels(distances, true_levels(outputs), outputs.queries.label, scoring)
