"""The recurrent encoder: sizes, both directions, order of time."""

import pytest
import torch

from lightning_modules.networks import GluLstmEncoder
from tests.draws import draw
from tests.gradients import assert_gradients_reach, gradient_of

NUM_BINS, NUM_FRAMES, LATENT = 13, 18, 3


def make(
    num_bins: int = NUM_BINS, num_frames: int = NUM_FRAMES, strides: tuple[int, ...] = (1, 2, 2)
) -> GluLstmEncoder:
    torch.manual_seed(0)
    return GluLstmEncoder(num_bins, num_frames, LATENT, (4, 6, 5)[: len(strides)], strides, hidden_dim=8)


@pytest.mark.parametrize("picture", [(64, 32), (61, 47), (13, 18), (5, 3)], ids=str)
@pytest.mark.parametrize("strides", [(1, 2, 2), (2, 2, 2), (3, 1), (1,)], ids=str)
def test_windows_become_gaussians(picture: tuple[int, int], strides: tuple[int, ...]) -> None:
    posterior = make(*picture, strides).eval()(draw(2, picture[1], picture[0]))
    assert posterior.mean.shape == posterior.log_variance.shape == (2, LATENT)
    assert posterior.mean.dtype == posterior.log_variance.dtype == torch.float32


def test_the_order_of_time_counts() -> None:
    encoder, window = make().eval(), draw(4, NUM_FRAMES, NUM_BINS)
    shuffled = window[:, torch.randperm(NUM_FRAMES, generator=torch.Generator().manual_seed(0))]
    mean = encoder(window).mean
    for changed in (window.flip(1), shuffled):
        assert not torch.allclose(encoder(changed).mean, mean, rtol=1e-3, atol=1e-3)


def test_the_last_state_of_each_direction_is_used() -> None:
    encoder, window = make().eval(), draw(4, NUM_FRAMES, NUM_BINS)
    maps = encoder.blocks(window.transpose(1, 2)[:, None])
    steps = torch.stack([maps[..., step].reshape(4, -1) for step in range(maps.shape[3])], dim=1)
    outputs, _ = encoder.lstm(steps)
    forward, backward = outputs[:, -1, :8], outputs[:, 0, 8:]
    expected = encoder.head(torch.cat([forward, backward], dim=1))
    torch.testing.assert_close(encoder(window).mean, expected.mean, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("frame", [0, NUM_FRAMES // 2, NUM_FRAMES - 1])
def test_every_frame_reaches_the_mean(frame: int) -> None:
    window = draw(2, NUM_FRAMES, NUM_BINS).requires_grad_()
    make().eval()(window).mean.square().sum().backward()
    assert float(gradient_of(window)[:, frame].abs().min()) > 0


def test_gradients_reach_every_parameter() -> None:
    encoder = make()
    posterior = encoder(draw(6, NUM_FRAMES, NUM_BINS))
    (draw(6, LATENT, seed=1) * posterior.sample(torch.Generator().manual_seed(0))).sum().backward()
    assert_gradients_reach(encoder.named_parameters())


@pytest.mark.parametrize(("channels", "strides"), [((4, 8), (2,)), ((4,), (2, 2)), ((), ())], ids=str)
def test_strides_that_do_not_match_the_channels_are_refused(
    channels: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"got strides .* Give each block both"):
        GluLstmEncoder(NUM_BINS, NUM_FRAMES, LATENT, channels, strides)


def test_log_variance_keeps_its_bound() -> None:
    encoder = GluLstmEncoder(NUM_BINS, NUM_FRAMES, LATENT, (4,), (2,), hidden_dim=8, log_variance_limit=0.01)
    bounded = encoder(1e4 * draw(4, NUM_FRAMES, NUM_BINS)).log_variance
    assert 0 < float(bounded.detach().abs().max()) <= 0.01
