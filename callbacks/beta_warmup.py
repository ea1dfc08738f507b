"""Raise the weight of a VAE's divergence step by step, so that it learns to reconstruct before it is regularised."""

from typing import Literal, cast, get_args

import pytorch_lightning as pl

from lightning_modules.vae import Vae

Schedule = Literal["linear", "cyclical"]


class BetaWarmup(pl.Callback):
    """Set the model's `beta` at the start of every epoch; it depends on the epoch alone, so a resumed run goes on.

    Args:
        schedule: `linear` rises once and stays, eq. (3.2) of Pedersen (2024) after Sonderby et al. (2016); `cyclical`
            starts anew every `num_epochs` (Fu et al., Cyclical annealing schedule, 2019).
        num_epochs: Epochs of the rise, N of eq. (3.2); of a cycle where it is cyclical.
        final_beta: Where the rise ends.
        rising_fraction: Share of a cycle that rises; the rest stays at `final_beta`.

    Raises:
        ValueError: If an argument makes no schedule.
    """

    def __init__(
        self,
        schedule: Schedule = "linear",
        num_epochs: int = 10,
        final_beta: float = 1.0,
        rising_fraction: float = 0.5,
    ) -> None:
        if schedule not in get_args(Schedule):
            raise ValueError(f"schedule must be one of {', '.join(get_args(Schedule))}; got {schedule!r}.")
        if num_epochs < 1 or final_beta < 0 or not 0 < rising_fraction <= 1:
            raise ValueError(
                "Expected num_epochs of at least 1, final_beta of at least 0, rising_fraction above 0 and at most 1; "
                f"got {num_epochs}, {final_beta}, {rising_fraction}."
            )
        self.schedule: Schedule = schedule
        self.num_epochs = num_epochs
        self.final_beta = final_beta
        self.rising_fraction = rising_fraction

    def beta_at(self, epoch: int) -> float:
        """Return the weight in an epoch, the first of which is 0: k / N in the k-th."""
        if self.schedule == "linear":
            return self.final_beta * min(1.0, (epoch + 1) / self.num_epochs)
        rising_epochs = max(1, round(self.rising_fraction * self.num_epochs))
        return self.final_beta * min(1.0, (epoch % self.num_epochs + 1) / rising_epochs)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check the model.

        Raises:
            TypeError: If it is no variational autoencoder.
        """
        if not isinstance(pl_module, Vae):
            raise TypeError(
                f"BetaWarmup needs a lightning_modules.Vae; got {type(pl_module).__name__}. Take BetaWarmup out of "
                "trainer.callbacks."
            )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the weight where a run goes on within an epoch, whose start Lightning then leaves out."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the weight."""
        cast(Vae, pl_module).beta = self.beta_at(trainer.current_epoch)
