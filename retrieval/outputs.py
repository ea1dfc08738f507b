"""What a run of a model on queries and database leaves behind for reports."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from retrieval.index import Index
from retrieval.metrics import RetrievalScores


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
