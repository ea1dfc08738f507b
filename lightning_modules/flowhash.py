"""FlowHash: fingerprints to balanced hash codes by a normalizing flow.

Anonymous authors, FlowHash: accelerating audio search with balanced hashing via normalizing flow (under review, 2024),
sections 3.1 and 3.2: a projection of fingerprints to R^K, then a flow that gives each dimension two modes; the signs
are the code.
"""

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from jaxtyping import Float
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from lightning_modules.base import Batch
from lightning_modules.global_batch import gather_batch, keep_in_graph, let_rest
from lightning_modules.hash_module import HashModule
from lightning_modules.losses import ProjectionLoss, bit_cross_entropy, flow_loss, negative_log_likelihood
from lightning_modules.networks import BalancedFlow
from retrieval.index import HashFunction

_CHUNK_ITEMS = 16_384
Recenter = Literal["none", "medians"]


class FlowHash(HashModule):
    """Learn a projection from pairs of fingerprints, then a flow on what it gives.

    The first `projection_epochs` train the projection; from then on it is fixed and the flow is trained, eq. (11). The
    epoch alone tells which, so that a run resumes where it was.

    Args:
        input_dim: Size of a fingerprint; the data module gives it.
        projection: Makes F_phi from the sizes of fingerprint and code.
        projection_loss: What trains it.
        optimizer: Makes the optimizer of projection, its loss's own parameters, and flow.
        lr_scheduler: Makes the learning-rate schedule, stepped once an epoch.
        flow: Makes the flow from the number of bits; None takes projections for z, and the projection is trained to the
            end.
        num_bits: Length of a code, K.
        projection_epochs: Epochs that train the projection; 0 for one that is trained already.
        bit_weight: lambda of eq. (11).
        normalized_bits: Whether eq. (10) has posteriors of the modes in place of their densities.
        recenter: `medians` takes the median of each dimension over the training fingerprints off z, after every epoch
            and before validation: each bit is then set for half of them, whatever the losses did.
        efficiency_condition: Condition of the queries on which the search is measured.

    Raises:
        ValueError: If an option is out of its range.
    """

    medians: Tensor
    _is_centered: Tensor

    def __init__(
        self,
        input_dim: int,
        projection: Callable[[int, int], nn.Module],
        projection_loss: ProjectionLoss,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable,
        flow: Callable[[int], BalancedFlow] | None = None,
        num_bits: int = 12,
        projection_epochs: int = 10,
        bit_weight: float = 0.5,
        normalized_bits: bool = False,
        recenter: Recenter = "none",
        efficiency_condition: str = "noise 10 dB",
    ) -> None:
        super().__init__(input_dim, num_bits, efficiency_condition)
        if projection_epochs < 0 or bit_weight < 0 or recenter not in get_args(Recenter):
            raise ValueError(
                "Expected projection_epochs and bit_weight of at least 0, and recenter one of "
                f"{', '.join(get_args(Recenter))}; got {projection_epochs}, {bit_weight} and {recenter!r}."
            )
        self.projection = projection(input_dim, num_bits)
        self.projection_loss = projection_loss
        self.flow = None if flow is None else flow(num_bits)
        self.make_optimizer = optimizer
        self.make_lr_scheduler = lr_scheduler
        self.projection_epochs = projection_epochs
        self.bit_weight = bit_weight
        self.normalized_bits = normalized_bits
        self.recenter: Recenter = recenter
        self.register_buffer("medians", torch.zeros(num_bits))
        self.register_buffer("_is_centered", torch.tensor(False))

    @property
    def hash_function(self) -> HashFunction:
        """The signs of z."""
        return self

    @property
    def is_fitted(self) -> bool:
        """Whether z is centred, where that is asked for."""
        return self.recenter == "none" or bool(self._is_centered)

    @property
    def trains_projection(self) -> bool:
        """Whether this epoch trains the projection, not the flow."""
        return self.flow is None or self.current_epoch < self.projection_epochs

    def forward(self, fingerprint: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch bit"]:
        """Map fingerprints to z, not centred."""
        projection: Tensor = self.projection(fingerprint)
        if self.flow is None:
            return projection
        z: Tensor = self.flow(projection)[0]
        return z

    @torch.no_grad()
    def project(self, fingerprints: Float[Tensor, "item feature"]) -> Float[Tensor, "item bit"]:
        """Map fingerprints to z, centred, in evaluation mode: bit k of a code is set where z_k > 0.

        Raises:
            RuntimeError: If z is to be centred and no epoch has ended.
        """
        if not self.is_fitted:
            raise RuntimeError("z is not centred yet; call center(fingerprints), or load a checkpoint of a full epoch.")
        return self._latent(fingerprints) - self.medians

    @torch.no_grad()
    def center(self, fingerprints: Float[Tensor, "item feature"]) -> None:
        """Set the medians to those of these fingerprints' z: half of them will have each bit set."""
        self.medians.copy_(self._latent(fingerprints).median(dim=0).values)
        self._is_centered.fill_(True)

    def on_train_start(self) -> None:
        """Fix the projection where a run goes on within an epoch, whose start Lightning then leaves out."""
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Fix the projection when its epochs are over."""
        if not self.trains_projection:
            self.projection.eval()

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """Return the loss of the projection or of the flow, as the epoch tells."""
        fingerprints = torch.cat([batch["fingerprint"], batch["distorted"]])
        num_pairs = len(batch["fingerprint"])
        if self.trains_projection:
            # over the pairs of all processes: each is a negative of the others, and bits are decorrelated over all
            clean, distorted = (gather_batch(half) for half in self.projection(fingerprints).chunk(2))
            loss: Tensor = self.projection_loss(clean, distorted)
            terms = {"projection_loss": loss}
        else:
            with torch.no_grad():
                projection = self.projection(fingerprints)
            likelihood_loss, bit_loss = self._flow_losses(projection)
            loss = flow_loss(likelihood_loss, bit_loss, self.bit_weight)
            terms = {"nll": likelihood_loss.mean(), "bit_loss": bit_loss.mean(), "flow_loss": loss}
        self.log_dict(
            {f"train/{name}": value.detach() for name, value in terms.items()},
            on_step=False,
            on_epoch=True,
            sync_dist=True,
            batch_size=num_pairs,
        )
        return keep_in_graph(loss, self._resting())

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Leave what rests as it is."""
        let_rest(self._resting())

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        """Centre z after an epoch's last batch, which is before validation and before a checkpoint."""
        if self.recenter == "medians" and self.trainer.is_last_batch:
            fingerprints = self._data.training_fingerprints().to(self.device)
            was_training = {module: module.training for module in self.modules()}
            self.eval()
            self.center(fingerprints)
            for module, mode in was_training.items():
                module.training = mode

    def score_items(self, items: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the negative log-likelihood of the items' projections, where there is a flow."""
        if self.flow is None:
            return {}
        with torch.no_grad():
            log_prob = [self.flow.log_prob(self.projection(x)) for x in items["fingerprint"].split(_CHUNK_ITEMS)]
        return {"nll": -float(torch.cat(log_prob).mean())}

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the batch's centred z, and which segment of which track each is."""
        places = {name: batch[name] for name in ("item_index", "track", "start_seconds")}
        return places | {"z": self.project(batch["fingerprint"])}

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Make optimizer and schedule from the config."""
        optimizer = self.make_optimizer(self.parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.make_lr_scheduler(optimizer)}

    def _resting(self) -> list[nn.Parameter]:
        """Return what this epoch doesn't train."""
        if self.flow is None:
            return []
        parts = [self.flow] if self.trains_projection else [self.projection, self.projection_loss]
        return [parameter for part in parts for parameter in part.parameters()]

    def _latent(self, fingerprints: Float[Tensor, "item feature"]) -> Float[Tensor, "item bit"]:
        return torch.cat([self(chunk).float() for chunk in fingerprints.split(_CHUNK_ITEMS)])

    def _flow_losses(
        self, projection: Float[Tensor, "sample bit"]
    ) -> tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]]:
        """Return L_NLL of the clean first half, and L_BCE of its pairs with the second."""
        assert self.flow is not None
        z, log_determinant = self.flow(projection.float())
        num_pairs = len(z) // 2
        densities, other_densities = self.flow.base.mode_log_densities(z).chunk(2)
        return (
            negative_log_likelihood(self.flow.base.log_prob(z[:num_pairs]), log_determinant[:num_pairs]),
            bit_cross_entropy(densities, other_densities, normalized=self.normalized_bits),
        )
