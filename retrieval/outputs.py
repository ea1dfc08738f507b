"""What a run of a model on queries and database leaves behind for reports."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from retrieval.index import Index
from retrieval.metrics import ConditionHits, LevelScores, RetrievalScores


@dataclass(frozen=True)
class EmbeddedItems:
    """Items of one role with all that was computed for them, each item once, in order of its index.

    Attributes:
        item_index: Position in the corpus.
        label: Class.
        feature: Input vector.
        embedding: Network output.
    """

    item_index: Int[Tensor, " item"]
    label: Int[Tensor, " item"]
    feature: Float[Tensor, "item feature"]
    embedding: Float[Tensor, "item embedding"]


@dataclass(frozen=True)
class RetrievalOutputs:
    """What a test leaves for reports.

    Attributes:
        queries: The query role.
        items: The database role.
        index: The database as it was searched.
        scores: How the search did.
    """

    queries: EmbeddedItems
    items: EmbeddedItems
    index: Index
    scores: RetrievalScores


@dataclass(frozen=True)
class LabelledClips:
    """Items of one role that have several labels each, each item once, in order of its index.

    Attributes:
        item_index: Position in the corpus.
        label: 1 where an item has the label, else 0.
        feature: Input vector; of frames, their mean.
    """

    item_index: Int[Tensor, " item"]
    label: Int[Tensor, "item category"]
    feature: Float[Tensor, "item feature"]


@dataclass(frozen=True)
class PresenceOutputs:
    """What a test of a model that compares pairs leaves for reports.

    Attributes:
        queries: The query role.
        items: The database role.
        level: Predicted level of similarity of query and item; NaN where they were not compared.
        swapped_level: The same with the item in the first place; None where that was not measured.
        distances: What items were ranked by; smaller is closer.
        embedding_similarity: Cosine of the clips' embeddings, by which a first stage chooses what is compared.
        scores: How the ranking did.
        situation_accuracy: Share of the pairs whose likeliest situation is the true one, of each category.
        pairs_per_second: Speed of comparing.
    """

    queries: LabelledClips
    items: LabelledClips
    level: Float[Tensor, "query item"]
    swapped_level: Float[Tensor, "query item"] | None
    distances: Float[Tensor, "query item"]
    embedding_similarity: Float[Tensor, "query item"]
    scores: LevelScores
    situation_accuracy: Float[Tensor, " category"]
    pairs_per_second: float


@dataclass(frozen=True)
class FingerprintedSegments:
    """Segments of one role with their fingerprints, each segment once, in order of its index.

    Attributes:
        item_index: Number of the segment.
        track: Position of its track in the data module's `track_names`.
        start_seconds: Where it starts in its track, float64.
        fingerprint: Of unit length.
    """

    item_index: Int[Tensor, " item"]
    track: Int[Tensor, " item"]
    start_seconds: Float[Tensor, " item"]
    fingerprint: Float[Tensor, "item feature"]


@dataclass(frozen=True)
class FingerprintOutputs:
    """What a test of a fingerprinter leaves for reports.

    Attributes:
        queries: The query role, with their true places; of longer queries, the first segment.
        items: The database role.
        condition: Position of each query's condition in `hits`.
        is_repeated: Whether a query's passage occurs elsewhere in its track.
        found: Position in `items` of what exact search found.
        is_localised: Right track, and a start within 50 ms.
        is_in_track: Right track at any time.
        hits: Their shares, one entry a condition.
    """

    queries: FingerprintedSegments
    items: FingerprintedSegments
    condition: Int[Tensor, " query"]
    is_repeated: Bool[Tensor, " query"]
    found: Int[Tensor, " query"]
    is_localised: Bool[Tensor, " query"]
    is_in_track: Bool[Tensor, " query"]
    hits: list[ConditionHits]
