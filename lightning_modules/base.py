"""What every model that embeds items for retrieval shares: collecting, searching, scoring."""

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from lightning_modules.global_batch import log_scores
from lightning_modules.preprocessing import PreprocessedModule, Preprocessing
from lightning_modules.queries_and_items import QueriesAndItems, Stage
from retrieval.codes import CodebookFit, Coder
from retrieval.index import Index, exhaustive_index
from retrieval.metrics import ScoringOptions, embedding_spread, evaluate_retrieval
from retrieval.outputs import EmbeddedItems, RetrievalOutputs

# A batch is a dict with `feature`, `label` and `item_index`; datamodules/base.py describes it.
Batch = Mapping[str, Tensor]
_COLUMNS = ("label", "feature", "embedding")


class RetrievalModule(QueriesAndItems, PreprocessedModule):
    """Embed queries and database items, search, score.

    Validation and test read two loaders: queries, then the database. After a test, `retrieval_outputs` holds what
    reports need.

    Args:
        preprocessing: What features go through first.
        scoring: Definitions of the scores.
    """

    def __init__(self, preprocessing: Preprocessing, scoring: ScoringOptions) -> None:
        super().__init__(preprocessing)
        self.scoring = scoring
        self.retrieval_outputs: RetrievalOutputs | None = None
        self.gather(_COLUMNS, _COLUMNS)

    @abstractmethod
    def forward(self, feature: Float[Tensor, "batch *feature"]) -> Float[Tensor, "batch embedding"]:
        """Embed features."""

    @abstractmethod
    def build_index(self, items: EmbeddedItems) -> Index:
        """Return the database searchable by embeddings."""

    @property
    def method_name(self) -> str:
        """What reports call it."""
        return type(self).__name__

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the batch's indices, labels and embeddings."""
        return {"item_index": batch["item_index"], "label": batch["label"], "embedding": self(batch["feature"])}

    def columns_of(self, batch: Batch, *, is_query: bool) -> Batch:
        """Embed a batch."""
        feature = batch["feature"]
        # of a clip's frames the mean is kept: what reports compare with, at a size that memory holds
        mean = feature.mean(dim=1) if feature.ndim == 3 else feature
        return {**batch, "feature": mean, "embedding": self(feature).float()}

    def score(self, stage: Stage, queries: dict[str, Tensor], items: dict[str, Tensor]) -> None:
        """Search and score; after a test, keep all that reports need."""
        query_items, database_items = EmbeddedItems(**queries), EmbeddedItems(**items)
        index = self.build_index(database_items)
        scores = evaluate_retrieval(
            index,
            query_items.embedding,
            query_items.label,
            database_items.label,
            self.scoring,
            query_ids=query_items.item_index,
        )
        spread = dataclasses.asdict(embedding_spread(database_items.embedding))
        log_scores(self, stage, scores.summary() | spread, len(query_items.label))
        if stage == "test":
            self.retrieval_outputs = RetrievalOutputs(query_items, database_items, index, scores)


class CodedRetrievalModule(RetrievalModule):
    """Embed, encode the embeddings of the database, search the codes exhaustively.

    Args:
        preprocessing: What features go through first.
        scoring: Definitions of the scores.
    """

    @property
    @abstractmethod
    def coder(self) -> Coder:
        """What turns embeddings into codes."""

    def build_index(self, items: EmbeddedItems) -> Index:
        """Encode the database and return it searchable by embeddings, exhaustively."""
        index = exhaustive_index(self.coder)
        index.add(items.embedding, items.item_index)
        return index

    def fit_codebook(self, embeddings: Float[Tensor, "item embedding"]) -> CodebookFit | None:
        """Fit the code to embeddings, from where it is; a code without codebooks returns nothing."""
        return self.coder.fit(embeddings)

    def codebook_tensors(self) -> list[Tensor]:
        """Return what processes have to share after one of them fitted the code."""
        return list(self.coder.state_dict().values())
