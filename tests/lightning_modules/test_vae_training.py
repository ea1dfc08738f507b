"""What the VAE draws and learns in training, and that no number is ever lost."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from callbacks import BetaWarmup
from lightning_modules import Vae
from lightning_modules.losses import GaussianMixturePrior, Prior, StandardNormalPrior
from tests.lightning_modules.makers import draw, make_trainer, seeded
from tests.lightning_modules.small_vae import NUM_BINS, WINDOW, load, make_ramps, make_vae

pytestmark = pytest.mark.usefixtures("one_thread")
NOISE = 0.1  # standard deviation of the planted pictures' noise
PICTURE = torch.sin(torch.arange(WINDOW) / 2)[:, None] * torch.cos(torch.arange(NUM_BINS) / 2.5)


# what training draws


def trained_windows(num_frames: int, seed: int = 0, max_epochs: int = 2) -> list[Tensor]:
    """Return the windows of each training step on ramps, two steps an epoch."""
    model, seen = make_vae(seed=seed), list[Tensor]()
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    make_trainer(max_epochs).fit(model, load(make_ramps(16, num_frames), batch_size=8))
    return seen


def test_random_windows_are_whole_and_within_their_clip() -> None:
    num_frames = WINDOW + 3
    windows = torch.stack(trained_windows(num_frames, max_epochs=10))  # [step, batch, frame, feature]
    clips, frames = windows[..., 0] // 1000, windows[..., 0] % 1000
    assert torch.equal(clips[0::2], torch.arange(8.0)[:, None].expand_as(clips[0::2]))
    assert torch.equal(clips[1::2], torch.arange(8.0, 16)[:, None].expand_as(clips[1::2]))
    assert bool((frames.diff(dim=2) == 1).all())
    # the first and the last window of a clip, and those between, all come up
    assert set(frames[:, :, 0].flatten().tolist()) == {0.0, 1.0, 2.0, 3.0}
    # the clips of a batch are cut independently
    assert len(set(frames[0, :, 0].tolist())) > 1


def test_a_clip_as_long_as_a_window_is_trained_on_as_it_is() -> None:
    assert torch.equal(trained_windows(WINDOW)[0], make_ramps(8, WINDOW))


def test_draws_repeat_by_step_and_seed() -> None:
    first, again, other = (trained_windows(60, seed=seed) for seed in (0, 0, 1))
    starts = [[window[:, 0, 0] % 1000 for window in run] for run in (first, again, other)]
    assert all(torch.equal(start, repeated) for start, repeated in zip(starts[0], starts[1], strict=True))
    assert not any(torch.equal(start, changed) for start, changed in zip(starts[0], starts[2], strict=True))
    assert len({tuple(start.tolist()) for start in starts[0]}) == 4  # no two steps draw alike


# a planted solution


def plant(num_clips: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return noisy multiples of one picture, smooth as spectra are, and the factor that each is a multiple of."""
    factor = 4 * torch.rand(num_clips, generator=seeded(seed)) - 2
    return factor[:, None, None] * PICTURE + NOISE * draw(num_clips, WINDOW, NUM_BINS, seed=seed + 1), factor


@pytest.fixture(scope="module")
def planted() -> tuple[Vae, dict[str, float]]:
    """Train on planted pictures, then validate with 200 unseen ones as queries."""
    # half the channels end, from one start in six, where a factor's size is known and its sign is not
    model, (train, _), (queries, _) = make_vae(channels=(8, 16), learning_rate=3e-3), plant(512, 0), plant(200, 10)
    trainer = make_trainer(20, BetaWarmup(num_epochs=10), gradient_clip_val=1000.0, check_val_every_n_epoch=20)
    trainer.fit(model, load(train, batch_size=64), [load(queries, batch_size=64), load(train, 64, first_index=1000)])
    return model.eval(), {name: float(value) for name, value in trainer.callback_metrics.items()}


def test_planted_structure_is_found(planted: tuple[Vae, dict[str, float]]) -> None:
    queries, _ = plant(200, seed=10)
    # the Gaussian that fits each value of the very queries best, the same for all of them
    constant = 0.5 * float((1 + math.log(2 * math.pi) + queries.var(dim=0, correction=0).log()).sum())
    # what the noise alone leaves
    floor = 0.5 * WINDOW * NUM_BINS * (1 + math.log(2 * math.pi) + 2 * math.log(NOISE))
    bound = planted[1]["val/negative_elbo"]
    assert floor < bound < constant - 0.6 * (constant - floor)


def test_the_planted_factor_is_read_off_the_embedding(planted: tuple[Vae, dict[str, float]]) -> None:
    model = planted[0]
    (train, train_factor), (queries, factor) = plant(512, seed=0), plant(200, seed=10)
    with torch.no_grad():
        known, unseen = model(train), model(queries)
    readout = torch.linalg.lstsq(torch.cat([known, torch.ones(512, 1)], dim=1), train_factor[:, None]).solution
    predicted = torch.cat([unseen, torch.ones(200, 1)], dim=1) @ readout
    assert float(torch.corrcoef(torch.stack([predicted[:, 0], factor]))[0, 1]) > 0.9


def test_reconstructions_are_the_planted_pictures(planted: tuple[Vae, dict[str, float]]) -> None:
    model, (queries, factor) = planted[0], plant(200, seed=10)
    with torch.no_grad():
        means = model.likelihood(model.posterior(queries).mean).mean
    clean = factor[:, None, None] * PICTURE
    assert float((means - clean).square().mean()) < 0.1 * float(clean.square().mean())


# numbers that must stay finite


class Finite(pl.Callback):
    """Records losses; holds after each step that they and all that is learned are finite."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(float(outputs["loss"]))
        assert math.isfinite(self.losses[-1])
        for name, value in pl_module.state_dict().items():
            assert bool(torch.isfinite(value).all()), name


def sparse(num_clips: int, num_frames: int) -> Tensor:
    """Draw spectrograms of which one value in five is exactly zero."""
    is_zero = torch.rand(num_clips, num_frames, NUM_BINS, generator=seeded(5)) < 0.2
    return draw(num_clips, num_frames, NUM_BINS).abs().masked_fill(is_zero, 0.0)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("prior", [StandardNormalPrior, partial(GaussianMixturePrior, num_components=3)])
def test_a_warm_up_on_pictures_with_many_zeros_stays_finite(precision: str, prior: Callable[[int], Prior]) -> None:
    model, finite, feature = make_vae(prior=prior), Finite(), sparse(48, 20)
    assert 0.15 < float((feature == 0).float().mean()) < 0.25
    trainer = make_trainer(12, finite, BetaWarmup(num_epochs=10), precision=precision, gradient_clip_val=1000.0,
                           check_val_every_n_epoch=12)  # fmt: skip
    trainer.fit(model, load(feature), [load(feature), load(feature, first_index=48)])
    assert len(finite.losses) == 36
    assert sum(finite.losses[-3:]) < sum(finite.losses[:3])
    assert model.beta == 1.0
    assert all(math.isfinite(value) for value in trainer.callback_metrics.values())
    assert all(value.dtype == torch.float32 for value in model.parameters())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("constant", [0.0, 1.0, -100.0])
def test_pictures_of_one_value_stay_finite(precision: str, constant: float) -> None:
    # the likelihood of a value that never varies has no maximum; the bound on the log-variance makes one
    model, finite, feature = make_vae(), Finite(), torch.full((16, 20, NUM_BINS), constant)
    trainer = make_trainer(10, finite, BetaWarmup(num_epochs=5), precision=precision, gradient_clip_val=1000.0,
                           check_val_every_n_epoch=10)  # fmt: skip
    trainer.fit(model, load(feature, batch_size=8), [load(feature), load(feature, first_index=16)])
    assert len(finite.losses) == 20
    assert math.isfinite(trainer.callback_metrics["val/negative_elbo"])
