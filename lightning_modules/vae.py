"""Convolutional variational autoencoder of spectrograms: an unsupervised audio embedding.

Pedersen, Learning latent audio representations for search and retrieval using supervised and unsupervised learning
methods (B.Sc. thesis, DTU, 2024), sections 2.5 and 3.2. Windows of a clip's spectrogram are encoded to Gaussians over
latent vectors; the means are the clip's embedding.
"""

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from lightning_modules.base import Batch, RetrievalModule
from lightning_modules.collector import ItemCollector
from lightning_modules.global_batch import gather_batch, log_scores, own_rows, process_turn
from lightning_modules.losses import ElboTerms, Prior, gaussian_log_density
from lightning_modules.networks import Gaussian
from lightning_modules.preprocessing import Preprocessing
from lightning_modules.queries_and_items import Stage
from retrieval.index import ExactIndex
from retrieval.metrics import ScoringOptions
from retrieval.outputs import EmbeddedItems

# A latent dimension is active if its mean varies more than that over the clips (Burda et al., Importance weighted
# autoencoders, 2016).
ACTIVE_VARIANCE = 0.01
# What keeps seeds of different batches apart.
_MAX_BATCHES = 1_000_003
_MAX_SEED = 10_007
_BOUND_COLUMNS = ("negative_elbo", "reconstruction", "divergence")


class Vae(RetrievalModule):
    """Learn to reconstruct windows of spectrograms through a bottleneck of few Gaussian variables.

    A batch's `feature` is [batch, frame, feature]: frames of whole clips. Training takes a window of each clip at
    random; a clip's embedding is the mean, over windows at a regular step, of the posterior's mean. Where a window is
    as long as a clip there is one window, as in the thesis.

    Args:
        preprocessing: Front end, centring and scale of the features.
        encoder: Makes the encoder, windows to `Gaussian`s of latent vectors, from the sizes (bins, frames, latent).
        decoder: Makes the decoder, latent vectors to `Gaussian`s of windows, from the same sizes.
        prior: Makes the prior from the size of a latent vector.
        optimizer: Makes the optimizer.
        lr_scheduler: Makes the learning-rate schedule, stepped once an epoch.
        latent_dim: Size of a latent vector.
        window_frames: Frames of a window.
        window_step: Frames from one window of an embedded clip to the next.
        free_bits: Nats a latent dimension carries without cost, as a mean over the batch.
        seed: Seed of windows and samples.
        scoring: Definitions of the scores.

    Raises:
        ValueError: If a window or step has no frame, or `free_bits` is negative.

    Attributes:
        beta: Weight of the divergence in training, eq. (3.3); `callbacks.BetaWarmup` sets it.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        encoder: Callable[[int, int, int], nn.Module],
        decoder: Callable[[int, int, int], nn.Module],
        prior: Callable[[int], Prior],
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable,
        latent_dim: int = 64,
        window_frames: int = 48,
        window_step: int = 12,
        free_bits: float = 0.0,
        seed: int = 0,
        scoring: ScoringOptions = ScoringOptions(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(preprocessing, scoring)
        if window_frames < 1 or window_step < 1:
            raise ValueError(
                f"window_frames and window_step must be at least 1; got {window_frames} and {window_step}. A quarter "
                "of the window is a good step."
            )
        if free_bits < 0:
            raise ValueError(f"free_bits must be at least 0; got {free_bits}. 0 turns it off.")
        self.make_optimizer = optimizer
        self.make_lr_scheduler = lr_scheduler
        self.latent_dim = latent_dim
        self.window_frames = window_frames
        self.window_step = window_step
        self.free_bits = free_bits
        self.seed = seed
        self.beta = 1.0
        self.encoder = encoder(preprocessing.frame_dim, window_frames, latent_dim)
        self.decoder = decoder(preprocessing.frame_dim, window_frames, latent_dim)
        self.prior = prior(latent_dim)
        self._bounds = nn.ModuleDict({stage: ItemCollector(_BOUND_COLUMNS) for stage in ("val", "test")})

    def forward(self, feature: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch latent"]:
        """Embed clips: the mean over their windows of the posterior's mean."""
        return self.encode_windows(feature).mean(dim=1)

    def encode_windows(self, feature: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch window latent"]:
        """Return the posterior's mean of each window of each clip.

        Raises:
            ValueError: If clips are shorter than a window.
        """
        windows = self.windows(feature)
        means = [self.posterior(window).mean for window in windows.unbind(dim=1)]
        return torch.stack(means, dim=1)

    def windows(self, feature: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch window frame feature"]:
        """Cut clips into windows at a regular step, from the first frame on.

        Raises:
            ValueError: If clips are shorter than a window.
        """
        self._check_length(feature.shape[1])
        return feature.unfold(1, self.window_frames, self.window_step).transpose(2, 3)

    def posterior(self, window: Float[Tensor, "batch frame feature"]) -> Gaussian:
        """Encode windows to q(z | x)."""
        posterior: Gaussian = self.encoder(window)
        return posterior

    def likelihood(self, latent: Float[Tensor, "batch latent"]) -> Gaussian:
        """Decode latent vectors to p(x | z), [batch, frame, feature]."""
        likelihood: Gaussian = self.decoder(latent)
        return likelihood

    def elbo(self, window: Float[Tensor, "batch frame feature"], noise: Float[Tensor, "batch latent"]) -> ElboTerms:
        """Bound the log-likelihood of windows from one sample of the posterior each, eqs. (2.24) and (2.48).

        Args:
            window: Windows.
            noise: Standard normal; what the samples are made of.
        """
        posterior = self.posterior(window)
        sample = posterior.at(noise)
        likelihood = self.likelihood(sample)
        # in full precision: sums over thousands of values
        with torch.autocast(window.device.type, enabled=False):
            log_likelihood = gaussian_log_density(window, likelihood.mean, likelihood.log_variance)
            divergence = self.prior.divergence(posterior.mean, posterior.log_variance, sample)
        return ElboTerms(log_likelihood, divergence, self.latent_dim)

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """Return the negative bound of one window a clip, its divergence weighted by beta, in nats."""
        feature = batch["feature"]
        # of the batch's place alone, whatever was drawn before; the same on all processes
        generator = self._generator(1 + self.current_epoch * _MAX_BATCHES + batch_idx)
        window = self._random_windows(feature, generator)
        num_global = len(feature) * process_turn()[1]
        noise = torch.randn(num_global, self.latent_dim, generator=generator, device=self.device)
        terms = self.elbo(window, own_rows(noise))
        if self.free_bits:  # the allowance is of the mean over the batch
            terms = ElboTerms(gather_batch(terms.log_likelihood), gather_batch(terms.divergence), self.latent_dim)
        loss = terms.training_loss(self.beta, self.free_bits)
        logged = {name: value.mean() for name, value in _named(terms).items()} | {"loss": loss}
        self.log_dict(
            {f"train/{name}": value.detach() for name, value in logged.items()},
            on_step=False, on_epoch=True, sync_dist=True, batch_size=len(feature),
        )  # fmt: skip
        self.log("train/beta", self.beta, on_step=False, on_epoch=True, batch_size=1)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Embed clips; bound the log-likelihood of the queries', which training has not seen."""
        super().validation_step(batch, batch_idx, dataloader_idx)
        self._collect_bounds("val", batch, dataloader_idx)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Embed clips; bound the log-likelihood of the queries'."""
        super().test_step(batch, batch_idx, dataloader_idx)
        self._collect_bounds("test", batch, dataloader_idx)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return indices, labels, embeddings, and the posterior's mean of each window."""
        windows = self.encode_windows(batch["feature"])
        return {
            "item_index": batch["item_index"],
            "label": batch["label"],
            "embedding": windows.mean(dim=1),
            "window_embedding": windows,
        }

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Make optimizer and schedule from the config."""
        optimizer = self.make_optimizer(self.learned_parameters())
        return {"optimizer": optimizer, "lr_scheduler": self.make_lr_scheduler(optimizer)}

    def build_index(self, items: EmbeddedItems) -> ExactIndex:
        """Index embeddings as they are, by cosine."""
        index = ExactIndex("cosine")
        index.add(items.embedding, items.item_index)
        return index

    def score(self, stage: Stage, queries: dict[str, Tensor], items: dict[str, Tensor]) -> None:
        """Search and score; tell the bound on the log-likelihood, and how many latents are used."""
        super().score(stage, queries, items)
        num_active = int((items["embedding"].var(dim=0) > ACTIVE_VARIANCE).sum())
        bounds = cast(ItemCollector, self._bounds[stage]).collect()
        logged = {name: float(bounds[name].double().mean()) for name in _BOUND_COLUMNS}
        log_scores(self, stage, logged | {"active_units": float(num_active)}, len(queries["label"]))

    def _collect_bounds(self, stage: str, batch: Batch, dataloader_idx: int) -> None:
        """Bound the log-likelihood of queries, each with noise of its own, however they are dealt to processes."""
        if dataloader_idx > 0:
            return
        windows = self.windows(batch["feature"])
        generator = torch.Generator(self.device)
        size = (windows.shape[1], self.latent_dim)
        noise = [
            torch.randn(size, generator=generator.manual_seed(self.seed + _MAX_SEED * index), device=self.device)
            for index in batch["item_index"].tolist()
        ]
        terms = self.elbo(windows.flatten(0, 1), torch.cat(noise))
        means = {name: value.unflatten(0, windows.shape[:2]).mean(dim=1) for name, value in _named(terms).items()}
        cast(ItemCollector, self._bounds[stage]).update({"item_index": batch["item_index"], **means})

    def _random_windows(
        self, feature: Float[Tensor, "batch time feature"], generator: torch.Generator
    ) -> Float[Tensor, "batch frame feature"]:
        """Cut a window out of each clip."""
        num_clips, num_frames = feature.shape[:2]
        self._check_length(num_frames)
        size = (num_clips * process_turn()[1], 1)
        starts = torch.randint(num_frames - self.window_frames + 1, size, generator=generator, device=feature.device)
        frames = own_rows(starts) + torch.arange(self.window_frames, device=feature.device)
        return feature[torch.arange(num_clips, device=feature.device)[:, None], frames]

    def _generator(self, offset: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(self.seed + _MAX_SEED * offset)

    def _check_length(self, num_frames: int) -> None:
        if num_frames < self.window_frames:
            raise ValueError(
                f"Expected clips of at least window_frames = {self.window_frames} frames; got {num_frames}. Set "
                "--data.frames_per_clip to that or more, or a shorter --model.window_frames."
            )


def _named(terms: ElboTerms) -> dict[str, Float[Tensor, " batch"]]:
    """Return what is logged of a bound, of each window."""
    return {
        "negative_elbo": terms.negative_elbo,
        "reconstruction": -terms.log_likelihood,
        "divergence": terms.divergence.sum(dim=1),
    }
