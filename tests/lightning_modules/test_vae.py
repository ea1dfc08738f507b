"""The VAE: windows, embeddings, the bound, what it logs and keeps."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightning_modules.losses import GaussianMixturePrior, Prior, StandardNormalPrior
from lightning_modules.networks import GluLstmEncoder
from tests.lightning_modules.makers import draw, make_trainer, seeded
from tests.lightning_modules.small_vae import LATENT, NUM_BINS, WINDOW, load, make_ramps, make_vae

pytestmark = pytest.mark.usefixtures("one_thread")


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
def test_windows_or_steps_without_a_frame_are_refused(sizes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="window_frames and window_step must be at least 1"):
        make_vae(**sizes)


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
