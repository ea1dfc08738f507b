"""The VAE: windows, embeddings, what it learns, what it logs, and that no number is ever lost.

Longer than most: the planted problems and the trainer that runs on them are shared by all parts.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from callbacks import BetaWarmup
from lightning_modules import Vae
from lightning_modules.losses import GaussianMixturePrior, Prior, StandardNormalPrior
from lightning_modules.networks import GluConvDecoder, GluConvEncoder, GluLstmEncoder
from tests.lightning_modules.makers import given_features

NUM_BINS, WINDOW, LATENT = 16, 12, 2
NOISE = 0.1  # standard deviation of the planted pictures' noise
PICTURE = torch.sin(torch.arange(WINDOW) / 2)[:, None] * torch.cos(torch.arange(NUM_BINS) / 2.5)

Loader = DataLoader[dict[str, Tensor]]


class Clips(Dataset[dict[str, Tensor]]):
    """Clips in memory; their labels alternate."""

    def __init__(self, feature: Tensor, first_index: int = 0) -> None:
        self.feature = feature
        self.first_index = first_index

    def __len__(self) -> int:
        return len(self.feature)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        index = torch.tensor(self.first_index + position)
        return {"feature": self.feature[position], "label": index % 2, "item_index": index}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Compute on one thread: networks as small as these wait for a second longer than it works."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def load(feature: Tensor, batch_size: int = 16, first_index: int = 0) -> Loader:
    return DataLoader(Clips(feature, first_index), batch_size=batch_size)


def make_vae(
    window_frames: int = WINDOW,
    window_step: int = 4,
    free_bits: float = 0.0,
    seed: int = 0,
    prior: Callable[[int], Prior] = StandardNormalPrior,
    encoder: Callable[[int, int, int], nn.Module] | None = None,
    channels: tuple[int, ...] = (4, 8),
    learning_rate: float = 1e-2,
) -> Vae:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"channels": channels, "strides": (2,) * len(channels)}
    return Vae(
        preprocessing=given_features(NUM_BINS),
        encoder=encoder or partial(GluConvEncoder, hidden_dim=32, **sizes),
        decoder=partial(GluConvDecoder, **sizes),
        prior=prior,
        optimizer=partial(torch.optim.Adam, lr=learning_rate),
        lr_scheduler=partial(torch.optim.lr_scheduler.ConstantLR, factor=1.0),
        latent_dim=LATENT,
        window_frames=window_frames,
        window_step=window_step,
        free_bits=free_bits,
        seed=seed,
    )


def make_trainer(max_epochs: int = 1, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=max_epochs, accelerator="cpu", logger=False, enable_checkpointing=False, num_sanity_val_steps=0,
        enable_progress_bar=False, enable_model_summary=False, callbacks=list(callbacks), **options,
    )  # fmt: skip


def make_ramps(num_clips: int, num_frames: int) -> Tensor:
    """Number the frames of all clips, 1000 c + f in every bin."""
    numbers = 1000 * torch.arange(num_clips)[:, None] + torch.arange(num_frames)
    return numbers[:, :, None].expand(-1, -1, NUM_BINS).float()


# windows and embeddings


def test_embedding_is_the_mean_over_windows() -> None:
    model, feature = make_vae().eval(), draw(3, 30, NUM_BINS)
    embedding, windows = model(feature), model.encode_windows(feature)
    assert windows.shape == (3, 5, LATENT)  # windows start at 0, 4, ..., 16
    torch.testing.assert_close(embedding, windows.mean(dim=1))
    # the oracle cuts them with a loop
    for position, start in enumerate(range(0, 30 - WINDOW + 1, 4)):
        expected = model.posterior(feature[:, start : start + WINDOW]).mean
        torch.testing.assert_close(windows[:, position], expected, rtol=1e-5, atol=1e-6)


def test_windows_are_cut_at_the_right_frames() -> None:
    windows = make_vae(window_frames=5, window_step=3).windows(make_ramps(2, 13))
    first = [[0, 1, 2, 3, 4], [3, 4, 5, 6, 7], [6, 7, 8, 9, 10]]  # 11 and 12 fill no window
    assert windows.shape == (2, 3, 5, NUM_BINS)
    for bin_index in (0, NUM_BINS - 1):
        assert windows[0, :, :, bin_index].tolist() == first
        assert windows[1, :, :, bin_index].tolist() == [[1000 + frame for frame in window] for window in first]


def test_bins_keep_their_place_in_a_window() -> None:
    feature = draw(2, 13, NUM_BINS)
    windows = make_vae(window_frames=5, window_step=3).windows(feature)
    assert torch.equal(windows[1, 2], feature[1, 6:11])


@pytest.mark.parametrize("window_step", [1, 4, 100])
def test_a_clip_as_long_as_a_window_is_one_window(window_step: int) -> None:
    model, feature = make_vae(window_step=window_step).eval(), draw(3, WINDOW, NUM_BINS)
    assert torch.equal(model.windows(feature)[:, 0], feature)
    assert torch.equal(model(feature), model.posterior(feature).mean)


def test_clips_shorter_than_a_window_are_refused_with_a_way_out() -> None:
    model, short = make_vae(), draw(4, WINDOW - 1, NUM_BINS)
    for cut in (model, model.encode_windows, model.windows):
        with pytest.raises(ValueError, match=r"window_frames = 12 frames; got 11\. Set --data\.frames_per_clip"):
            cut(short)
    with pytest.raises(ValueError, match=r"got 11\."):
        make_trainer().fit(model, load(short))


@pytest.mark.parametrize("sizes", [{"window_frames": 0}, {"window_step": 0}, {"window_frames": -4}], ids=str)
def test_windows_or_steps_without_a_frame_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="window_frames and window_step must be at least 1"):
        make_vae(**sizes)  # type: ignore[arg-type]


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


def test_a_resumed_run_ends_as_one_that_was_never_stopped(tmp_path: Path) -> None:
    feature = draw(32, 20, NUM_BINS)
    whole, resumed, stopped = make_vae(), make_vae(), make_vae()
    make_trainer(4, BetaWarmup(num_epochs=4)).fit(whole, load(feature))
    trainer = make_trainer(2, BetaWarmup(num_epochs=4))
    trainer.fit(stopped, load(feature))
    trainer.save_checkpoint(tmp_path / "second.ckpt")
    torch.randn(5)  # the global generator has no part in it
    make_trainer(4, BetaWarmup(num_epochs=4)).fit(resumed, load(feature), ckpt_path=tmp_path / "second.ckpt")
    for (name, expected), value in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6, msg=name)
    changed = torch.nn.utils.parameters_to_vector(resumed.parameters())
    assert not torch.equal(changed, torch.nn.utils.parameters_to_vector(stopped.parameters()))


# the bound


def test_bound_is_of_one_sample_of_the_posterior() -> None:
    model, window = make_vae().eval(), draw(5, WINDOW, NUM_BINS)
    terms = model.elbo(window, draw(5, LATENT, seed=3))
    posterior = model.posterior(window)
    likelihood = model.likelihood(posterior.sample(seeded(3)))
    normal = torch.distributions.Normal(likelihood.mean, (0.5 * likelihood.log_variance).exp())
    torch.testing.assert_close(terms.log_likelihood, normal.log_prob(window).sum(dim=(1, 2)), rtol=1e-5, atol=1e-3)
    code = torch.distributions.Normal(posterior.mean, (0.5 * posterior.log_variance).exp())
    divergence = torch.distributions.kl_divergence(code, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(terms.divergence, divergence, rtol=1e-5, atol=1e-5)
    assert terms.latent_dim == LATENT


@pytest.mark.parametrize("prior", [StandardNormalPrior, partial(GaussianMixturePrior, num_components=3)])
@pytest.mark.parametrize("encoder", [None, partial(GluLstmEncoder, channels=(4, 8), strides=(2, 2), hidden_dim=8)])
def test_gradients_reach_every_parameter(
    prior: Callable[[int], Prior], encoder: Callable[[int, int, int], nn.Module] | None
) -> None:
    model = make_vae(prior=prior, encoder=encoder)
    model.elbo(draw(8, WINDOW, NUM_BINS), draw(8, LATENT)).training_loss(beta=0.5).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert float(parameter.grad.abs().max()) > 0, name


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


@pytest.mark.parametrize(("variances", "num_active"), [((0.011, 0.009), 1), ((0.011, 9.0), 2), ((0.0, 0.009), 0)])
def test_active_units_are_those_whose_mean_varies_over_the_clips(
    variances: tuple[float, float], num_active: int
) -> None:
    model, items = make_vae().eval(), draw(40, 20, NUM_BINS)
    head = model.encoder.get_submodule("head.mean")
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.mul_((torch.tensor(variances) / model(items).var(dim=0)).sqrt()[:, None])
        torch.testing.assert_close(model(items).var(dim=0), torch.tensor(variances), rtol=1e-3, atol=1e-6)
    loaders = [load(draw(6, 20, NUM_BINS)), load(items, first_index=100)]
    (metrics, *_) = make_trainer().validate(model, loaders, verbose=False)
    assert metrics["val/active_units"] == num_active


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


def test_likelihood_of_exact_values_has_a_maximum() -> None:
    model = make_vae().eval()
    likelihood = model.likelihood(torch.zeros(1, LATENT))
    exact = model.elbo(likelihood.mean.detach(), draw(1, LATENT))
    # no likelihood is above that of log-variance -6 at the mean
    best = 0.5 * WINDOW * NUM_BINS * (6 - math.log(2 * math.pi))
    assert float(exact.log_likelihood.detach()) < best


def test_the_bound_is_in_full_precision_under_autocast() -> None:
    model, window = make_vae().eval(), 30 * draw(4, WINDOW, NUM_BINS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = model.elbo(window, draw(4, LATENT))
    assert terms.log_likelihood.dtype == terms.divergence.dtype == torch.float32
    # sums of bf16 would be multiples of a large power of two
    assert not torch.equal(terms.log_likelihood, terms.log_likelihood.bfloat16().float())


# what is logged and kept


def test_validation_logs_the_bound_of_the_queries() -> None:
    model, queries, items = make_vae(), draw(6, 30, NUM_BINS), draw(10, 30, NUM_BINS, seed=1)
    loaders = [load(queries), load(items, first_index=100)]
    (metrics, *_) = make_trainer().validate(model, loaders, verbose=False)
    assert {"val/negative_elbo", "val/reconstruction", "val/divergence", "val/active_units"} <= set(metrics)
    assert metrics["val/negative_elbo"] == pytest.approx(
        metrics["val/reconstruction"] + metrics["val/divergence"], rel=1e-5
    )
    # over the windows of the queries, from noise that each validation draws alike
    with torch.no_grad():
        windows = model.eval().windows(queries).flatten(0, 1)
        means = [model.elbo(windows, draw(len(windows), LATENT, seed=seed)).negative_elbo.mean() for seed in range(20)]
    assert metrics["val/negative_elbo"] == pytest.approx(float(torch.stack(means).mean()), rel=0.02)
    (again, *_) = make_trainer().validate(model, loaders, verbose=False)
    assert again == metrics


def test_test_logs_the_bound_and_keeps_outputs() -> None:
    model, queries, items = make_vae(), draw(6, 30, NUM_BINS), draw(10, 30, NUM_BINS, seed=1)
    (metrics, *_) = make_trainer().test(model, [load(queries), load(items, first_index=100)], verbose=False)
    assert {"test/negative_elbo", "test/reconstruction", "test/divergence", "test/active_units"} <= set(metrics)
    outputs = model.retrieval_outputs
    assert outputs is not None
    with torch.no_grad():
        torch.testing.assert_close(outputs.items.embedding, model.eval()(items), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(outputs.items.feature, items.mean(dim=1))


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_training_logs_the_weighted_loss_and_its_parts(beta: float) -> None:
    model, feature = make_vae(), draw(16, 20, NUM_BINS)
    model.beta = beta
    trainer = make_trainer()
    trainer.fit(model, load(feature))
    metrics = trainer.callback_metrics
    assert float(metrics["train/beta"]) == beta
    torch.testing.assert_close(
        metrics["train/loss"], metrics["train/reconstruction"] + beta * metrics["train/divergence"]
    )
    torch.testing.assert_close(
        metrics["train/negative_elbo"], metrics["train/reconstruction"] + metrics["train/divergence"]
    )


def test_free_bits_count_in_the_loss_alone() -> None:
    allowance, feature = 1000.0, draw(16, 20, NUM_BINS)
    trainer = make_trainer()
    trainer.fit(make_vae(free_bits=allowance), load(feature))
    metrics = trainer.callback_metrics
    torch.testing.assert_close(metrics["train/loss"], metrics["train/reconstruction"] + LATENT * allowance)
    assert float(metrics["train/divergence"]) < allowance


def test_predictions_hold_windows_whose_mean_is_the_embedding() -> None:
    model, feature = make_vae(), draw(6, 30, NUM_BINS)
    batches = make_trainer().predict(model, load(feature, batch_size=4, first_index=7))
    assert batches is not None
    columns = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    assert set(columns) == {"item_index", "label", "embedding", "window_embedding"}
    assert columns["item_index"].tolist() == list(range(7, 13))
    assert columns["window_embedding"].shape == (6, 5, LATENT)
    torch.testing.assert_close(columns["window_embedding"].mean(dim=1), columns["embedding"])
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(feature), columns["embedding"], rtol=1e-5, atol=1e-6)


def test_clips_are_embedded_one_by_one_in_evaluation() -> None:
    model, feature = make_vae().eval(), draw(5, 30, NUM_BINS)
    alone = torch.cat([model(clip[None]) for clip in feature])
    torch.testing.assert_close(model(feature), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("prior", [StandardNormalPrior, partial(GaussianMixturePrior, num_components=3)])
def test_a_checkpoint_of_weights_alone_restores_embeddings_and_bound(
    tmp_path: Path, prior: Callable[[int], Prior]
) -> None:
    model, feature = make_vae(prior=prior), draw(16, 20, NUM_BINS)
    trainer = make_trainer()
    trainer.fit(model, load(feature))
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    checkpoint = torch.load(tmp_path / "model.ckpt", weights_only=True)
    restored = make_vae(prior=prior)
    restored.load_state_dict(checkpoint["state_dict"])
    with torch.no_grad():
        embedding = model.eval()(feature)
        assert not torch.allclose(embedding, make_vae(prior=prior).eval()(feature))
        assert torch.equal(restored.eval()(feature), embedding)
        windows = feature[:, :WINDOW]
        bounds = [made.elbo(windows, draw(16, LATENT)).negative_elbo for made in (model, restored)]
    assert torch.equal(bounds[0], bounds[1])
