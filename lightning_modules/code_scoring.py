"""What hash codes are worth: balance of their buckets, agreement under distortion, and what a search evaluates."""

from collections.abc import Mapping

from jaxtyping import Bool, Float
from torch import Tensor

from lightning_modules.probing_efficiency import evaluated_until_found, share_at_recall
from retrieval.index import nearest_by_inner_product
from retrieval.metrics import bucket_counts, bucket_entropy, localisation_hits, share_near_uniform

# Table 5 of FlowHash (2024) has widths of 0.5 and up.
_CLOSE = 0.5


def score_codes(
    queries: Mapping[str, Tensor],
    items: Mapping[str, Tensor],
    query_z: Float[Tensor, "query bit"],
    item_z: Float[Tensor, "item bit"],
    is_measured: Bool[Tensor, " query"],
) -> dict[str, float]:
    """Measure codes whose bits are the signs of z.

    Args:
        queries: `fingerprint`, `track`, `start_seconds`.
        items: The same of the database.
        query_z: z of the queries.
        item_z: z of the items.
        is_measured: Queries that the search is measured on: one condition.

    Returns:
        bucket_entropy: Of the items' buckets, in bits; at most K.
        entropy_gap: K minus that.
        near_uniform: Share of buckets whose items are within a factor 2 of N / 2^K.
        exact_recall: Share of measured queries that exact search localises within 50 ms.
        bit_agreement: Share of bits that those have in common with the item found.
        close_share: Share of their coordinates with |z - z+| < 0.5.
        share_at_90: Share of items that best-first probing evaluates until it has met the item that exact search finds,
            for 90 % of those queries.
    """
    counts = bucket_counts(item_z > 0)
    entropy = bucket_entropy(counts)
    fingerprint, z = queries["fingerprint"][is_measured], query_z[is_measured]
    found = nearest_by_inner_product(fingerprint, items["fingerprint"])
    is_hit = localisation_hits(
        items["track"][found],
        items["start_seconds"][found],
        queries["track"][is_measured],
        queries["start_seconds"][is_measured],
    )
    z, found = z[is_hit], found[is_hit]
    num_evaluated = evaluated_until_found(z, item_z > 0, found)
    return {
        "bucket_entropy": entropy,
        "entropy_gap": item_z.shape[1] - entropy,
        "near_uniform": share_near_uniform(counts),
        "exact_recall": float(is_hit.float().mean()),
        "bit_agreement": float(((z > 0) == (item_z[found] > 0)).float().mean()),
        "close_share": float(((z - item_z[found]).abs() < _CLOSE).float().mean()),
        "share_at_90": share_at_recall(num_evaluated, len(item_z), 0.9),
    }
