"""What hash codes are worth: balance of their buckets, agreement under distortion, and what a search evaluates."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightning_modules.probing_efficiency import evaluated_until_found, share_at_recall
from retrieval.codes import BucketHash, encode_in_chunks
from retrieval.index import HashFunction, nearest_by_inner_product
from retrieval.metrics import bucket_counts, bucket_entropy, localisation_hits, share_near_uniform

# Table 5 of FlowHash (2024) has widths of 0.5 and up.
_CLOSE = 0.5
_CHUNK_ITEMS = 16_384


def score_codes(
    queries: Mapping[str, Tensor],
    items: Mapping[str, Tensor],
    function: HashFunction,
    is_measured: Bool[Tensor, " query"],
) -> dict[str, float]:
    """Measure a hash.

    Args:
        queries: `fingerprint`, `track`, `start_seconds`.
        items: The same of the database.
        function: The hash.
        is_measured: Queries that the search is measured on: one condition.

    Returns:
        bucket_entropy: Of the items' buckets, in bits; at most K.
        entropy_gap: K minus that.
        near_uniform: Share of buckets whose items are within a factor 2 of N / 2^K.
        exact_recall: Share of measured queries that exact search localises within 50 ms.
        bit_agreement: Share of bits that those have in common with the item found.
        close_share: Share of their coordinates with |z - z+| < 0.5; only where there is z.
        share_at_90: Share of items that best-first probing evaluates until it has met the item that exact search finds,
            for 90 % of those queries.
    """
    fingerprint, items_fingerprint = queries["fingerprint"][is_measured], items["fingerprint"]
    found = nearest_by_inner_product(fingerprint, items_fingerprint)
    is_hit = localisation_hits(
        items["track"][found],
        items["start_seconds"][found],
        queries["track"][is_measured],
        queries["start_seconds"][is_measured],
    )
    asked, found = fingerprint[is_hit], found[is_hit]
    scores: dict[str, float] = {}
    with torch.no_grad():
        if isinstance(function, BucketHash):
            bits, asked_bits = (encode_in_chunks(function, each).bool() for each in (items_fingerprint, asked))
            num_evaluated = _evaluated_in_order(function, asked, bits, found)
        else:
            item_z, z = function.project(items_fingerprint), function.project(asked)
            bits, asked_bits = item_z > 0, z > 0
            num_evaluated = evaluated_until_found(z, bits, found)
            scores["close_share"] = float(((z - item_z[found]).abs() < _CLOSE).float().mean())
    counts = bucket_counts(bits)
    entropy = bucket_entropy(counts)
    return scores | {
        "bucket_entropy": entropy,
        "entropy_gap": bits.shape[1] - entropy,
        "near_uniform": share_near_uniform(counts),
        "exact_recall": float(is_hit.float().mean()),
        "bit_agreement": float((asked_bits == bits[found]).float().mean()),
        "share_at_90": share_at_recall(num_evaluated, len(bits), 0.9),
    }


def _evaluated_in_order(
    function: BucketHash,
    queries: Float[Tensor, "query feature"],
    item_bits: Bool[Tensor, "item bit"],
    target: Int[Tensor, " query"],
) -> Int[Tensor, " query"]:
    """Count the items whose buckets cost no more than that of the item that each query wants."""
    num_evaluated = torch.zeros_like(target)
    if len(target) == 0:
        return num_evaluated
    pairs = zip(queries.split(1), item_bits[target].split(1), strict=True)
    own = torch.cat([function.costs(query, wanted)[0] for query, wanted in pairs])
    for chunk in item_bits.split(_CHUNK_ITEMS):
        num_evaluated += (function.costs(queries, chunk) <= own[:, None] + 1e-6).sum(dim=1)
    return num_evaluated
