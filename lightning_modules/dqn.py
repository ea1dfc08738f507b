"""Audio DQN: supervised deep hashing by product quantization.

Jati and Emmanouilidou, Supervised deep hashing for efficient audio event retrieval (ICASSP 2020): an MLP on weak
embeddings, trained on pairwise similarity and quantization error together; the codebooks are refitted by k-means at
every epoch.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from lightning_modules.base import Batch, CodedRetrievalModule
from lightning_modules.global_batch import gather_batch, keep_in_graph, let_rest
from lightning_modules.losses import SimilarityLoss, quantization_loss
from lightning_modules.preprocessing import Preprocessing
from retrieval.codes import ProductQuantizer, StraightThroughProductQuantizer
from retrieval.metrics import ScoringOptions


class AudioDqn(CodedRetrievalModule):
    """Embed features with a network, quantize the embeddings, search by asymmetric quantizer distance.

    Args:
        preprocessing: Front end, centring and scale of the features.
        num_classes: Classes of the corpus; the data module gives it.
        network: Makes the network from the sizes of feature and embedding.
        similarity_loss: Draws embeddings of one class together, L of eq. (10).
        quantizer: Makes the product quantizer from embedding size, number of bits and codewords a book.
        optimizer: Makes the optimizer.
        lr_scheduler: Makes the learning-rate schedule, stepped once an epoch.
        num_bits: Length of a code, B = M log2 K*.
        num_codewords: Codewords a book, K*; 64 gives 6 bits a book, 256 gives 8.
        embedding_dim: Size of an embedding; None is the paper's 2 B.
        quantization_weight: lambda of eq. (12); it counts from when the codebooks are first fitted.
        scoring: Definitions of the scores.

    Raises:
        ValueError: If `num_bits` is not a multiple of log2 `num_codewords`.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        num_classes: int,
        network: Callable[[int, int], nn.Module],
        similarity_loss: SimilarityLoss,
        quantizer: Callable[[int, int, int], ProductQuantizer],
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable,
        num_bits: int = 48,
        num_codewords: int = 64,
        embedding_dim: int | None = None,
        quantization_weight: float = 0.01,
        scoring: ScoringOptions = ScoringOptions(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(preprocessing, scoring)
        self.make_optimizer = optimizer
        self.make_lr_scheduler = lr_scheduler
        embedding_dim = embedding_dim or 2 * num_bits
        self.num_bits = num_bits
        self.quantization_weight = quantization_weight
        self.network = network(preprocessing.frame_dim, embedding_dim)
        self.quantizer = quantizer(embedding_dim, num_bits, num_codewords)
        self.similarity_loss = similarity_loss
        self.similarity_loss.build(embedding_dim, num_classes)

    def forward(self, feature: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch embedding"]:
        """Embed features, eq. (1)."""
        embedding: Tensor = self.network(feature)
        return embedding

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """Return L + lambda Q, eq. (12), over the batches of all processes together."""
        embedding = gather_batch(self(batch["feature"]))
        label = gather_batch(batch["label"])
        # In full precision: nearest codewords are told apart by small differences of squared distances.
        with torch.autocast(embedding.device.type, enabled=False):
            similarity, quantization = self._loss_terms(embedding.float(), label)
        loss = keep_in_graph(similarity + self.quantization_weight * quantization, self._resting())
        terms = {"loss": loss, "similarity_loss": similarity, "quantization_loss": quantization}
        self.log_dict(
            {f"train/{name}": value.detach() for name, value in terms.items()},
            on_step=False,
            on_epoch=True,
            batch_size=len(label),
        )
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Leave codebooks that are not fitted yet as they are."""
        let_rest(self._resting())

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Make optimizer and schedule from the config."""
        optimizer = self.make_optimizer(self.learned_parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.make_lr_scheduler(optimizer)}

    @property
    def coder(self) -> ProductQuantizer:
        """The product quantizer; it is searched by AQD, eq. (13)."""
        return self.quantizer

    def _loss_terms(self, embedding: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        similarity = self.similarity_loss(embedding, label)
        if not self.quantizer.is_fitted:
            return similarity, embedding.new_zeros(())
        if isinstance(self.quantizer, StraightThroughProductQuantizer):
            decoded = self.quantizer.quantize(embedding)
            # What is searched for is the decoded vector, so it has to be near its class as well.
            return (similarity + self.similarity_loss(decoded, label)) / 2, quantization_loss(embedding, decoded)
        with torch.no_grad():
            decoded = self.quantizer.decode(self.quantizer.encode(embedding))
        return similarity, quantization_loss(embedding, decoded)

    def _resting(self) -> list[nn.Parameter]:
        """Return codebooks that learn by gradient, but are not fitted yet."""
        return [] if self.quantizer.is_fitted else list(self.quantizer.parameters())
