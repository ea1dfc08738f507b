"""Search the same features without learning: what a learned code has to beat."""

import torch
from torch import Tensor

from retrieval.codes import ProductQuantizer
from retrieval.index import AsymmetricIndex, ExactIndex, Index
from retrieval.metrics import RetrievalScores, ScoringOptions, evaluate_retrieval
from retrieval.outputs import RetrievalOutputs


def score_exact(outputs: RetrievalOutputs, options: ScoringOptions) -> dict[str, RetrievalScores]:
    """Score exact cosine search of the features."""
    index = ExactIndex("cosine")
    return {"exact cosine": _score(index, outputs, outputs.items.feature, outputs.queries.feature, options)}


def score_product_quantization(
    outputs: RetrievalOutputs, quantizer: ProductQuantizer, options: ScoringOptions
) -> dict[str, RetrievalScores]:
    """Score product quantization of the features, plain and on unit-length features.

    The quantizers are fitted without labels on the whole database, as in Jati et al. (2020).

    Args:
        outputs: Features of queries and database.
        quantizer: The model's, for its numbers of bits and codewords, and the seed of k-means.
        options: Definitions of the scores.

    Returns:
        Scores by the method's name; none where the database has fewer items than a book has codewords, or a feature
        fewer dimensions than there are books.
    """
    features = outputs.items.feature, outputs.queries.feature
    if len(features[0]) < quantizer.num_codewords or features[0].shape[1] < quantizer.num_books:
        return {}
    unit = torch.nn.functional.normalize(features[0], dim=1), torch.nn.functional.normalize(features[1], dim=1)
    scores = {}
    for name, (items, queries) in (("PQ", features), ("PQ, L2-normalised", unit)):
        baseline = ProductQuantizer(
            items.shape[1], quantizer.num_bits, quantizer.num_codewords, seed=quantizer.seed
        ).to(items.device)
        baseline.fit(items)
        scores[name] = _score(AsymmetricIndex(baseline), outputs, items, queries, options)
    return scores


def _score(
    index: Index, outputs: RetrievalOutputs, items: Tensor, queries: Tensor, options: ScoringOptions
) -> RetrievalScores:
    index.add(items, outputs.items.item_index)
    return evaluate_retrieval(
        index, queries, outputs.queries.label, outputs.items.label, options, query_ids=outputs.queries.item_index
    )
