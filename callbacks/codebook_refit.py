"""Refit a model's codebooks to its embeddings at every epoch, before validation."""

import logging
import math
import time
from typing import Literal, cast

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor

from callbacks.protocols import HasRoles
from callbacks.role_batches import fetch_batch
from lightning_modules.base import CodedRetrievalModule
from retrieval.codes import CodebookFit
from retrieval.codes.product import SAMPLES_PER_CODEWORD_FLOOR

_logger = logging.getLogger(__name__)

_ITEMS_PER_BATCH = 4096


class CodebookRefit(pl.Callback):
    """Fit the codebooks by k-means after every epoch's batches.

    What is validated, saved and tested is so the same state.

    Every process embeds its share; the first one fits on all embeddings and sends the codebooks to the others. Codeword
    usage and distortion are logged, and a set of vectors too small for k-means is reported once.

    Args:
        fit_on: Whose embeddings: `train`, as in the paper, or the whole unlabelled `database`.
        max_items: Items that a fit embeds at most, drawn anew each time, so that it stays a small part of an epoch
            whatever the corpus; 2560 are 40 for each of 64 codewords, about what k-means wants. None takes all.
        num_epochs: Epochs after which the codebooks are left alone; None is never. 1 suits codebooks that then learn by
            gradient.
    """

    def __init__(
        self,
        fit_on: Literal["train", "database"] = "train",
        max_items: int | None = 2560,
        num_epochs: int | None = None,
    ) -> None:
        self.fit_on: Literal["train", "database"] = fit_on
        self.max_items = max_items
        self.num_epochs = num_epochs
        self.seconds = 0.0
        self._fitted_at_step = -1
        self._floor_reported = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check the model.

        Raises:
            TypeError: If it has no codebook.
        """
        if not isinstance(pl_module, CodedRetrievalModule):
            raise TypeError(f"CodebookRefit needs a model with fit_codebook; {type(pl_module).__name__} has none.")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Refit after the last batch of an epoch, which is before validation and before a checkpoint."""
        if trainer.is_last_batch:
            self._refit(trainer, pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refit before a validation in the middle of an epoch."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._refit(trainer, pl_module)

    def _refit(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        is_over = self.num_epochs is not None and trainer.current_epoch >= self.num_epochs
        if is_over or self._fitted_at_step == trainer.global_step:
            return
        self._fitted_at_step = trainer.global_step
        start = time.perf_counter()
        embeddings = self._embed_items(trainer, module)
        holder = cast(CodedRetrievalModule, module)
        fit = holder.fit_codebook(embeddings) if trainer.is_global_zero else None
        for tensor in holder.codebook_tensors():
            tensor.copy_(trainer.strategy.broadcast(tensor, src=0))
        self.seconds += time.perf_counter() - start
        if fit is not None:
            self._report(trainer, fit, len(embeddings))

    def _embed_items(self, trainer: pl.Trainer, module: pl.LightningModule) -> Float[Tensor, "item embedding"]:
        """Embed the items of the role once, in evaluation mode, on all processes together."""
        dataset = cast(HasRoles, trainer.datamodule).role_dataset(self.fit_on)  # type: ignore[attr-defined]
        chosen = torch.arange(len(dataset))
        if self.max_items is not None and len(dataset) > self.max_items:
            generator = torch.Generator().manual_seed(trainer.global_step)  # the same on all processes
            chosen = torch.randperm(len(dataset), generator=generator)[: self.max_items]
        num_items, num_ranks = len(chosen), trainer.world_size
        # rank r takes items r, r + n, ...; the end is filled up so that all have as many
        own = torch.arange(trainer.global_rank, math.ceil(num_items / num_ranks) * num_ranks, num_ranks) % num_items
        was_training = module.training
        module.eval()
        with torch.no_grad():
            parts = [
                module(fetch_batch(module, dataset, chosen[part].tolist())["feature"])
                for part in own.split(_ITEMS_PER_BATCH)
            ]
        module.train(was_training)
        embedded = torch.cat(parts)
        if num_ranks == 1:
            return embedded
        return cast(Tensor, module.all_gather(embedded)).transpose(0, 1).flatten(0, 1)[:num_items]

    def _report(self, trainer: pl.Trainer, fit: CodebookFit, num_items: int) -> None:
        metrics = {
            "codebook/distortion": fit.distortion,
            "codebook/used_fraction": fit.used_fraction,
            "codebook/perplexity": fit.perplexity,
            "codebook/samples_per_codeword": fit.samples_per_codeword,
            "codebook/refit_seconds": self.seconds / (trainer.current_epoch + 1),
        }
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step)
        if fit.samples_per_codeword < SAMPLES_PER_CODEWORD_FLOOR and not self._floor_reported:
            self._floor_reported = True
            _logger.warning(
                "Codebooks are fitted on %d vectors, %.1f a codeword; k-means is well determined from about %d. "
                "More labels, "
                "fewer codewords (--model.num_codewords) or `fit_on: database` would raise it.",
                num_items, fit.samples_per_codeword, SAMPLES_PER_CODEWORD_FLOOR,
            )  # fmt: skip
