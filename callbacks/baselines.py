"""Search the same features without learning: what a learned code has to beat."""

import torch
from torch import Tensor

from retrieval.codes import ProductQuantizer
from retrieval.index import AsymmetricIndex, ExactIndex, Index
from retrieval.metrics import RetrievalScores, ScoringOptions, evaluate_retrieval
from retrieval.outputs import RetrievalOutputs


def score_baselines(
    outputs: RetrievalOutputs, quantizer: ProductQuantizer, options: ScoringOptions
) -> dict[str, RetrievalScores]:
    """Score product quantization at the model's number of bits, plain and on unit-length features, and exact search.

    The quantizers are fitted without labels on the whole database, as in Jati et al. (2020).

    Args:
        outputs: Features of queries and database.
        quantizer: The model's, for its number of books and codewords, and the seed of k-means.
        options: Definitions of the scores.

    Returns:
        Scores by the method's name. Product quantization is left out where the database has fewer items than a book has
        codewords, or a feature fewer dimensions than there are books.
    """
    features = outputs.items.feature, outputs.queries.feature
    unit = torch.nn.functional.normalize(features[0], dim=1), torch.nn.functional.normalize(features[1], dim=1)
    scores = {}
    if len(features[0]) >= quantizer.num_codewords and features[0].shape[1] >= quantizer.num_books:
        for name, (items, queries) in (("PQ", features), ("PQ, L2-normalised", unit)):
            baseline = ProductQuantizer(
                items.shape[1], quantizer.num_books, quantizer.num_codewords, seed=quantizer.seed
            ).to(items.device)
            baseline.fit(items)
            scores[name] = _score(AsymmetricIndex(baseline), outputs, items, queries, options)
    scores["exact cosine"] = _score(ExactIndex("cosine"), outputs, *features, options)
    return scores


def _score(
    index: Index, outputs: RetrievalOutputs, items: Tensor, queries: Tensor, options: ScoringOptions
) -> RetrievalScores:
    index.add(items, outputs.items.item_index)
    return evaluate_retrieval(
        index, queries, outputs.queries.label, outputs.items.label, options, query_ids=outputs.queries.item_index
    )
